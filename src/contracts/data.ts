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
}

/** A failed check, by name, with what a person needs to find the rows. */
export interface CheckFailure {
  readonly check: string;
  readonly column: string | null;
  readonly severity: 'block' | 'warn';
  readonly detail: string;
  readonly examples: readonly string[];
}

export interface FeatureColumn {
  readonly name: string;
  readonly type: Exclude<ColumnType, 'timestamp'>;
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
}

/** Parquet with `__id`, `__time`, the features, `__label`, the slice columns as `__slice_NAME`, and `__fold` in train and validation where the split has folds. */
export interface SnapshotPart {
  readonly digest: string;
  readonly rows: number;
}
