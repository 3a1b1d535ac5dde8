/** What the entry points of the chaos parts share: the built product, loaded as people run it, with failpoints around its ports. */
import pino, { type Logger } from 'pino';
import type { Settings } from '../../../src/settings/types.ts';
import { failpointsFromEnvironment, withFailpoints } from './failpoints.ts';

const DIST = new URL('../../../dist/', import.meta.url);

/** A module of the build: what is tested is what ships, and a planted bug needs no change of the sources. */
export async function built<T>(path: string): Promise<T> {
  return (await import(new URL(path, DIST).href)) as T;
}

export async function partSettings(): Promise<Settings> {
  const { parseSettings } = await built<typeof import('../../../src/settings.ts')>('src/settings.js');
  return parseSettings(process.env, process.cwd());
}

export const partLogger = (part: string): Logger => pino({ level: 'warn', base: { part } }, pino.destination(2));

export function decorated<P extends object>(ports: P): P {
  const { points, folder } = failpointsFromEnvironment();
  return withFailpoints(ports, points, folder);
}

/** A part whose driver was killed ends with it. */
export function endWithParent(): void {
  const { ppid } = process;
  setInterval(() => {
    if (process.ppid !== ppid) process.kill(process.pid, 'SIGKILL');
  }, 1_000).unref();
}
