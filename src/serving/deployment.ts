/** What a replica serves of one model at one (deployment, revision): plan, loaded versions, counts. Replaced as a whole. */
import type { SourceColumn } from '../contracts/data.ts';
import type { PlanEntry, ReplicaReport, TrafficPlan } from '../contracts/plan.ts';
import type { ServingRole } from '../contracts/values.ts';
import { type Counter, createCounter } from './counts.ts';
import type { LoadedVersion } from './loaded-version.ts';
import type { RequestShape } from './tensors.ts';

export interface Failure {
  readonly version: number;
  readonly reason: string;
}

/** Counts since a (deployment, revision) was taken up; they go on when a version of the same plan is loaded after all. */
export interface Tally {
  counter(version: number, role: ServingRole): Counter;
  dropped(rows: number): void;
  read(): Pick<ReplicaReport, 'counts' | 'droppedLogs'>;
}

export interface Deployment {
  readonly plan: TrafficPlan;
  readonly versions: ReadonlyMap<number, LoadedVersion>;
  /** What requests may hold; null without a champion. */
  readonly shape: RequestShape | null;
  readonly tally: Tally;
}

/** The champion's columns are needed; those of the others are understood, so that a challenger with new columns can be tried. */
function shapeOf(champion: LoadedVersion | undefined, versions: Iterable<LoadedVersion>): RequestShape | null {
  if (champion === undefined) return null;
  const columns = new Map<string, SourceColumn>();
  for (const { inputs } of [champion, ...versions]) {
    for (const column of inputs) if (!columns.has(column.name)) columns.set(column.name, column);
  }
  return { columns, required: champion.inputs, idColumn: champion.manifest.idColumn };
}

export const entryOf = (plan: TrafficPlan, version: number): PlanEntry | undefined =>
  plan.entries.find((entry) => entry.version === version);

function createTally(plan: TrafficPlan): Tally {
  const counters = new Map<string, Counter>();
  let droppedLogs = 0;
  const counter = (version: number, role: ServingRole): Counter => {
    const key = `${version}/${role}`;
    const found = counters.get(key) ?? createCounter(version, role);
    counters.set(key, found);
    return found;
  };
  // Present from the start: a step must see zero requests, not none at all.
  for (const { version, role } of plan.entries) counter(version, role);
  return {
    counter,
    dropped(rows) {
      droppedLogs += rows;
    },
    read: () => ({ counts: [...counters.values()].map((one) => one.snapshot()), droppedLogs }),
  };
}

export const isSamePlan = (left: TrafficPlan, right: TrafficPlan): boolean =>
  left.deployment === right.deployment && left.revision === right.revision;

export function createDeployment(
  plan: TrafficPlan,
  versions: ReadonlyMap<number, LoadedVersion>,
  before: Deployment | undefined,
): Deployment {
  const champion = plan.entries.find(({ role }) => role === 'champion');
  return {
    plan,
    versions,
    shape: shapeOf(champion === undefined ? undefined : versions.get(champion.version), versions.values()),
    tally: before !== undefined && isSamePlan(before.plan, plan) ? before.tally : createTally(plan),
  };
}
