/** Dataset versions, snapshots and profiles: manifests that name bytes by digest. */
import type { ColumnType } from './values.ts';

export interface SourceColumn {
  readonly name: string;
  readonly type: ColumnType;
}

/** A file of a dataset version, always Parquet in the artifact store. */
export interface DataFile {
  readonly digest: string;
  readonly bytes: number;
  readonly rows: number;
  readonly partition: string;
  /** Where it came from and the digest of the bytes that were there. */
  readonly uri: string;
  readonly sourceDigest: string;
  /** Range of the dataset's time column, ISO 8601 UTC; null without such a column. */
  readonly minTime: string | null;
  readonly maxTime: string | null;
  /** Key of the event that brought it. Absent in manifests of 0.1.0. */
  readonly event?: string;
}

export interface DatasetManifest {
  readonly dataset: string;
  readonly version: number;
  readonly columns: readonly SourceColumn[];
  readonly files: readonly DataFile[];
  readonly rows: number;
  readonly maxTime: string | null;
  /** Key of the event that made it, or `refit/erasure N`. Absent in manifests of 0.1.0. */
  readonly event?: string;
  /** Digest of the DataProfile of all rows; manifests of earlier releases lack it. */
  readonly profile?: string;
}

/** A failed check, by name, with what a person needs to find the rows. */
export interface CheckFailure {
  readonly check: string;
  readonly column: string | null;
  readonly severity: 'block' | 'warn';
  readonly detail: string;
  /** Up to five: a value of the column, and the id of a row that has it. No other column is shown. */
  readonly examples: readonly string[];
  /** Values or rows that break the check, and their share of all rows; left out where a check is not about rows. */
  readonly count?: number;
  readonly share?: number;
}

/** Equal-width or quantile bins of numbers; times are milliseconds since 1970. `counts[i]` lies in (bounds[i-1], bounds[i]]. */
export interface Bins {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
}

/** How a feature goes with the label, over the same bins as `ColumnProfile.bins`. */
export interface LabelRelation {
  /** Area under the ROC curve of the feature alone; numeric features of a binary label. */
  readonly auc: number | null;
  /** Pearson's; numeric features of a regression. */
  readonly correlation: number | null;
  readonly cramersV: number | null;
  /** In nats. */
  readonly mutualInformation: number;
}

/** What is known of a column. NaN and infinities are counted apart and are in no other figure. */
export interface ColumnProfile {
  readonly name: string;
  readonly type: ColumnType;
  readonly nulls: number;
  readonly notFinite: number;
  /** Exact, unless `estimated`: then by HyperLogLog, within about a fifth. */
  readonly distinct: { readonly values: number; readonly estimated: boolean };
  /** Numbers; times as ISO 8601; null for texts, whose least and greatest are often someone's name. */
  readonly min: number | string | null;
  readonly max: number | string | null;
  /** Numbers only. The deviation is that of a sample (n - 1). */
  readonly mean: number | null;
  readonly std: number | null;
  /** At PROFILE_SHARES, interpolated as numpy does by default; empty where there is no number or time. */
  readonly quantiles: readonly number[];
  readonly histogram: Bins | null;
  /** Bins by the deciles, which an arrival is compared on. The last count is of what lies above. */
  readonly bins: Bins | null;
  /** Most frequent values of texts, bools and whole numbers that repeat. */
  readonly top: readonly { readonly value: string; readonly count: number }[];
  readonly relation?: LabelRelation;
}

/** A profile of the rows of a dataset version, or of the train part of a snapshot. */
export interface DataProfile {
  readonly rows: number;
  readonly columns: readonly ColumnProfile[];
}

export interface FeatureColumn {
  readonly name: string;
  readonly type: Exclude<ColumnType, 'timestamp'>;
}

/** A point-in-time join with the types that its columns have. */
export interface ResolvedJoin {
  readonly dataset: string;
  readonly keys: readonly { readonly left: string; readonly right: string; readonly type: ColumnType }[];
  readonly columns: readonly { readonly name: string; readonly as: string; readonly type: ColumnType }[];
  readonly leftTime: string;
  readonly rightTime: string;
  readonly maxAgeMs: number;
  readonly delayMs: number;
}

/** The immutable input of a run. Its digest is that of this manifest's canonical JSON. */
export interface SnapshotManifest {
  readonly model: string;
  readonly dataset: string;
  readonly datasetVersion: number;
  readonly definitionDigest: string;
  /** Half-open, ISO 8601 UTC; null when the dataset has no time column. */
  readonly window: { readonly start: string; readonly end: string } | null;
  /** Event time where the test part starts, for a split by time. */
  readonly testStart: string | null;
  readonly features: readonly FeatureColumn[];
  /** Source columns that features.sql reads, as inference takes them. */
  readonly source: readonly SourceColumn[];
  /** Class labels in the order of `probabilities`; empty for regression. */
  readonly classes: readonly string[];
  readonly parts: {
    readonly train: SnapshotPart;
    readonly validation: SnapshotPart;
    readonly test: SnapshotPart;
  };
  /** Parquet of the source columns' reference for drift, over train rows; digest. */
  readonly reference: string;
  /**
   * Parquet of the test rows' source columns without those of the label, row by row as in the test part; digest. A champion
   * with other features is judged on it.
   */
  readonly testSource: string;
  /** Digest of the DataProfile of the features over the train part; snapshots of earlier releases lack it. */
  readonly profile?: string;
  /** Joins of the definition, each with the version of the dataset that was joined. Absent without joins. */
  readonly joins?: readonly (ResolvedJoin & { readonly datasetVersion: number })[];
}

/** Parquet with `__id`, `__time`, the features, `__label`, the slice columns as `__slice_NAME`, and `__fold` in train and validation where the split has folds. */
export interface SnapshotPart {
  readonly digest: string;
  readonly rows: number;
}
