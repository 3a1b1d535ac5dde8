/**
 * The registry: committed facts. Every method that changes something is one transaction that also appends to the audit
 * chain and the outbox, and is idempotent by the key it names. Narrow interfaces by concern; callers take what they need.
 * Times are ISO 8601 UTC texts and come from the caller, so that they repeat.
 */
import type { DatasetManifest, SourceColumn } from '../contracts/data.ts';
import type { DatasetDocument, ModelDocument, PolicyDocument } from '../contracts/documents.ts';
import type { Evaluation, GateResult, MetricValue } from '../contracts/evaluation.ts';
import type { LifecycleEvent, TopicName } from '../contracts/events.ts';
import type { ReplicaReport, TrafficPlan } from '../contracts/plan.ts';
import type { Fate, RolloutOutcome, RunOutcome, Stage, Trigger, Verdict, VersionRole } from '../contracts/values.ts';
import type { DecisionContext, DecisionInput, DecisionVerdict } from '../domain/approval.ts';
import type { Correction } from '../domain/dataset-versions.ts';
import type { LookupSpec } from '../domain/joins.ts';

// ---- definitions ---------------------------------------------------------------------------------------------------

export interface DatasetRecord {
  readonly name: string;
  readonly document: DatasetDocument;
  /** Roots from which its files may come: the project folder of the last apply. */
  readonly root: string;
}

export interface ModelRecord {
  readonly name: string;
  readonly document: ModelDocument;
  /** sha256 of the canonical definition: the document with the project bundle's digest. */
  readonly definitionDigest: string;
  /** The project folder as a content-addressed bundle: digest of a JSON manifest {path: digest}. */
  readonly projectDigest: string;
  readonly revision: number;
  readonly gitCommit: string | null;
  readonly actor: string;
  readonly appliedAt: string;
}

export interface ApplyInput {
  readonly datasets: readonly DatasetDocument[];
  readonly models: readonly { readonly document: ModelDocument; readonly definitionDigest: string }[];
  readonly policies: readonly PolicyDocument[];
  readonly projectDigest: string;
  readonly root: string;
  readonly gitCommit: string | null;
  readonly actor: string;
  readonly at: string;
}
export interface ApplyChange {
  readonly kind: 'Dataset' | 'Model' | 'Policy';
  readonly name: string;
  readonly status: 'created' | 'changed' | 'unchanged';
}

export interface DefinitionRegistry {
  /** Idempotent: what is registered already is `unchanged`. */
  apply(input: ApplyInput): Promise<readonly ApplyChange[]>;
  dataset(name: string): Promise<DatasetRecord | undefined>;
  datasets(): Promise<readonly DatasetRecord[]>;
  /** The newest definition. */
  model(name: string): Promise<ModelRecord | undefined>;
  models(): Promise<readonly ModelRecord[]>;
  modelsOfDataset(dataset: string): Promise<readonly string[]>;
  definition(model: string, definitionDigest: string): Promise<ModelRecord | undefined>;
  policies(): Promise<readonly PolicyDocument[]>;
}

// ---- events ---------------------------------------------------------------------------------------------------------

export interface Origin {
  readonly topic: string;
  readonly partition: number;
  /** As text: offsets are 64 bit. */
  readonly offset: string;
}

export interface IncomingEvent {
  readonly source: string;
  readonly id: string;
  readonly type: string;
  readonly subject: string | null;
  readonly time: string | null;
  /** sha256 of the canonical JSON of {type, subject, data}. */
  readonly digest: string;
  /** The whole event as canonical JSON. */
  readonly body: string;
  /** What it is about: a dataset's or a model's name. */
  readonly target: { readonly kind: 'dataset' | 'model'; readonly name: string };
  /** Labels are stored with the event itself. `label` is JSON of the value. */
  readonly labels?: readonly { readonly id: string; readonly label: string; readonly time: string }[];
}

interface IncomingRecord {
  readonly origin: Origin;
  /** When it is taken in. */
  readonly at: string;
  /** When it was published: the record's own time in Kafka. */
  readonly publishedAt: string | null;
  /** 1 unless it is a dead letter sent again. */
  readonly attempt?: number;
  /** The dead letter that this one mends. */
  readonly retryOf?: Origin;
}

export interface Identity {
  readonly source: string;
  readonly id: string;
}

export type Incoming =
  | (IncomingRecord & { readonly event: IncomingEvent })
  | (IncomingRecord & {
      /** `identity`: source and id of the event that it was to be, where they could be read. */
      readonly malformed: { readonly reason: string; readonly detail: string; readonly identity?: Identity };
    })
  /** A notification, which is no event itself: it became events of the topic `data` (acted_on), or none (ignored). */
  | (IncomingRecord & { readonly noted: { readonly fate: 'acted_on' | 'ignored'; readonly reason: string } });

/**
 * What is to be done about a delivery:
 * signal: (again) hand its reference to the workflow; done: nothing; dead_letter: write it to the dead-letter topic
 * (also when the same delivery is read again before its offset was committed).
 */
export interface Receipt {
  readonly action: 'signal' | 'done' | 'dead_letter';
  /** The delivery's own fate where it does not follow its event: duplicate, refused (other body), ignored, dead_lettered; of a notification acted_on or ignored. */
  readonly fate: 'acted_on' | 'duplicate' | 'refused' | 'ignored' | 'dead_lettered' | null;
  readonly reason: string | null;
}

export interface FateRecord {
  /** A model's name; '' for an event that no model saw (ignored, refused before any model, labels have their model). */
  readonly model: string;
  readonly fate: Fate;
  readonly run: string | null;
  readonly reason: string | null;
  readonly waitsFor: string | null;
  readonly at: string;
}

export interface EventRecord {
  readonly key: string;
  readonly source: string;
  readonly id: string;
  readonly type: string;
  readonly target: { readonly kind: 'dataset' | 'model'; readonly name: string };
  readonly body: string;
  /** Of its first delivery: the record's time in Kafka. */
  readonly publishedAt: string | null;
  readonly receivedAt: string;
  readonly settled: boolean;
  readonly deliveries: readonly DeliveryRecord[];
  readonly fates: readonly FateRecord[];
}

export interface DeliveryRecord {
  readonly origin: Origin;
  readonly fate: Receipt['fate'];
  readonly at: string;
  readonly publishedAt: string | null;
  readonly attempt: number;
  readonly retryOf: Origin | null;
}

export interface DeadLetterRecord {
  readonly origin: Origin;
  readonly reason: string;
  readonly detail: string;
  readonly at: string;
  readonly publishedAt: string | null;
  readonly attempt: number;
  readonly identity: Identity | null;
  /** Deliveries that were sent to mend it. A fate of null follows the event. */
  readonly retries: readonly { readonly origin: Origin; readonly fate: Receipt['fate']; readonly at: string }[];
}

export type EventBody = Pick<EventRecord, 'key' | 'type' | 'target' | 'body' | 'receivedAt'>;

export interface DeliveryCounts {
  readonly published: number;
  readonly counts: Readonly<
    Record<
      'acted_on' | 'coalesced' | 'duplicate' | 'refused' | 'ignored' | 'dead_lettered' | 'held' | 'received',
      number
    >
  >;
}

export interface EventRegistry {
  /** One transaction for a batch. Keyed by (topic, partition, offset). An unknown dataset or model: ignored. Labels: stored, acted_on. */
  receive(batch: readonly Incoming[]): Promise<readonly Receipt[]>;
  event(key: string): Promise<EventRecord | undefined>;
  /** What these events say, in their order; unknown keys are left out. Without deliveries and fates: for hundreds at a time. */
  eventBodies(keys: readonly string[]): Promise<readonly EventBody[]>;
  /** Events with this CloudEvents id, of whatever source; at most 10. */
  eventsById(id: string): Promise<readonly EventRecord[]>;
  /** Newest first. `since` is a time of receipt; `before` is the key of the last event of the page before. */
  events(filter: {
    readonly model?: string;
    readonly fate?: Fate;
    readonly run?: string;
    readonly type?: string;
    readonly since?: string;
    readonly limit: number;
    readonly before?: string;
  }): Promise<readonly EventRecord[]>;
  /** Newest first. `before` is the origin of the last one of the page before; nothing follows one that is not there. */
  deadLetters(limit: number, before?: Origin): Promise<readonly DeadLetterRecord[]>;
  deadLetter(origin: Origin): Promise<DeadLetterRecord | undefined>;
  /**
   * Sets the fate of events for one model ('' for none). A settled fate never changes: such a row is left as it is.
   * An event is settled once each (event, model) that has a row is settled and `expectModels` (given by the dataset's
   * delivery) all have one.
   */
  setFates(
    model: string,
    fates: readonly {
      readonly key: string;
      readonly fate: Fate;
      readonly run?: string;
      readonly reason?: string;
      readonly waitsFor?: string;
    }[],
    at: string,
  ): Promise<void>;
  /** Records to which models an event is delivered (rows `received`); none: the event is ignored. Idempotent: the first call decides. */
  subscribe(key: string, models: readonly string[], at: string): Promise<readonly string[]>;
  /**
   * Keys of events for this model that are not settled, in the order of their arrival: what a reconciling lifecycle must still hold.
   * With `after`, only those that arrived after that event. @throws when that event is not in the registry
   */
  unsettled(model: string, limit: number, after?: string): Promise<readonly string[]>;
  /** Keys of arrivals that a dataset has not delivered yet, oldest first; those after one. */
  undelivered(dataset: string, limit: number, after?: string): Promise<readonly string[]>;
  /** Fates of these events for one model; unknown keys are left out. */
  fates(model: string, keys: readonly string[]): Promise<Readonly<Record<string, FateRecord>>>;
  /** Each delivery that is kept, counted once (over several models: the first of acted_on, coalesced, refused). */
  deliveryCounts(): Promise<DeliveryCounts>;
  /** Only grows. */
  labelCount(model: string): Promise<number>;
  /** Labels that were stored, or got another value, after this time. */
  labelsSince(model: string, since: string): Promise<number>;
  /** Labels of a model as [id, JSON of the label] pairs, streamed in pages by id. */
  labels(
    model: string,
    afterId: string,
    limit: number,
  ): Promise<readonly { readonly id: string; readonly label: string; readonly time: string }[]>;
  /**
   * Deletes at most `limit` settled events, with their deliveries and fates, whose last change is older than `before`; how many it were.
   * What made a dataset version stays, and so does what an open run stands on. An event that was deleted and is published again is a new one.
   */
  pruneEvents(before: string, limit: number, at: string): Promise<number>;
}

// ---- dataset versions -----------------------------------------------------------------------------------------------

export interface DatasetVersionRecord {
  readonly dataset: string;
  readonly version: number;
  readonly manifestDigest: string;
  readonly manifest: DatasetManifest;
  readonly eventKey: string;
  readonly newRows: number;
  readonly createdAt: string;
  /** The partition that it corrects: what was there before, and is no more. Null where it only adds. */
  readonly corrects: Correction | null;
}

export interface DatasetRegistry {
  latestDatasetVersion(dataset: string): Promise<DatasetVersionRecord | undefined>;
  datasetVersion(dataset: string, version: number): Promise<DatasetVersionRecord | undefined>;
  datasetVersionOfEvent(dataset: string, eventKey: string): Promise<DatasetVersionRecord | undefined>;
  datasetVersions(dataset: string, limit: number): Promise<readonly DatasetVersionRecord[]>;
  /** Version must be latest + 1, else `conflict`. The same event again gives what is there. */
  commitDatasetVersion(record: DatasetVersionRecord): Promise<DatasetVersionRecord | 'conflict'>;
}

// ---- erasure --------------------------------------------------------------------------------------------------------

/** What an erasure did. It names no id. */
export interface ErasureReport {
  /**
   * Rows taken out of the newest version, of all files of snapshots, of the log of predictions, of stored outcomes. Where an attempt was
   * cut off, the last three count what was left to the one after it.
   */
  readonly rows: {
    readonly data: number;
    readonly snapshots: number;
    readonly predictions: number;
    readonly labels: number;
    /** Out of files of batch scoring; absent where none had them. */
    readonly batches?: number;
  };
  /** The dataset version without the rows; null where the newest had none of them. */
  readonly version: number | null;
  /** Versions that held such rows: their own bytes are gone. */
  readonly lostVersions: readonly number[];
  /** Runs whose snapshot held such rows, and so can no longer be repeated. */
  readonly unrepeatable: readonly { readonly model: string; readonly run: string }[];
  /** Artifacts that another dataset holds too, and that so were left. */
  readonly heldElsewhere: number;
}

export interface ErasureRecord {
  readonly dataset: string;
  readonly erasure: number;
  readonly actor: string;
  readonly reason: string | null;
  /** How many ids were asked for. */
  readonly count: number;
  readonly requestedAt: string;
  readonly finishedAt: string | null;
  readonly report: ErasureReport | null;
}

/** An artifact whose bytes were deleted on purpose, and what took its place. */
export interface DeletedArtifact {
  readonly digest: string;
  readonly replacement: string | null;
  readonly reason: string;
  readonly at: string;
}

export interface ErasureRegistry {
  /** Idempotent by request key. The ids are kept until it is done, and then forgotten. */
  requestErasure(input: {
    readonly dataset: string;
    readonly requestKey: string;
    readonly ids: readonly string[];
    readonly actor: string;
    readonly reason: string | null;
    readonly at: string;
  }): Promise<ErasureRecord>;
  erasure(dataset: string, erasure: number): Promise<ErasureRecord | undefined>;
  /** Newest first. */
  erasures(dataset: string, limit: number): Promise<readonly ErasureRecord[]>;
  /** Of all datasets, oldest first. */
  openErasures(): Promise<readonly ErasureRecord[]>;
  /** None once it is done. */
  erasureIds(dataset: string, erasure: number): Promise<readonly string[]>;
  /** The first report stays. Audited on the chain of the dataset and of each model whose runs it touched. */
  finishErasure(dataset: string, erasure: number, report: ErasureReport, at: string): Promise<ErasureRecord>;
  /** All versions, oldest first. */
  allDatasetVersions(dataset: string): Promise<readonly DatasetVersionRecord[]>;
  /** Runs with a snapshot of this dataset; `predictions` is the digest of the trainer's own. */
  runsOfDataset(dataset: string): Promise<
    readonly {
      readonly run: string;
      readonly model: string;
      readonly snapshot: string;
      readonly predictions: string | null;
    }[]
  >;
  /** Sources that must not be taken in again: they hold rows that were erased. */
  eraseSources(dataset: string, sourceDigests: readonly string[], erasure: number): Promise<void>;
  /** The erasure that took rows out of what was made of these bytes. */
  erasedSource(dataset: string, sourceDigest: string): Promise<number | undefined>;
  /** Deletes outcomes of these ids, also from the events that brought them; how many there were. */
  eraseLabels(models: readonly string[], ids: readonly string[]): Promise<number>;
  /** Takes the examples out of what refusals, rejected runs and their checks say, where they name one of the ids. */
  redact(dataset: string, models: readonly string[], ids: readonly string[]): Promise<void>;
  /** Every file of the log of predictions that has rows of the model, oldest first. */
  allSinkFiles(model: string): Promise<readonly SinkFile[]>;
  replaceSinkFile(file: SinkFile, digest: string, rows: number): Promise<void>;
  /** Idempotent: the first reason stays. */
  deleteArtifact(artifact: DeletedArtifact): Promise<void>;
  deletedArtifact(digest: string): Promise<DeletedArtifact | undefined>;
  /** Digests of what was deleted for this reason. */
  deletedFor(reason: string): Promise<readonly string[]>;
  /** Whether a version of another dataset has a file with this digest. */
  heldElsewhere(dataset: string, digest: string): Promise<boolean>;
}

/** What is past its retention. Deleting the bytes is the caller's; every method can be called again. */
export interface RetentionRegistry {
  /** Of the oldest files of predictions, at most `limit`, those without a row after `before`. */
  oldSinkFiles(before: string, limit: number): Promise<readonly SinkFile[]>;
  dropSinkFile(file: SinkFile): Promise<void>;
  /** Runs that ended before, whose version (if any) is rejected or archived and never was champion, and whose artifacts are still there. */
  oldRuns(before: string, limit: number): Promise<readonly RunArtifacts[]>;
  /** All runs but these whose artifacts are still there. */
  runsKept(but: readonly string[]): Promise<readonly RunArtifacts[]>;
  /** Audited. */
  artifactsDeleted(run: string, count: number, at: string): Promise<void>;
  /** Datasets from which a correction or an erasure took files before. */
  correctedDatasets(before: string): Promise<readonly string[]>;
}

/** Digests of what a run made. */
export interface RunArtifacts {
  readonly run: string;
  readonly snapshot: string | null;
  /** ONNX file, the trainer's predictions, the end of its log. */
  readonly artifacts: readonly string[];
}

// ---- runs -----------------------------------------------------------------------------------------------------------

export interface RunRecord {
  readonly run: string;
  readonly model: string;
  readonly number: number;
  readonly trigger: Trigger;
  /** All events behind it, also those that joined it later. */
  readonly eventCount: number;
  /** The event that opened it, then the others in the order of their arrival. All of them in `run()`, else the first 20 at most. */
  readonly eventKeys: readonly string[];
  /** `reserved` when it was opened; `spent` once that is settled. */
  readonly cpuSeconds: { readonly reserved: number; readonly spent: number | null };
  /** Who asked: the actor of start or apply; null for events. */
  readonly requester: string | null;
  readonly reason: string | null;
  readonly definitionDigest: string;
  /** The run that this one repeats, on the same dataset version and definition. */
  readonly repeats: string | null;
  readonly stage: Stage;
  readonly outcome: RunOutcome | null;
  readonly outcomeReason: string | null;
  /** Version of the model's dataset that it saw; null before its snapshot, and for runs of 0.1.0. */
  readonly datasetVersion: number | null;
  readonly snapshot: string | null;
  readonly onnx: string | null;
  readonly training: TrainingRecord | null;
  readonly evaluation: Evaluation | null;
  readonly gates: readonly GateResult[];
  readonly checks: readonly {
    readonly check: string;
    readonly column: string | null;
    readonly severity: string;
    readonly detail: string;
  }[];
  readonly metric: MetricValue | null;
  readonly version: number | null;
  readonly startedAt: string;
  readonly finishedAt: string | null;
}

export interface TrainingRecord {
  readonly onnx: string;
  /** Digest of the trainer's own predictions for the validation part. */
  readonly predictions: string;
  /** Digest of the end of what the trainer said. */
  readonly log: string;
  readonly seconds: number;
  readonly attempt: number;
  readonly trainer: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface OpenRunInput {
  readonly model: string;
  /** Idempotency key: the same key gives the run that it opened. */
  readonly requestKey: string;
  readonly trigger: Trigger;
  /** The first is acted_on, the others coalesced. Empty for manual, schedule and definition. */
  readonly eventKeys: readonly string[];
  readonly requester: string | null;
  readonly reason: string | null;
  readonly definitionDigest: string;
  /** The run to repeat. Default: none. */
  readonly repeats?: string | null;
  /** What it is expected to cost; counts against the budget until its real cost is known. Default 0. */
  readonly reservedCpuSeconds?: number;
  /** What may be started and spent in 24 hours; null: as much as one likes. Default: no budget. */
  readonly budget?: { readonly runsPerDay: number | null; readonly cpuSecondsPerDay: number | null };
  readonly at: string;
}

export type OpenedRun =
  | { readonly status: 'opened'; readonly run: RunRecord }
  /** Nothing was opened. One sentence with the numbers. */
  | { readonly status: 'over_budget'; readonly reason: string };

export interface RunRegistry {
  /**
   * Creates the run and settles the fates of its events, in one transaction, unless the runs of the 24 hours before leave no room in the
   * budget. A request key that opened a run gives that run, whatever the budget. Emits run.started. @throws RangeError for a reservation that is no cost
   */
  openRun(input: OpenRunInput): Promise<OpenedRun>;
  run(run: string): Promise<RunRecord | undefined>;
  /** Keys of the events behind a run, in the order of `eventKeys`; with `after`, those that follow it. @throws when `after` is not one of them */
  runEvents(run: string, limit: number, after?: string): Promise<readonly string[]>;
  runs(filter: { readonly model?: string; readonly limit: number }): Promise<readonly RunRecord[]>;
  /** Runs of a model without an outcome. */
  openRuns(model: string): Promise<readonly RunRecord[]>;
  /** A run that has its outcome stays as it is. */
  updateRun(
    run: string,
    change: Partial<
      Pick<
        RunRecord,
        'stage' | 'datasetVersion' | 'snapshot' | 'onnx' | 'training' | 'evaluation' | 'gates' | 'checks' | 'metric'
      >
    >,
    at: string,
  ): Promise<void>;
  /**
   * The first outcome stays; returns it. Emits run.finished. A candidate version of a run not approved becomes rejected (or archived when
   * superseded). A cost that nobody settled is 0 for a run that never came to training, else what was reserved.
   */
  finishRun(run: string, outcome: RunOutcome, reason: string | null, at: string): Promise<RunRecord>;
  /** Records what a run really cost, which may be more than was reserved. The first value stays. @throws RangeError for what is no cost */
  settleCost(run: string, cpuSeconds: number, at: string): Promise<void>;
  /** Runs started after a time, oldest first, with what they spent or, while that is not settled, reserved. */
  spending(
    model: string,
    since: string,
  ): Promise<readonly { readonly startedAt: string; readonly cpuSeconds: number }[]>;
  /** Number of runs started since a time, for the budget. */
  runsSince(model: string, since: string): Promise<number>;
}

// ---- versions, approvals --------------------------------------------------------------------------------------------

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

// ---- deployments and plans ------------------------------------------------------------------------------------------

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

// ---- monitoring -----------------------------------------------------------------------------------------------------

export interface FeatureDrift {
  readonly name: string;
  readonly test: string;
  readonly score: number;
  readonly pValue?: number;
  readonly threshold: number;
  readonly drifted: boolean;
}

/** A feature as it was served beside what the raw data gives for the same ids. */
export interface FeatureSkew {
  readonly name: string;
  readonly rows: number;
  readonly differing: number;
  /** Largest absolute difference of numbers; null for others, or where nothing differs. */
  readonly largest: number | null;
  /** Values as texts, the largest differences first. */
  readonly examples: readonly { readonly id: string; readonly served: string; readonly recomputed: string }[];
}

/** Training-serving skew at the time of a sweep. */
export interface SkewRecord {
  /** From when on predictions were compared. */
  readonly since: string;
  readonly datasetVersion: number;
  readonly rows: number;
  readonly differing: number;
  readonly maxShare: number;
  readonly skewed: boolean;
  /** Features that differ anywhere, the most rows first. */
  readonly features: readonly FeatureSkew[];
  /** Why it could not be looked for; null where it could. */
  readonly problem: string | null;
}

export interface SweepRecord {
  readonly model: string;
  readonly windowStart: string;
  readonly windowEnd: string;
  readonly version: number | null;
  readonly rows: number;
  readonly labelled: number;
  readonly verdict: Verdict | null;
  /** Why there is no verdict, or what the verdict rests on. */
  readonly reason: string;
  readonly features: readonly FeatureDrift[];
  readonly performance: {
    readonly metric: string;
    readonly value: number;
    readonly reference: number;
    readonly rows: number;
  } | null;
  /** Absent without `monitoring.skew`, and in sweeps of earlier releases. */
  readonly skew?: SkewRecord;
  readonly at: string;
}

export interface SinkFile {
  readonly topic: string;
  readonly partition: number;
  readonly startOffset: string;
  readonly nextOffset: string;
  readonly digest: string;
  readonly rows: number;
  readonly models: readonly string[];
  readonly minTime: string;
  readonly maxTime: string;
}

export interface MonitoringRegistry {
  /** Idempotent by (model, windowEnd): the first stays. Emits a drift event to its topic for suspected and confirmed. */
  recordSweep(record: SweepRecord): Promise<SweepRecord>;
  sweeps(model: string, limit: number): Promise<readonly SweepRecord[]>;
  /** Next offset to read, '0' at the start. */
  sinkPosition(topic: string, partition: number): Promise<string>;
  /** Compare-and-set: `conflict` unless startOffset is the position. The file (or none, when rows is 0) becomes visible with it. */
  commitSinkFile(file: SinkFile): Promise<'committed' | 'conflict'>;
  /** Files with rows of this model in [start, end). */
  sinkFiles(model: string, start: string, end: string): Promise<readonly SinkFile[]>;
}

// ---- batch scoring ----------------------------------------------------------------------------------------------------

export interface BatchRecord {
  readonly model: string;
  /** Counts up from 1 for each model. */
  readonly batch: number;
  readonly version: number;
  readonly dataset: string;
  readonly datasetVersion: number;
  /** Versions of the datasets that the model joins, by name. */
  readonly joined: Readonly<Record<string, number>>;
  readonly actor: string;
  readonly requestedAt: string;
  readonly finishedAt: string | null;
  /** Null until it is done, and where it failed. */
  readonly rows: number | null;
  /** Digest of the Parquet file. Another one stands here once rows were erased from it. */
  readonly output: string | null;
  /** Why there is no file. */
  readonly failure: string | null;
}

export interface BatchRegistry {
  /** Idempotent by (model, requestKey). Audited. */
  requestBatch(
    input: Pick<BatchRecord, 'model' | 'version' | 'dataset' | 'datasetVersion' | 'joined' | 'actor'> & {
      readonly requestKey: string;
      readonly at: string;
    },
  ): Promise<BatchRecord>;
  batch(model: string, batch: number): Promise<BatchRecord | undefined>;
  /** Newest first. */
  batches(model: string, limit: number): Promise<readonly BatchRecord[]>;
  /** Of all models, oldest first. */
  openBatches(): Promise<readonly BatchRecord[]>;
  /**
   * The first end stays. Audited. Where rows of the dataset were erased, or are about to be, since the batch was asked for, it ends
   * without a file, for that one may hold them.
   */
  finishBatch(
    model: string,
    batch: number,
    end: { readonly rows: number; readonly output: string } | { readonly failure: string },
    at: string,
  ): Promise<BatchRecord>;
  /** Batches over a dataset that have a file. */
  batchesOfDataset(dataset: string): Promise<readonly BatchRecord[]>;
  /** For erasure. */
  replaceBatchOutput(model: string, batch: number, output: string, rows: number): Promise<void>;
}

// ---- keyed stores of joins --------------------------------------------------------------------------------------------

/** A keyed store of one version of a joined dataset. */
export interface LookupRecord {
  /** Digest of what the store must hold (`lookupSpec`). */
  readonly spec: string;
  readonly dataset: string;
  readonly datasetVersion: number;
  /** Parquet in the artifact store. */
  readonly digest: string;
  readonly rows: number;
  readonly maxTime: string | null;
  readonly at: string;
}

export interface LookupRegistry {
  /** From now on each version of the dataset gets this store. The same again changes nothing. */
  wantLookup(spec: string, document: LookupSpec, at: string): Promise<void>;
  wantedLookups(dataset: string): Promise<readonly { readonly spec: string; readonly document: LookupSpec }[]>;
  /** Idempotent by (spec, datasetVersion): the first stays. */
  recordLookup(record: LookupRecord): Promise<void>;
  /** The store of the newest version. */
  lookup(spec: string): Promise<LookupRecord | undefined>;
  /** Those before the newest. */
  supersededLookups(spec: string): Promise<readonly LookupRecord[]>;
  forgetLookup(spec: string, datasetVersion: number): Promise<void>;
}

// ---- outbox, audit, switches ----------------------------------------------------------------------------------------

export interface OutboxRow {
  readonly sequence: number;
  readonly topic: TopicName;
  readonly key: string;
  /** A whole CloudEvent as JSON; its id is stable. */
  readonly event: string;
}

export interface OutboxRegistry {
  outbox(limit: number): Promise<readonly OutboxRow[]>;
  outboxPublished(sequences: readonly number[], at: string): Promise<void>;
  /** Deletes at most `limit` rows that were published before this time; how many it were. Each stays bound by its audit row. */
  pruneOutbox(before: string, limit: number): Promise<number>;
  /** For effects that have no method of their own, such as alert.raised. Idempotent by id. */
  emit(input: {
    readonly model: string;
    readonly type: LifecycleEvent;
    readonly id: string;
    readonly data: Readonly<Record<string, unknown>>;
    readonly at: string;
  }): Promise<void>;
}

export interface AuditRow {
  readonly model: string;
  readonly sequence: number;
  readonly at: string;
  readonly action: string;
  readonly actor: string | null;
  readonly body: Readonly<Record<string, unknown>>;
  readonly previous: string;
  readonly hash: string;
}

export interface AuditRegistry {
  audit(model: string, limit: number): Promise<readonly AuditRow[]>;
  /** Recomputes the chain; with `head` (kept elsewhere) also detects a chain that was cut off. */
  verifyAudit(
    model: string,
    head?: { readonly sequence: number; readonly hash: string },
  ): Promise<{
    readonly ok: boolean;
    readonly rows: number;
    readonly head: { readonly sequence: number; readonly hash: string } | null;
    readonly problem: string | null;
  }>;
  /** For acts without a method of their own (pause, resume, refused updates). */
  recordAudit(input: {
    readonly model: string;
    readonly action: string;
    readonly actor: string | null;
    readonly body: Readonly<Record<string, unknown>>;
    readonly at: string;
  }): Promise<void>;
}

export interface PauseRegistry {
  setPaused(
    model: string,
    paused: { readonly by: string; readonly reason: string | null } | null,
    at: string,
  ): Promise<void>;
  paused(model: string): Promise<{ readonly by: string; readonly reason: string | null; readonly at: string } | null>;
}

export interface Registry
  extends DefinitionRegistry,
    EventRegistry,
    DatasetRegistry,
    ErasureRegistry,
    RetentionRegistry,
    RunRegistry,
    VersionRegistry,
    ApprovalRegistry,
    DeploymentRegistry,
    MonitoringRegistry,
    BatchRegistry,
    LookupRegistry,
    OutboxRegistry,
    AuditRegistry,
    PauseRegistry {
  /** Throws when the registry cannot be read. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
