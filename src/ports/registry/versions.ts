/** Registered model versions, and who decided what about them. */
import type { SourceColumn } from '../../contracts/data.ts';
import type { Evaluation, MetricValue } from '../../contracts/evaluation.ts';
import type { RunOutcome, VersionRole } from '../../contracts/values.ts';
import type { DecisionContext, DecisionInput, DecisionVerdict } from '../../domain/approval.ts';

export interface VersionRecord {
  readonly model: string;
  readonly version: number;
  readonly run: string;
  readonly bundleDigest: string;
  /** Digest of the bundle manifest in the artifact store (equal to bundleDigest: content-addressed canonical JSON). */
  readonly role: VersionRole;
  readonly snapshot: string;
  readonly metric: MetricValue;
  readonly evaluation: Evaluation;
  readonly source: readonly SourceColumn[];
  readonly createdAt: string;
  readonly promotedAt: string | null;
}

export interface DecisionRecord extends DecisionInput {
  readonly status: 'accepted' | 'refused';
  readonly refusal: string | null;
  readonly at: string;
}

export interface ApprovalRecord {
  readonly run: string;
  readonly model: string;
  readonly version: number;
  readonly bundleDigest: string;
  readonly required: number;
  readonly requestedAt: string;
  readonly expiresAt: string;
  readonly decisions: readonly DecisionRecord[];
  readonly outcome: RunOutcome | null;
}

export interface VersionRegistry {
  /** Idempotent by run. Emits version.registered. */
  registerVersion(input: Omit<VersionRecord, 'version' | 'role' | 'promotedAt'>): Promise<VersionRecord>;
  version(model: string, version: number): Promise<VersionRecord | undefined>;
  versions(model: string): Promise<readonly VersionRecord[]>;
  champion(model: string): Promise<VersionRecord | undefined>;
  /** Earlier champions, newest first, the present one left out. */
  formerChampions(model: string): Promise<readonly VersionRecord[]>;
  /** What served when the rollout that first made this version champion was opened; null for the model's first champion. */
  championBefore(model: string, version: number): Promise<number | null>;
}

export interface ApprovalRegistry {
  /** Idempotent by run. Emits approval.requested. */
  requestApproval(input: Omit<ApprovalRecord, 'decisions' | 'outcome'>): Promise<void>;
  approval(run: string): Promise<ApprovalRecord | undefined>;
  /** Requests that still wait: neither decided nor closed by the outcome of their run. */
  openApprovals(): Promise<readonly ApprovalRecord[]>;
  /**
   * Judges and records one decision in one transaction, with the policies of that moment. Idempotent by requestId within
   * the run: the same request gets the same answer. Refused ones are recorded and audited too. Emits approval.decided.
   */
  recordDecision(
    run: string,
    decision: DecisionInput,
    judge: (context: DecisionContext) => DecisionVerdict,
    at: string,
  ): Promise<{ readonly verdict: DecisionVerdict; readonly approval: ApprovalRecord | undefined }>;
}
