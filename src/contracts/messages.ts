/**
 * What crosses between workflows, activities and clients: start inputs, signals, updates and results. Plain JSON, small,
 * references instead of bodies. Types only: a schema that tightens must not break the replay of old histories.
 */
import type { RolloutStep } from './documents.ts';
import type { GateResult, MetricValue } from './evaluation.ts';
import type { RolloutOutcome, RunOutcome, Stage, Trigger, Verdict } from './values.ts';

// ---- dataset --------------------------------------------------------------------------------------------------------

export interface DatasetInput {
  readonly stateVersion: 1;
  readonly dataset: string;
  /** Carried over a continue-as-new: erasures that are still to be done. */
  readonly erasures?: readonly number[];
  /** The one of them that is under way. */
  readonly erasing?: ErasureProgress;
}
/** Signals dataArrived and eventsArrived carry keys of events in the registry: references, not bodies. */
export type EventKeys = readonly string[];

export type IngestResult =
  | { readonly status: 'version'; readonly version: number; readonly rows: number }
  | { readonly status: 'refused'; readonly reason: string };

// ---- erasure --------------------------------------------------------------------------------------------------------

/** Whom an erasure is about never travels: ids stand in the registry alone. */
export interface ErasureStep {
  readonly dataset: string;
  readonly erasure: number;
  /** The dataset's, as it was when the erasure began. */
  readonly idColumn: string;
  /** Where the slice before this one ended. */
  readonly after: string | null;
}
/** What a step did of its work, and where the next slice goes on; null when it is done. */
export interface ErasureSlice {
  /** Rows taken out. */
  readonly rows: number;
  readonly after: string | null;
  readonly unrepeatable?: ErasureTally['unrepeatable'];
}
export interface ErasedData {
  readonly idColumn: string;
  readonly rows: number;
  readonly version: number | null;
  readonly lostVersions: readonly number[];
}
/** What the steps of an erasure have done so far. */
export interface ErasureTally {
  readonly rows: {
    readonly data: number;
    readonly snapshots: number;
    readonly predictions: number;
    readonly batches: number;
  };
  readonly version: number | null;
  readonly lostVersions: readonly number[];
  readonly unrepeatable: readonly { readonly model: string; readonly run: string }[];
}

/** An erasure under way. Its bytes go once no snapshot needs them any more, before the log of predictions, which may take days. */
export interface ErasureProgress {
  readonly erasure: number;
  readonly idColumn: string;
  readonly step: 'snapshots' | 'bytes' | 'predictions' | 'batches' | 'finish';
  readonly after: string | null;
  readonly tally: ErasureTally;
}

// ---- batch scoring --------------------------------------------------------------------------------------------------

export interface BatchRequest {
  readonly model: string;
  readonly batch: number;
}
export interface BatchInput extends BatchRequest {
  /** Carried over a continue-as-new: digests of the files that are scored. */
  readonly parts?: readonly string[];
}
export type BatchEnd =
  | { readonly status: 'done'; readonly rows: number; readonly output: string }
  | { readonly status: 'failed'; readonly reason: string };
export type BatchPlan = { readonly version: number; readonly files: number; readonly ended: BatchEnd | null };

// ---- lifecycle ------------------------------------------------------------------------------------------------------

/** What of a definition steers the lifecycle. Durations in milliseconds. */
export interface LifecycleConfig {
  readonly definitionDigest: string;
  readonly triggers: readonly ('data' | 'drift' | 'definition')[];
  readonly debounceMs: number;
  readonly maxWaitMs: number;
  readonly cooldownMs: number;
  readonly minNewRows: number;
  readonly confirmDrift: { readonly windows: number; readonly of: number };
  readonly runsPerDay: number | null;
  readonly onNewer: 'supersede' | 'hold';
  // The rest is absent in histories of 0.1.0.
  /** Labels that must have come since the last run before data alone starts another. */
  readonly minNewOutcomes?: number;
  readonly cpuSecondsPerDay?: number | null;
  /** What a run may cost at most: its time limit on all its cores. */
  readonly reservedCpuSeconds?: number;
  readonly schedule?: RetrainingSchedule | null;
}

export interface RetrainingSchedule {
  readonly cron: string;
  /** IANA name, such as Europe/Berlin. */
  readonly timezone: string;
}

/** What a run costs the budget: what it spent, and until that is known what it may spend. */
export interface RunCost {
  readonly startedAtMs: number;
  readonly cpuSeconds: number;
}

/** An event as the policy sees it. Times in milliseconds since the epoch. */
export interface PendingEvent {
  readonly key: string;
  readonly kind: 'data' | 'drift';
  readonly receivedAtMs: number;
  /** New rows of a data event; 0 for drift. */
  readonly rows: number;
  readonly drift: {
    readonly verdict: Verdict | null;
    readonly windowStartMs: number;
    readonly windowEndMs: number;
    /** Version it speaks of; null when it does not say. */
    readonly version: number | null;
  } | null;
}

export interface StartRequest {
  readonly requestId: string;
  readonly trigger: Extract<Trigger, 'manual' | 'definition' | 'schedule'>;
  /** Null for a schedule: nobody asked. */
  readonly actor: string | null;
  readonly reason: string | null;
  /** The run to repeat, on its dataset version and definition. */
  readonly repeats?: string;
}

export interface ActiveRun {
  readonly run: string;
  /** It waits for a decision. */
  readonly awaiting: boolean;
  /** Since when it does. Absent in histories of 0.1.0. */
  readonly awaitingSinceMs?: number;
  /** It was told to give way. */
  readonly superseding: boolean;
}

export interface ActiveRollout {
  readonly deployment: number;
  readonly kind: 'rollout' | 'rollback';
  readonly toVersion: number;
}

export interface ApprovedRun {
  readonly run: string;
  readonly version: number;
}

/** Committed facts that a lifecycle starts from, read from the registry. */
export interface LifecycleFacts {
  readonly config: LifecycleConfig | null;
  readonly championVersion: number | null;
  /** Since when it serves. Absent in histories of 0.1.0. */
  readonly championSinceMs?: number | null;
  /** Opened and without an outcome; its workflow may not have been started. */
  readonly run: { readonly active: ActiveRun; readonly start: RunInput } | null;
  readonly rollout: { readonly active: ActiveRollout; readonly start: RolloutInput } | null;
  /** Approved runs without a deployment, oldest first. */
  readonly approved: readonly ApprovedRun[];
  readonly runStartsMs: readonly number[];
  /** Of a run that did not give way to a newer one. */
  readonly lastRunEndedMs: number | null;
  readonly paused: boolean;
  /** Definition changes since the first, which starts nothing by itself. */
  readonly revision: number;
  /** Of the last day. Absent in histories of 0.1.0, as the next two. */
  readonly spending?: readonly RunCost[];
  /** Labels stored since the last run was opened. */
  readonly newOutcomes?: number;
  /** The first moment of the schedule after now; null without a schedule. */
  readonly nextScheduleMs?: number | null;
}

/** One window of an outside detector, for confirm_drift. */
export interface DriftWindow {
  readonly startMs: number;
  readonly endMs: number;
  readonly drifted: boolean;
}

export interface LifecycleInput {
  readonly stateVersion: 1;
  readonly model: string;
  /** Carried over a continue-as-new: requests that no registry row holds yet. */
  readonly requests?: readonly StartRequest[];
  readonly driftWindows?: readonly DriftWindow[];
  /** A moment of the schedule that has not come, or that came while the lifecycle continued as new. */
  readonly nextScheduleMs?: number | null;
}

export interface RunFinishedSignal {
  readonly run: string;
  readonly outcome: RunOutcome;
  readonly version: number | null;
}
export interface RunAwaitsSignal {
  readonly run: string;
}
export interface RolloutFinishedSignal {
  readonly deployment: number;
  readonly outcome: RolloutOutcome;
}

export interface ApplyDefinitionUpdate {
  readonly definitionDigest: string;
  readonly actor: string;
  readonly requestId: string;
}
export interface OpenedRun {
  /** Null when the request's run has ended already, or none was opened. */
  readonly start: RunInput | null;
  /** Null when the budget is used up. */
  readonly run: string | null;
  readonly reason?: string;
}
export type OpenedRollout =
  | { readonly status: 'opened'; readonly active: ActiveRollout; readonly start: RolloutInput }
  | { readonly status: 'refused'; readonly reason: string };
export interface StartRunUpdate {
  readonly requestId: string;
  readonly actor: string;
  readonly reason: string | null;
  readonly repeats?: string;
}
export type StartRunAnswer =
  | { readonly status: 'started'; readonly run: string }
  | { readonly status: 'held'; readonly waitsFor: string }
  | { readonly status: 'refused'; readonly reason: string };
export interface PauseUpdate {
  readonly actor: string;
  readonly reason: string | null;
}
export interface RollbackUpdate {
  readonly requestId: string;
  readonly actor: string;
  /** Version to go back to; null: the champion before. */
  readonly to: number | null;
  readonly reason: string;
}
export type RollbackAnswer =
  | { readonly status: 'started'; readonly deployment: number; readonly toVersion: number }
  | { readonly status: 'refused'; readonly reason: string };

export interface LifecycleStatus {
  readonly model: string;
  readonly config: LifecycleConfig | null;
  readonly champion: number | null;
  readonly run: ActiveRun | null;
  readonly rollout: ActiveRollout | null;
  readonly paused: boolean;
  readonly held: number;
  readonly waitsFor: string | null;
  readonly wakeAtMs: number | null;
  readonly nextScheduleMs: number | null;
}

// ---- run ------------------------------------------------------------------------------------------------------------

export interface RunInput {
  readonly stateVersion: 1;
  readonly model: string;
  readonly run: string;
  readonly trigger: Trigger;
  readonly definitionDigest: string;
  readonly requester: string | null;
  /** Why it was started, for the people who look at it. */
  readonly reason?: string;
}

/** What the run workflow needs of its definition. */
export interface RunSettings {
  readonly queueTimeoutMs: number;
  readonly trainTimeoutMs: number;
  readonly approvalRequired: number;
  readonly remindMs: number;
  readonly expiresMs: number;
}

export interface StageRequest {
  readonly model: string;
  readonly run: string;
  readonly definitionDigest: string;
}

export type SnapshotResult =
  | { readonly status: 'ready'; readonly snapshot: string; readonly trainRows: number; readonly testRows: number }
  | { readonly status: 'data_rejected'; readonly reason: string };

export interface TrainResult {
  readonly onnx: string;
  /** Digest of the trainer's own predictions on the validation part. */
  readonly predictions: string;
  readonly seconds: number;
}

export type EvaluateResult = {
  readonly gates: readonly GateResult[];
  readonly reason: string;
} & (
  | { readonly status: 'passed'; readonly metric: MetricValue }
  /** Without a metric where it is undefined on the held-out rows. */
  | { readonly status: 'failed' | 'inconclusive'; readonly metric: MetricValue | null }
);

export interface RegisterResult {
  readonly version: number;
  readonly bundleDigest: string;
}

/** As it travels by signal or update. */
export interface DecisionMessage {
  readonly requestId: string;
  readonly actor: string;
  readonly bundleDigest: string;
  readonly reason?: string | null;
}
export interface DecideUpdate extends DecisionMessage {
  readonly decision: 'approve' | 'reject';
}
export interface DecisionAnswer {
  readonly status: 'accepted' | 'refused';
  readonly reason: string;
  readonly settles: 'approved' | 'rejected' | null;
}
export interface CancelUpdate {
  readonly actor: string;
  readonly reason: string | null;
}
export interface SupersedeSignal {
  readonly reason: string;
}

export interface RunStatus {
  readonly run: string;
  readonly stage: Stage;
  readonly outcome: RunOutcome | null;
  readonly version: number | null;
  readonly bundleDigest: string | null;
  readonly waitsFor: string | null;
}

// ---- rollout --------------------------------------------------------------------------------------------------------

export interface RolloutInput {
  readonly stateVersion: 1;
  readonly model: string;
  readonly deployment: number;
  readonly kind: 'rollout' | 'rollback';
  readonly fromVersion: number | null;
  readonly toVersion: number;
  readonly steps: readonly RolloutStepPlan[];
  /** How long after its hold a step may lack requests. */
  readonly patienceMs: number;
  readonly analysis: RolloutAnalysisConfig;
  readonly reason: string;
}
export interface RolloutAnalysisConfig {
  readonly maxErrorRateIncrease: number;
  readonly maxLatencyP95Ratio: number;
}
export interface RolloutStepPlan {
  readonly type: RolloutStep['type'];
  readonly weight: number;
  readonly holdMs: number;
  readonly minRequests: number;
}
export interface WatchRequest {
  readonly model: string;
  readonly deployment: number;
  readonly revision: number;
  readonly championVersion: number;
  readonly challengerVersion: number;
  readonly step: RolloutStepPlan;
  readonly analysis: RolloutAnalysisConfig;
  readonly patienceMs: number;
}
export interface StepVerdict {
  readonly verdict: 'passed' | 'failed' | 'inconclusive';
  readonly detail: string;
}
export interface FenceSignal {
  readonly reason: string;
}
export interface RolloutControlUpdate {
  readonly actor: string;
  readonly reason: string | null;
}
export interface RolloutStatus {
  readonly deployment: number;
  readonly step: string;
  readonly paused: string | null;
  readonly outcome: RolloutOutcome | null;
}

// ---- sweep ----------------------------------------------------------------------------------------------------------

export interface SweepInput {
  readonly stateVersion: 1;
  readonly model: string;
  /** Only where no Schedule starts the sweep. */
  readonly windowEndMs?: number;
}
export interface SweepResult {
  readonly verdict: Verdict | null;
  readonly reason: string;
}
