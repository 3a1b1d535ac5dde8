/** Rows of a person that are removed, and artifacts that were deleted on purpose. */
import type { DatasetVersionRecord } from './datasets.ts';
import type { SinkFile } from './monitoring.ts';

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
  /** Why nothing was erased; absent where it was. */
  readonly failure?: string;
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

/** What is kept of a run that may have rows of its dataset in it. */
export interface RunHoldings {
  readonly run: string;
  readonly model: string;
  readonly snapshot: string;
  /** Digest of the trainer's own predictions; null before it has ended. */
  readonly predictions: string | null;
  /** Digest of what the trainer wrote last. */
  readonly log: string | null;
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
  /**
   * Runs with a snapshot of this dataset. From here on `recordSnapshot` refuses what was read before.
   */
  listRuns(dataset: string, erasure: number): Promise<readonly RunHoldings[]>;
  /** How many erasures of the dataset have listed its runs: grows by each. */
  erasuresListed(dataset: string): Promise<number>;
  /** Models of which any definition ever named the dataset. */
  modelsEverOf(dataset: string): Promise<readonly string[]>;
  /** The reason of an erasure of this dataset that took out one of the artifacts; undefined where none did. */
  erasedFrom(dataset: string, digests: readonly string[]): Promise<string | undefined>;
  /** Sources that must not be taken in again: they hold rows that were erased. */
  eraseSources(dataset: string, sourceDigests: readonly string[], erasure: number): Promise<void>;
  /** The erasure that took rows out of what was made of these bytes. */
  erasedSource(dataset: string, sourceDigest: string): Promise<number | undefined>;
  /** Deletes outcomes of these ids, also from the events that brought them; how many there were. */
  eraseLabels(models: readonly string[], ids: readonly string[]): Promise<number>;
  /** Takes examples and last lines of trainers out of what refusals, runs, their checks and evaluations say, where they name one of the ids. */
  redact(dataset: string, models: readonly string[], ids: readonly string[]): Promise<void>;
  /** Files of the log of predictions, of all models, in the order of their numbers from the one after `after`. */
  sinkFilesAfter(after: number, limit: number): Promise<readonly { readonly seq: number; readonly file: SinkFile }[]>;
  replaceSinkFile(file: SinkFile, digest: string, rows: number): Promise<void>;
  /** Idempotent by (digest, reason): the first stays. */
  deleteArtifact(artifact: DeletedArtifact): Promise<void>;
  /** Of several reasons the newest that says what took its place. */
  deletedArtifact(digest: string): Promise<DeletedArtifact | undefined>;
  /** What the newest erasure of this dataset made of it; undefined where none touched it. */
  erasedArtifact(dataset: string, digest: string): Promise<DeletedArtifact | undefined>;
  /** Digests of what was deleted for this reason. */
  deletedFor(reason: string): Promise<readonly string[]>;
  /** Those that a version of another dataset has as a file or as its profile, and that no erasure of that dataset took out. */
  heldElsewhere(dataset: string, digests: readonly string[]): Promise<ReadonlySet<string>>;
}
