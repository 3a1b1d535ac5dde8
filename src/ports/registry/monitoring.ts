/** Sweeps of drift and skew, and the files of the prediction log. */
import type { Verdict } from '../../contracts/values.ts';

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
  /** The newest time of a prediction that is stored of a partition; null where none is. */
  sinkNewest(topic: string, partition: number): Promise<string | null>;
  /**
   * Compare-and-set: `conflict` unless `expected` is the position. The file (or none, when rows is 0) becomes visible with it.
   * `expected` is startOffset by default; another one where the topic was created anew.
   */
  commitSinkFile(file: SinkFile, expected?: string): Promise<'committed' | 'conflict'>;
  /** Files with rows of this model in [start, end). */
  sinkFiles(model: string, start: string, end: string): Promise<readonly SinkFile[]>;
}
