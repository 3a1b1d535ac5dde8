/** Deployments, the traffic plans they write, and what replicas report. */
import type { ReplicaReport, TrafficPlan } from '../../contracts/plan.ts';
import type { RolloutOutcome } from '../../contracts/values.ts';
import type { DecisionContext } from '../../domain/approval.ts';

export interface DeploymentRecord {
  readonly model: string;
  readonly deployment: number;
  readonly kind: 'rollout' | 'rollback';
  readonly run: string | null;
  readonly fromVersion: number | null;
  readonly toVersion: number;
  readonly actor: string | null;
  readonly reason: string | null;
  readonly outcome: RolloutOutcome | null;
  readonly outcomeReason: string | null;
  readonly startedAt: string;
  readonly finishedAt: string | null;
  readonly steps: readonly {
    readonly step: string;
    readonly status: string;
    readonly detail: string;
    readonly at: string;
  }[];
}

export type PlanWrite =
  | { readonly status: 'written' | 'same' }
  | { readonly status: 'stale'; readonly current: TrafficPlan | null };

export interface DeploymentRegistry {
  /**
   * Idempotent by requestKey (a run's approval opens at most one deployment). Numbers only grow. A rollout makes its version challenger.
   * A rollback fences off every rollout with a lower number. Throws for a rollout of what is not approved, and for a rollback to a
   * version that never was champion.
   */
  openDeployment(input: {
    readonly model: string;
    readonly requestKey: string;
    readonly kind: 'rollout' | 'rollback';
    readonly run: string | null;
    readonly toVersion: number;
    readonly actor: string | null;
    readonly reason: string | null;
    readonly at: string;
  }): Promise<DeploymentRecord>;
  deployment(model: string, deployment: number): Promise<DeploymentRecord | undefined>;
  /** The one that this request opened. */
  deploymentOf(model: string, requestKey: string): Promise<DeploymentRecord | undefined>;
  deployments(model: string, limit: number): Promise<readonly DeploymentRecord[]>;
  /** Compare-and-set on (deployment, revision): lower, or equal with other content, is stale; so is one of a deployment that is over or fenced off. Keeps history. Emits rollout.step. */
  writePlan(
    plan: TrafficPlan,
    note: { readonly step: string; readonly detail: string },
    at: string,
  ): Promise<PlanWrite>;
  plan(model: string): Promise<TrafficPlan | undefined>;
  plans(): Promise<readonly TrafficPlan[]>;
  recordStep(
    model: string,
    deployment: number,
    step: { readonly step: string; readonly status: string; readonly detail: string },
    at: string,
  ): Promise<void>;
  /**
   * Makes the version champion and writes its final plan, if the plan's fence still holds and `verify` (decision valid with
   * the policies of this moment; skipped for rollbacks) gives null. Idempotent. Emits version.promoted (rollout) or
   * version.rolledback (rollback), and archives the former champion.
   */
  promote(
    input: { readonly model: string; readonly deployment: number; readonly plan: TrafficPlan },
    verify: (context: DecisionContext) => string | null,
    at: string,
  ): Promise<{ readonly status: 'promoted' } | { readonly status: 'refused'; readonly reason: string }>;
  /** The first outcome stays. rolled_back or aborted archives the challenger (aborted rollouts too); emits version.rolledback for rolled_back. */
  finishDeployment(
    model: string,
    deployment: number,
    outcome: RolloutOutcome,
    reason: string,
    at: string,
  ): Promise<DeploymentRecord>;
  reportReplica(report: ReplicaReport, at: string): Promise<void>;
  /** Reports not older than `since`. */
  replicas(model: string, since: string): Promise<readonly (ReplicaReport & { readonly at: string })[]>;
}
