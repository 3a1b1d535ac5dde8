/** Batch scoring. */

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
