/** Runs of the lifecycle, from their opening to their outcome. */
import type { CheckFailure } from '../../contracts/data.ts';
import type { Evaluation, GateResult, MetricValue } from '../../contracts/evaluation.ts';
import type { RunOutcome, Stage, Trigger } from '../../contracts/values.ts';

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
  readonly checks: readonly CheckFailure[];
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
  /** The first is acted_on, the others coalesced. For manual, schedule and definition what waited and goes along; may be empty. */
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
   * The snapshot is ready to train on, unless an erasure of the dataset has listed its runs since `erasures` of them had: then the snapshot may hold
   * rows that nobody would ever take out, and stays unrecorded.
   */
  recordSnapshot(
    run: string,
    made: { readonly snapshot: string; readonly dataset: string; readonly erasures: number },
    at: string,
  ): Promise<'recorded' | 'erased'>;
  /**
   * The first outcome stays; returns it. Emits run.finished. A candidate version of a run not approved becomes rejected (or archived when
   * superseded). A cost that nobody settled is 0 for a run that never came to training, else what was reserved.
   */
  finishRun(run: string, outcome: RunOutcome, reason: string | null, at: string): Promise<RunRecord>;
  /** What there is to say of a failure, before the run ends by it: its end then keeps it. In no chain and no event, for it may have values of rows in it. */
  keepReason(run: string, reason: string): Promise<void>;
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
