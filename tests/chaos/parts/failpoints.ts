/**
 * Failpoints around the effects of a part: a proxy over its ports that ends the process, or lets a call fail although it was carried out, at
 * the k-th call of a method. Each fires once over all processes: it leaves a file behind, so that the next process gets past it.
 */
import { closeSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * before, after: SIGKILL before or after the effect. timeout: the effect happens, its caller sees a failure. late: the effect happens, and
 * once more five seconds later, as if a stopped process woke up with the call in hand. slow: the effect happens eight seconds late.
 */
export const WHENS = ['before', 'after', 'timeout', 'late', 'slow'] as const;
export interface Failpoint {
  readonly port: string;
  readonly method: string;
  readonly when: (typeof WHENS)[number];
  /** The how manieth call in one process, from 1. */
  readonly call: number;
  /** Only calls with this text in their arguments count. */
  readonly about?: string;
}

const LATE_MS = 5_000;
/** Less than an activity may take, more than people need to do something else meanwhile. */
const SLOW_MS = 8_000;

export const nameOf = (point: Failpoint): string =>
  [point.port, point.method, point.when, point.call, point.about ?? ''].join('.').replaceAll('/', '_');

type Method = (...args: readonly unknown[]) => unknown;

/** Wraps every method of the ports that a failpoint names; the others stay as they are. */
export function withFailpoints<P extends object>(ports: P, points: readonly Failpoint[], folder: string): P {
  const wrapped = Object.entries(ports as Record<string, object>).map(([port, target]) => [
    port,
    points.some((point) => point.port === port)
      ? new Proxy(target, { get: (_, name) => method(target, port, name) })
      : target,
  ]);
  const counts = new Map<Failpoint, number>();

  /** True once: the file is created by whoever comes first. */
  function claim(point: Failpoint): boolean {
    if (existsSync(join(folder, 'disarmed'))) return false;
    try {
      closeSync(openSync(join(folder, nameOf(point)), 'wx'));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }
  function due(port: string, name: string, args: readonly unknown[]): readonly Failpoint[] {
    return points.filter((point) => {
      if (point.port !== port || point.method !== name) return false;
      if (point.about !== undefined && !JSON.stringify(args).includes(point.about)) return false;
      counts.set(point, (counts.get(point) ?? 0) + 1);
      return counts.get(point) === point.call && claim(point);
    });
  }
  function method(target: object, port: string, name: string | symbol): unknown {
    const own: unknown = Reflect.get(target, name, target);
    if (typeof own !== 'function' || typeof name !== 'string') return own;
    const call = own as Method;
    if (!points.some((point) => point.port === port && point.method === name)) return call.bind(target);
    return async (...args: readonly unknown[]): Promise<unknown> => {
      const whens = due(port, name, args).map((point) => point.when);
      if (whens.includes('before')) process.kill(process.pid, 'SIGKILL');
      if (whens.includes('slow')) await sleep(SLOW_MS);
      const answer = await call.apply(target, [...args]);
      if (whens.includes('after')) process.kill(process.pid, 'SIGKILL');
      if (whens.includes('late')) {
        // What a late call answers, or fails with, nobody hears any more.
        void sleep(LATE_MS)
          .then(() => call.apply(target, [...args]))
          .catch(() => undefined);
      }
      if (whens.includes('timeout')) throw new Error(`chaos: ${port}.${name} was carried out, its answer is lost`);
      return answer;
    };
  }
  return Object.fromEntries(wrapped) as P;
}

/** What the driver gave this process. */
export function failpointsFromEnvironment(): { readonly points: readonly Failpoint[]; readonly folder: string } {
  const { CHAOS_FAILPOINTS: text = '[]', CHAOS_FIRED: folder = '' } = process.env;
  return { points: JSON.parse(text) as readonly Failpoint[], folder };
}
