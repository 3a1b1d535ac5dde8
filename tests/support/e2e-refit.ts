/** `refit` as people run it: a process, in a folder of its own, with nothing but the settings that it is given. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export { quietPorts } from '../../src/local/ports.ts';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BIN = `${ROOT}bin/refit.js`;

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a process needs of the machine; nothing of Refit's settings leaks in from who runs the tests. */
function machineEnvironment(): NodeJS.ProcessEnv {
  const names = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'JAVA_HOME', 'TEMPORAL_CLI_PATH', 'XDG_CACHE_HOME'];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

interface Place {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
}

export const runRefit = (args: readonly string[], place: Place): Promise<Ended> => runNode([BIN, ...args], place);

/** A script, to its end, or until it is cut off by SIGTERM. */
export function runNode(args: readonly string[], { cwd, env }: Place, signal?: AbortSignal): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd,
      env: { ...machineEnvironment(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    signal?.addEventListener('abort', () => child.kill());
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code, signal) =>
      resolve({ code: code ?? 128, stdout, stderr: signal ? `${stderr}${signal}` : stderr }),
    );
  });
}

export interface PartProcess {
  readonly child: ChildProcess;
  readonly pid: number;
  /** What it said so far, for messages of failed tests. */
  readonly said: () => string;
  /** SIGTERM, or the given signal, and then its end. */
  readonly end: (signal?: NodeJS.Signals) => Promise<void>;
}

/** A part (`gateway`, `worker`, `serve`) as its own process, once it says that it is ready. */
export async function startPart(part: string, { cwd, env }: Place): Promise<PartProcess> {
  const child = spawn(process.execPath, [BIN, part], {
    cwd,
    env: { ...machineEnvironment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-100_000);
    });
  }
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const isReady = () => said.includes(`{"part":"${part}","status":"ready"`);
  await until(
    `${part} says that it is ready`,
    () => {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${part} ended:\n${said.slice(-4_000)}`);
      return isReady() || null;
    },
    180_000,
  );
  return {
    child,
    pid: child.pid ?? 0,
    said: () => said,
    end: async (signal = 'SIGTERM') => {
      child.kill(signal);
      await exited;
    },
  };
}

/** Asks until the answer is neither null nor undefined; what could not be asked for yet counts as no answer. */
export async function until<T>(
  what: string,
  ask: () => Promise<T | null | undefined> | T | null | undefined,
  timeoutMs = 180_000,
  detail: () => string | Promise<string> = () => '',
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null && answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs / 1000} s. ${await detail()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
