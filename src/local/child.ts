/**
 * One child process of the stack: its log, its pid file, and its end. Output goes straight to the log file, not through a
 * pipe, so that a part outlives a killed supervisor instead of dying on its next line.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, mkdirSync, openSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StackError } from './errors.ts';
import { logFile, pidFile } from './home.ts';
import { formatIdentity, identify, isSameProcess, type ProcessIdentity, parseIdentity } from './process-identity.ts';

export interface ChildSpec {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly env: NodeJS.ProcessEnv;
  readonly home: string;
  readonly cwd?: string;
}

export interface RunningChild {
  readonly process: ChildProcess;
  readonly identity: ProcessIdentity;
  /** Where in the log this child's own lines begin. */
  readonly logOffset: number;
  /** Resolves once it ended, with how. */
  readonly exited: Promise<string>;
}

export const STOP_GRACE_MS = 10_000;

export async function startChild(spec: ChildSpec): Promise<RunningChild> {
  const path = logFile(spec.home, spec.name);
  mkdirSync(dirname(path), { recursive: true });
  const log = openSync(path, 'a');
  try {
    const logOffset = fstatSync(log).size;
    const [command, ...args] = spec.command;
    const child = spawn(command, args, {
      env: spec.env,
      cwd: spec.cwd,
      stdio: ['ignore', log, log],
      // A group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then stops parts in order, and
      // whatever a part leaves behind can be ended with it.
      detached: true,
    });
    const exited = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
    });
    if (child.pid === undefined) throw new StackError(`${spec.name} cannot be started: ${await exited}`);
    const identity = (await identify(child.pid)) ?? { pid: child.pid, startTime: 'ended' };
    await writePidFile(spec.home, spec.name, identity);
    return { process: child, identity, logOffset, exited };
  } finally {
    closeSync(log);
  }
}

/** By rename, so that a reader never sees half a file. */
export async function writePidFile(home: string, name: string, identity: ProcessIdentity): Promise<void> {
  const path = pidFile(home, name);
  mkdirSync(dirname(path), { recursive: true });
  await writeFile(`${path}.new`, formatIdentity(identity));
  await rename(`${path}.new`, path);
}

/** The process that the pid file names, if it is still that process. */
export async function readLivePid(home: string, name: string): Promise<ProcessIdentity | undefined> {
  const text = await readFile(pidFile(home, name), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const identity = parseIdentity(text);
  return (await isSameProcess(identity)) ? identity : undefined;
}

export async function removePidFile(home: string, name: string): Promise<void> {
  await rm(pidFile(home, name), { force: true });
}

/** SIGTERM to the process, then SIGKILL to its group: first a chance to end well, then nothing of it stays. */
export async function stopProcess(identity: ProcessIdentity, graceMs = STOP_GRACE_MS): Promise<void> {
  if (!(await isSameProcess(identity))) return;
  send(identity.pid, 'SIGTERM');
  const deadlineMs = Date.now() + graceMs;
  while (Date.now() < deadlineMs) {
    if (!(await isSameProcess(identity))) break;
    await sleep(25);
  }
  // Also after a good end: what the part left running in its group ends with it.
  send(-identity.pid, 'SIGKILL');
  while (await isSameProcess(identity)) await sleep(10);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The end of this child's log, for errors. */
export async function logTail(home: string, name: string, fromOffset: number, lines = 12): Promise<string> {
  const bytes = await readFile(logFile(home, name)).catch(() => Buffer.alloc(0));
  return bytes.subarray(fromOffset).toString('utf8').trim().split('\n').slice(-lines).join('\n');
}
