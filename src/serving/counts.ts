/** Counts of one version in one role since a replica took up a (deployment, revision): what a rollout is judged by. */
import { LATENCY_BUCKETS_MS, type ServingCounts } from '../contracts/plan.ts';
import type { ServingRole } from '../contracts/values.ts';

export interface Counter {
  answered(latencyMs: number): void;
  /** A failure has no latency of its own: it may have failed at once or after a second. */
  failed(): void;
  snapshot(): ServingCounts;
}

function bucketOf(latencyMs: number): number {
  const index = LATENCY_BUCKETS_MS.findIndex((bound) => latencyMs <= bound);
  return index === -1 ? LATENCY_BUCKETS_MS.length : index;
}

export function createCounter(version: number, role: ServingRole): Counter {
  const latencyBuckets = new Array<number>(LATENCY_BUCKETS_MS.length + 1).fill(0);
  let requests = 0;
  let errors = 0;
  return {
    answered(latencyMs) {
      requests += 1;
      const bucket = bucketOf(latencyMs);
      latencyBuckets[bucket] = (latencyBuckets[bucket] ?? 0) + 1;
    },
    failed() {
      requests += 1;
      errors += 1;
    },
    snapshot: () => ({ version, role, requests, errors, latencyBuckets: [...latencyBuckets] }),
  };
}
