/** The traffic plan of a model, and what the inference servers report about it. */
import type { ServingRole } from './values.ts';

export interface PlanEntry {
  readonly version: number;
  readonly role: ServingRole;
  /** Share of requests it answers; 0 for a shadow. The shares of champion and canary add up to 1. */
  readonly weight: number;
}

/** Ordered by (deployment, revision): a plan whose pair is equal or lower is refused. */
export interface TrafficPlan {
  readonly model: string;
  readonly deployment: number;
  readonly revision: number;
  readonly entries: readonly PlanEntry[];
}

/** Upper bounds in milliseconds of the latency histogram's buckets; a last bucket holds the rest. */
export const LATENCY_BUCKETS_MS = [
  0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12.5, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750,
  1000, 2000, 5000,
] as const;

/** Counts since a replica took up this (deployment, revision), for one version in one role. */
export interface ServingCounts {
  readonly version: number;
  readonly role: ServingRole;
  readonly requests: number;
  readonly errors: number;
  /** Time in features and model, without the wait for the other role. One count for each bound, then the rest. */
  readonly latencyBuckets: readonly number[];
}

export interface ReplicaReport {
  readonly replica: string;
  readonly model: string;
  readonly deployment: number;
  readonly revision: number;
  readonly counts: readonly ServingCounts[];
  readonly droppedLogs: number;
  /** Versions that could not be loaded, with the reason. */
  readonly failures: readonly { readonly version: number; readonly reason: string }[];
}
