/** `refit up` and `refit down`. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Settings } from '../settings/types.ts';
import { logTail, readLivePid, removePidFile } from './child.ts';
import { scriptCommand } from './entry.ts';
import { StackError } from './errors.ts';
import { logFile } from './home.ts';
import { stopKafkaContainer } from './kafka.ts';
import { stopLeftovers } from './leftovers.ts';
import { stackEnvironment } from './parts.ts';
import { isSameProcess } from './process-identity.ts';
import { readState, type StackState, writeState } from './state.ts';
import { runSupervisor, type SupervisorOptions } from './supervisor.ts';

export interface UpOptions extends SupervisorOptions {
  /** Returns once everything is ready and leaves the supervisor running. */
  readonly detach?: boolean;
}

/** Each part has ten seconds to end well, one after another; then force. */
const DOWN_TIMEOUT_MS = 90_000;

/**
 * Starts the stack. Detached: resolves with the state once it is ready. Else: runs until it is stopped, and resolves with
 * undefined. When it is up already, resolves with its state at once.
 */
export async function up(settings: Settings, options: UpOptions): Promise<StackState | undefined> {
  const { home } = settings;
  if ((await readLivePid(home, 'supervisor')) !== undefined) {
    const state = await readState(home);
    if (state?.status === 'ready') {
      options.progress(`the stack in ${home} is up already`);
      return state;
    }
  }
  if (options.detach !== true) {
    await runSupervisor(settings, options);
    return undefined;
  }
  return startDetached(settings, options);
}

async function startDetached(settings: Settings, options: UpOptions): Promise<StackState> {
  const { home } = settings;
  if (options.parts !== undefined || options.tools !== undefined) {
    throw new StackError('parts and tools can only be given to a supervisor in this process');
  }
  const path = logFile(home, 'supervisor');
  await mkdir(dirname(path), { recursive: true });
  const log = openSync(path, 'a');
  const say = await logFollower(home, options.progress);
  const [command, ...args] = scriptCommand('supervisor-main');
  const child = spawn(command, args, {
    env: stackEnvironment(settings, options.env ?? process.env),
    stdio: ['ignore', log, log],
    detached: true,
  });
  closeSync(log);
  let ended: string | undefined;
  child.once('error', (error) => {
    ended = error.message;
  });
  child.once('exit', (code, signal) => {
    ended = signal ?? `exit code ${code}`;
  });
  for (;;) {
    const hasEnded = ended;
    const state = await readState(home);
    await say();
    if (state !== undefined && state.pid === child.pid) {
      if (state.status === 'ready') {
        child.unref();
        options.onReady?.(state);
        return state;
      }
      if (state.status === 'failed' && hasEnded !== undefined) throw new StackError(state.message);
    }
    if (hasEnded !== undefined) {
      throw new StackError(
        `the supervisor ended with ${hasEnded}. Its log: ${path}\n${await logTail(home, 'supervisor', 0)}`,
      );
    }
    await sleep(100);
  }
}

/** Passes on the lines that the supervisor writes from now on. */
async function logFollower(home: string, progress: (line: string) => void): Promise<() => Promise<void>> {
  const read = async () => {
    const text = await logTail(home, 'supervisor', 0, Number.MAX_SAFE_INTEGER);
    return text === '' ? [] : text.split('\n');
  };
  let shown = (await read()).length;
  return async () => {
    const lines = await read();
    for (const line of lines.slice(shown)) progress(line.replace(/^\S+T\S+Z /, ''));
    shown = lines.length;
  };
}

export interface DownResult {
  /** Names of what was running, in the order it stopped; empty when nothing was. */
  readonly stopped: readonly string[];
}

/** Stops the stack, with or without its supervisor. Doing it again does nothing. */
export async function down(
  settings: Settings,
  options: { readonly progress: (line: string) => void; readonly env?: NodeJS.ProcessEnv },
): Promise<DownResult> {
  const { home } = settings;
  const { progress } = options;
  const stopped: string[] = [];
  const supervisor = await readLivePid(home, 'supervisor');
  if (supervisor !== undefined) {
    progress(`stopping the supervisor (process ${supervisor.pid}) and its parts`);
    process.kill(supervisor.pid, 'SIGTERM');
    const deadlineMs = Date.now() + DOWN_TIMEOUT_MS;
    while ((await isSameProcess(supervisor)) && Date.now() < deadlineMs) await sleep(50);
    if (await isSameProcess(supervisor)) {
      progress('the supervisor does not end; ending it by force, then its parts one by one');
      process.kill(supervisor.pid, 'SIGKILL');
    }
    stopped.push('supervisor');
  }
  const leftovers = await stopLeftovers(home);
  for (const name of leftovers) progress(`stopped ${name}`);
  await removePidFile(home, 'supervisor');
  const state = await readState(home);
  if (state !== undefined && state.status !== 'stopped') {
    if (state.kafkaKind === 'docker') await stopKafkaContainer(home, options.env ?? process.env);
    await writeState(home, { ...state, status: 'stopped', message: 'stopped by refit down' });
  }
  return { stopped: [...stopped, ...leftovers] };
}
