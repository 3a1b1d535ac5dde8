/**
 * Stands between a worker and a trainer: runs the command in a process group of its own and ends the whole group when the
 * time or memory limit is reached, when it is told to stop, or when the worker dies (its end of stdin closes). Without it a
 * killed worker would leave trainers behind that eat the machine.
 *
 * Usage: guard.js LIMITS_JSON COMMAND [ARG…]; the result is one JSON line on file descriptor 3.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeSync } from 'node:fs';

interface Limits {
  readonly timeMs: number;
  readonly memoryBytes: number;
}
export interface GuardResult {
  readonly cause: 'exit' | 'signal' | 'time' | 'memory' | 'start' | 'stopped';
  readonly code: number | null;
  readonly signal: string | null;
  readonly detail: string;
}

/** SIGTERM means stop now and checkpoint if you can; a trainer that ignores it has this long. */
const GRACE_MS = 3_000;
const MEMORY_POLL_MS = 250;
const PAGE_BYTES = 4_096;

const [limitsText = '{}', command = '', ...args] = process.argv.slice(2);
const limits = JSON.parse(limitsText) as Limits;
const child = spawn(command, args, { detached: true, stdio: ['ignore', 'inherit', 'inherit'], env: process.env });
let cause: GuardResult['cause'] | null = null;

function endGroup(signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
function stop(why: GuardResult['cause'], signal: NodeJS.Signals = 'SIGTERM'): void {
  cause ??= why;
  endGroup(signal);
  setTimeout(() => endGroup('SIGKILL'), GRACE_MS).unref();
}

/** Resident memory of the group, from /proc; 0 where there is none, and then only the time limit holds. */
function groupMemory(group: number): number {
  let pages = 0;
  let entries: string[];
  try {
    entries = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return 0;
  }
  for (const entry of entries) {
    try {
      const text = readFileSync(`/proc/${entry}/stat`, 'utf8');
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      if (Number(fields[2]) === group) pages += Number(fields[21]);
    } catch (error) {
      // A process that ended between listing and reading.
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return pages * PAGE_BYTES;
}

const timer = setTimeout(() => stop('time'), limits.timeMs);
const memory = setInterval(() => {
  if (child.pid !== undefined && groupMemory(child.pid) > limits.memoryBytes) stop('memory', 'SIGKILL');
}, MEMORY_POLL_MS);
process.stdin.resume();
process.stdin.on('end', () => {
  endGroup('SIGKILL');
  process.exit(1);
});
process.on('SIGTERM', () => stop('stopped'));
process.on('SIGINT', () => stop('stopped'));

function finish(result: GuardResult): void {
  clearTimeout(timer);
  clearInterval(memory);
  // What the command left behind in its group must not outlive it.
  endGroup('SIGKILL');
  writeSync(3, `${JSON.stringify(result)}\n`);
  process.exit(0);
}
child.on('error', (error) => finish({ cause: 'start', code: null, signal: null, detail: error.message }));
child.on('exit', (code, signal) =>
  finish({ cause: cause ?? (signal === null ? 'exit' : 'signal'), code, signal, detail: '' }),
);
