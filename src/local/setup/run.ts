/** Running the tools that set-up needs: argument arrays only, bounded in time, the last output lines in the error. */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';

export interface RunOptions {
  readonly timeoutMs: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Ends the command early, e.g. when a download makes no headway. */
  readonly signal?: AbortSignal;
}

export interface RunResult {
  readonly ok: boolean;
  readonly stdout: string;
  /** Why it failed, in one line, with the end of its output; empty when it succeeded. */
  readonly problem: string;
}

/** Enough for the lines that say why; a build's whole log is not wanted in memory. */
const KEPT_OUTPUT_BYTES = 64 * 1024;
const SHOWN_LINES = 8;

export async function run(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const child = spawn(command, [...args], {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own: mvn, go and pip fork, and a timeout must end all of them.
    detached: true,
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout = (stdout + text).slice(-KEPT_OUTPUT_BYTES);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-KEPT_OUTPUT_BYTES);
  });
  let ended: string | undefined;
  const stop = (why: string) => {
    ended ??= why;
    killGroup(child);
  };
  const timer = setTimeout(() => stop(`took longer than ${options.timeoutMs / 1000} s`), options.timeoutMs);
  const onAbort = () => stop(String(options.signal?.reason ?? 'was ended'));
  const onInterrupt = () => stop('was interrupted');
  options.signal?.addEventListener('abort', onAbort, { once: true });
  process.once('SIGINT', onInterrupt);
  process.once('SIGTERM', onInterrupt);
  try {
    const failure = await new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('close', (code, signal) => resolve(code === 0 ? '' : `ended with ${signal ?? `exit code ${code}`}`));
    });
    const why = failure === '' ? '' : (ended ?? failure);
    const tail = (stderr.trim() === '' ? stdout : stderr).trim().split('\n').slice(-SHOWN_LINES).join('\n  ');
    return {
      ok: why === '',
      stdout,
      problem: why === '' ? '' : `${command} ${why}${tail === '' ? '' : `:\n  ${tail}`}`,
    };
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
    process.removeListener('SIGINT', onInterrupt);
    process.removeListener('SIGTERM', onInterrupt);
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The absolute path of a command, looked up as a shell would. */
export function findOnPath(command: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const candidates = command.includes('/')
    ? [command]
    : (env.PATH ?? '')
        .split(delimiter)
        .filter(isAbsolute)
        .map((folder) => join(folder, command));
  return candidates.find(isExecutableFile);
}

export function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
