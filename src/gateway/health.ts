/** Whether the gateway does its work, and why not. */
import { setTimeout as delay } from 'node:timers/promises';
import type { SubscriptionState } from '../ports/bus.ts';

export interface Health {
  readonly ok: boolean;
  /** By name: `ok`, or what is wrong. */
  readonly checks: Readonly<Record<string, string>>;
}

/** Records that wait longer than this without any progress mean that the consumer is stuck. */
const STUCK_MS = 30_000;
/** Joining a group takes Kafka seconds, also after a rebalance. */
const JOIN_MS = 15_000;
/** A dependency that answers later than this counts as away. */
const CHECK_TIMEOUT_MS = 3_000;

const secondsSince = (atMs: number, nowMs: number): string => `${Math.round((nowMs - atMs) / 1000)} s`;

/** What is wrong with a consumer; null when nothing is. Pure. */
export function consumerProblem(state: SubscriptionState, nowMs: number): string | null {
  if (state.problem !== null && nowMs - (state.problemSinceMs ?? 0) > JOIN_MS)
    return `consumer not in its group for ${secondsSince(state.problemSinceMs ?? nowMs, nowMs)}: ${state.problem}`;
  const blocked = state.partitions.find((one) => one.blocked);
  if (blocked) return `${blocked.topic}/${blocked.partition} stands still: ${blocked.problem ?? 'unknown'}`;
  const stuck = state.partitions
    .filter((one) => one.waitsSinceMs !== null && nowMs - one.waitsSinceMs > STUCK_MS)
    .map(
      ({ topic, partition, waitsSinceMs, problem }) =>
        `${topic}/${partition} for ${secondsSince(waitsSinceMs ?? nowMs, nowMs)}${problem === null ? '' : ` (${problem})`}`,
    );
  return stuck.length === 0 ? null : `no progress on ${stuck.join(', ')}`;
}

/** Each check resolves when all is well, with what is wrong, or rejects. */
export async function checkedAll(
  checks: Readonly<Record<string, () => Promise<unknown> | string | null>>,
): Promise<Health> {
  const entries = await Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<[string, string]> => {
      const timeout = new AbortController();
      try {
        const answer = await Promise.race([
          Promise.resolve(check()),
          delay(CHECK_TIMEOUT_MS, undefined, { signal: timeout.signal, ref: false }).then(() => {
            throw new Error(`no answer within ${CHECK_TIMEOUT_MS / 1000} s`);
          }),
        ]);
        return [name, typeof answer === 'string' ? answer : 'ok'];
      } catch (error) {
        return [name, error instanceof Error ? error.message : String(error)];
      } finally {
        timeout.abort();
      }
    }),
  );
  return { ok: entries.every(([, state]) => state === 'ok'), checks: Object.fromEntries(entries) };
}
