/**
 * Who a process is: its pid and when it started. A pid alone is reused by the system, and `down` must never end a
 * stranger; the pair is unique while the machine is up.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

export interface ProcessIdentity {
  readonly pid: number;
  /** Opaque: compared only with another reading of the same kind. */
  readonly startTime: string;
}

/** Undefined when there is no such process. A zombie counts as gone: it has ended and holds nothing. */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const startTime = process.platform === 'linux' ? await linuxStartTime(pid) : await psStartTime(pid);
  return startTime === undefined ? undefined : { pid, startTime };
}

export async function isSameProcess(recorded: ProcessIdentity | undefined): Promise<boolean> {
  if (recorded === undefined) return false;
  return (await identify(recorded.pid))?.startTime === recorded.startTime;
}

export function formatIdentity(identity: ProcessIdentity): string {
  return `${identity.pid}\n${identity.startTime}\n`;
}

export function parseIdentity(text: string): ProcessIdentity | undefined {
  const [pid, startTime] = text.split('\n');
  if (pid === undefined || !/^[1-9]\d*$/.test(pid) || startTime === undefined || startTime === '') return undefined;
  return { pid: Number(pid), startTime };
}

export async function ownIdentity(): Promise<string> {
  const identity = await identify(process.pid);
  if (identity === undefined) throw new Error(`cannot read the start time of process ${process.pid}`);
  return formatIdentity(identity);
}

async function linuxStartTime(pid: number): Promise<string | undefined> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The command name may hold spaces and brackets, so fields are counted from its closing one: state is the first.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

async function psStartTime(pid: number): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      env: { ...process.env, LC_ALL: 'C' },
    });
    const match = /^(\S+)\s+(.+)$/.exec(stdout.trim());
    return match === null || match[1]?.startsWith('Z') === true ? undefined : match[2];
  } catch {
    // ps exits 1 when there is no such process.
    return undefined;
  }
}
