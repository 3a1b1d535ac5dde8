/** Keyed stores of joined datasets. */
import type { LookupSpec } from '../../domain/joins.ts';

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
  /** For erasure: other bytes for the same version. */
  replaceLookup(record: LookupRecord): Promise<void>;
  forgetLookup(spec: string, datasetVersion: number): Promise<void>;
}
