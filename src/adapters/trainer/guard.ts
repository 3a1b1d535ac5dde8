/**
 * Stands between a worker and a trainer: runs the command in a process group of its own and ends the whole group, and what
 * has left it, when the time or memory limit is reached, when it is told to stop, or when the worker dies (its end of stdin
 * closes). Without it a killed worker would leave trainers behind that eat the machine.
 *
 * Usage: guard.js LIMITS_JSON COMMAND [ARG…]; the result is one JSON line on file descriptor 3. The command's environment is
 * the JSON in REFIT_TRAINER_ENVIRONMENT: what a definition passes through (NODE_OPTIONS, say) is not for the guard itself.
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
const environment = JSON.parse(process.env.REFIT_TRAINER_ENVIRONMENT ?? '{}') as Record<string, string>;
const child = spawn(command, args, { detached: true, stdio: ['ignore', 'inherit', 'inherit'], env: environment });
/** A line that all processes of this training inherit, and no others: its spec is its own. */
const mark = `REFIT_SPEC=${environment.REFIT_SPEC}`;
let cause: GuardResult['cause'] | null = null;

/** To a process, or to a group by its negative number. */
function signalTo(target: number, signal: NodeJS.Signals): void {
  try {
    process.kill(target, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
function endGroup(signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  signalTo(-child.pid, signal);
  if (signal === 'SIGKILL') for (const { pid } of members(child.pid)) signalTo(pid, signal);
}
function stop(why: GuardResult['cause'], signal: NodeJS.Signals = 'SIGTERM'): void {
  cause ??= why;
  endGroup(signal);
  setTimeout(() => endGroup('SIGKILL'), GRACE_MS).unref();
}

/** Numbers of all processes, from /proc; none where there is no such folder, and then only the group is ended, and by time. */
function processes(): readonly string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

/** The group, and what left it for a session of its own; with resident memory in pages. */
function members(group: number): readonly { readonly pid: number; readonly pages: number }[] {
  return processes().flatMap((entry) => {
    try {
      const text = readFileSync(`/proc/${entry}/stat`, 'utf8');
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      const isOurs =
        Number(fields[2]) === group || readFileSync(`/proc/${entry}/environ`, 'utf8').split('\0').includes(mark);
      return isOurs ? [{ pid: Number(entry), pages: Number(fields[21]) }] : [];
    } catch (error) {
      // A process that ended between listing and reading, or one of someone else.
      if (!['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      return [];
    }
  });
}
const memoryOf = (group: number): number => members(group).reduce((sum, { pages }) => sum + pages, 0) * PAGE_BYTES;

const timer = setTimeout(() => stop('time'), limits.timeMs);
const memory = setInterval(() => {
  if (child.pid !== undefined && memoryOf(child.pid) > limits.memoryBytes) stop('memory', 'SIGKILL');
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
  // What the command left behind must not outlive it.
  endGroup('SIGKILL');
  writeSync(3, `${JSON.stringify(result)}\n`);
  process.exit(0);
}
child.on('error', (error) => finish({ cause: 'start', code: null, signal: null, detail: error.message }));
child.on('exit', (code, signal) =>
  finish({ cause: cause ?? (signal === null ? 'exit' : 'signal'), code, signal, detail: '' }),
);
