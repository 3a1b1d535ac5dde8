/** What the stages need from the data engine and the ONNX runtime: files in, files and numbers out. Paths are local scratch. */
import type { CheckFailure, DataProfile, FeatureColumn, ResolvedJoin, SourceColumn } from '../contracts/data.ts';
import type { CsvDialect, Expectation } from '../contracts/documents.ts';
import type { Comparison, Evaluation } from '../contracts/evaluation.ts';
import type { DataFormat, Metric, Task } from '../contracts/values.ts';
import type { LookupSpec } from '../domain/joins.ts';
import type { FeatureDrift, FeatureSkew } from './registry/monitoring.ts';

export interface ConvertRequest {
  readonly path: string;
  readonly format: DataFormat;
  readonly timeColumn: string | null;
  /** Parquet file to be written; its folder also takes what does not fit into memory. */
  readonly output: string;
  /** What the file is called in messages. @default the last part of its path */
  readonly name?: string;
  /** What is not said of the dialect is detected. */
  readonly csv?: CsvDialect;
  /** Columns that are texts, whatever their values look like. Of JSON Lines only texts are taken for them, no numbers. */
  readonly texts?: readonly string[];
  /** Columns of whole numbers: floats without a fraction, as writers make them where a value is missing, are read back as such. */
  readonly integers?: readonly string[];
  /** Columns that are written; others of the file are told, and left out. @default all */
  readonly only?: readonly string[];
  /** Columns that are neither written nor told. */
  readonly ignored?: readonly string[];
  /** JSON Lines only: exactly these columns, instead of what the values look like. */
  readonly columns?: readonly SourceColumn[];
}

export interface ConvertedFile {
  readonly rows: number;
  /** Those that the file has; of these `only` are written. */
  readonly columns: readonly SourceColumn[];
  readonly minTime: string | null;
  readonly maxTime: string | null;
}

/** A join, with the Parquet files of the dataset version that is joined, oldest first. */
export interface JoinInput extends ResolvedJoin {
  readonly files: readonly string[];
}

export interface LookupRequest {
  readonly spec: LookupSpec;
  /** Parquet files of the dataset version, oldest first. */
  readonly files: readonly string[];
  /** Parquet that is written. */
  readonly output: string;
}
export interface LookupFile {
  readonly rows: number;
  readonly maxTime: string | null;
}

export interface CheckRequest {
  /** Parquet files of the arrival. What does not fit into memory goes beside the first of them meanwhile. */
  readonly files: readonly string[];
  /** The schema of the dataset. */
  readonly columns: readonly SourceColumn[];
  readonly expectations: readonly Expectation[];
  readonly idColumn: string | null;
  readonly timeColumn: string | null;
  /** Files of the version before whose partitions stay: no id of theirs may come again. */
  readonly kept: readonly { readonly path: string; readonly partition: string }[];
  /** Profile of the version before; null for the first one. */
  readonly before: DataProfile | null;
  /** Files of the newest version of each dataset that a `foreign_key` names; a dataset without a version is not there. */
  readonly others: ReadonlyMap<string, readonly string[]>;
  /** When the event arrived; null where nothing arrives. */
  readonly arrivedAt: string | null;
}

/** The column `__label` of a part of a snapshot. */
export interface ProfileLabel {
  readonly task: Task;
  readonly classes: number;
}

export interface SnapshotRequest {
  /** Parquet files of the dataset version, oldest first. */
  readonly files: readonly string[];
  /** The schema of the dataset version. @default the columns of the first file */
  readonly columns?: readonly SourceColumn[];
  readonly featuresSql: string;
  readonly labelSql: string;
  readonly task: Task;
  readonly idColumn: string | null;
  readonly timeColumn: string | null;
  /** Half-open, ISO 8601 UTC. */
  readonly window: { readonly start: string; readonly end: string } | null;
  readonly split: {
    readonly type: 'time' | 'random';
    readonly test: number;
    readonly validation: number;
    /** Column whose rows of one value stay in one part. */
    readonly group?: string | undefined;
    /** Train and validation rows get a `__fold` from 0 to one less. */
    readonly folds?: number | undefined;
  };
  readonly slices: readonly string[];
  readonly seed: number;
  /** @default none */
  readonly joins?: readonly JoinInput[];
  /**
   * Folder that receives train.parquet, validation.parquet, test.parquet, reference.parquet (source columns that features.sql
   * reads, of at most 50,000 train rows by hash) and test_source.parquet (all source columns but those of the label, row by row
   * as in test.parquet). Where a check blocks, there may be none of them.
   */
  readonly output: string;
}

export interface SnapshotFiles {
  readonly features: readonly FeatureColumn[];
  /** Source columns that features.sql reads. */
  readonly source: readonly SourceColumn[];
  readonly classes: readonly string[];
  readonly rows: { readonly train: number; readonly validation: number; readonly test: number };
  readonly testStart: string | null;
  /** Always-on checks: empty, one class, constant feature, all null, label leak, repeated ids. Any `block` rejects. */
  readonly failures: readonly CheckFailure[];
}

export interface FeaturesRequest {
  /** Parquet files with Refit's types. */
  readonly files: readonly string[];
  readonly featuresSql: string;
  readonly source: readonly SourceColumn[];
  readonly features: readonly FeatureColumn[];
  readonly idColumn: string | null;
  readonly timeColumn: string | null;
  /** The schema of the dataset version: a column of it that no file has yet is null. @default what the files have */
  readonly columns?: readonly SourceColumn[];
  /** @default none */
  readonly joins?: readonly JoinInput[];
  /** Parquet that is written: `__id`, `__time`, then the features as the model takes them. Its folder may be used for scratch. */
  readonly output: string;
}

export interface FindIdsRequest {
  readonly paths: readonly string[];
  readonly ids: readonly string[];
  /** Whose values, as text, are the ids. Upper and lower case are the same. */
  readonly column: string;
  /** Only rows whose column `model` is one of these. Default: all. */
  readonly models?: readonly string[];
}
export interface FoundIds {
  /** Files that have such rows. */
  readonly found: readonly string[];
  /** Files without the column. */
  readonly lacking: readonly string[];
}

export interface ErasureRequest {
  readonly path: string;
  readonly ids: readonly string[];
  /** Whose values, as text, are the ids. Upper and lower case are the same. A file without it has no such row. */
  readonly column: string;
  /** A file with the same rows, in the same order, that has the column. Default: the file itself. */
  readonly idsFrom?: string;
  /** Only rows whose column `model` is one of these. Default: all. */
  readonly models?: readonly string[];
  readonly timeColumn: string | null;
  readonly output: string;
}
export interface ErasedRows {
  readonly removed: number;
  /** What is left. */
  readonly rows: number;
  readonly minTime: string | null;
  readonly maxTime: string | null;
}

/** Values by column name; row i of each array is row i. null is null. Timestamps are ISO 8601 texts, whole numbers beyond 2^53 decimal texts. */
export type Rows = Readonly<Record<string, readonly (string | number | boolean | null)[]>>;

export interface FeatureProblem {
  readonly detail: string;
}

export interface DataEngine {
  /**
   * Reads a file as data of a format and writes Parquet with Refit's types, same rows in the same order. Time and memory are
   * bounded whatever the file holds; a file that needs more is a problem of that file.
   * @throws DataProblem
   */
  convert(input: ConvertRequest): Promise<ConvertedFile>;
  /** What is wrong with the files of an arrival, taken together: what is expected of them, and what is always looked at. */
  check(request: CheckRequest): Promise<readonly CheckFailure[]>;
  /** A profile of all rows of the files; with a label also how each column goes with it. */
  profile(
    files: readonly string[],
    columns: readonly SourceColumn[],
    label?: ProfileLabel | null,
  ): Promise<DataProfile>;
  /** Those of the columns that have no value in the file. */
  emptyColumns(path: string, names: readonly string[]): Promise<readonly string[]>;
  /** Columns of a Parquet file in Refit's types. */
  columns(path: string): Promise<readonly SourceColumn[]>;
  /**
   * Checks a features text: one SELECT over `source`, row-wise (no aggregate, window, join, subquery, file or network,
   * nothing random or clock-bound), not reading `forbidden` columns. `columns` may be empty when no data is known yet: then
   * only the text is checked.
   */
  checkFeatures(
    featuresSql: string,
    columns: readonly SourceColumn[],
    forbidden: readonly string[],
  ): Promise<{
    readonly problems: readonly FeatureProblem[];
    readonly features: readonly FeatureColumn[];
    readonly source: readonly string[];
  }>;
  /** Columns that a label expression reads. */
  columnsOfExpression(sql: string, columns: readonly SourceColumn[]): Promise<readonly string[]>;
  snapshot(request: SnapshotRequest): Promise<SnapshotFiles>;
  /** Writes the keyed store that serving looks a join up in. @throws DataProblem */
  buildLookup(request: LookupRequest): Promise<LookupFile>;
  /** A version's features of all rows of files, in their order. @throws DataProblem */
  computeFeatures(request: FeaturesRequest): Promise<{ readonly rows: number }>;
  /** Which of many Parquet files have rows of these ids. */
  findIds(request: FindIdsRequest): Promise<FoundIds>;
  /**
   * Writes a Parquet file without the rows of these ids; null, and nothing written, where it has none of them; 'unaligned' where `idsFrom` has
   * another number of rows.
   */
  withoutIds(request: ErasureRequest): Promise<ErasedRows | null | 'unaligned'>;
}

/** Features at serving time: the same text over rows in memory. One instance a version; external access off. */
export interface FeatureEngine {
  /** The features, and what joins looked up under `LOOKED_UP` + name. `rows` are the columns that a request has. */
  compute(rows: Rows, count: number): Promise<Rows>;
  close(): void;
}
export type FeatureEngineFactory = (input: {
  readonly featuresSql: string;
  readonly source: readonly SourceColumn[];
  readonly features: readonly FeatureColumn[];
  /** Each with the path of its keyed store, which may be read. @default none */
  readonly joins?: readonly { readonly join: ResolvedJoin; readonly lookup: string }[];
}) => Promise<FeatureEngine>;
/** Before the name of a column that a join looked up; no feature may begin like it. */
export const LOOKED_UP = '__source.';

/** One loaded ONNX file. */
export interface Scorer {
  /** Row-major outputs: `width` numbers a row (probabilities of the classes, or 1 prediction). */
  score(features: Rows, count: number): Promise<{ readonly width: number; readonly values: Float64Array }>;
  close(): Promise<void>;
}
/** @throws ModelProblem when the file cannot be a candidate: external data, wrong inputs or outputs, unknown operators. */
export type ScorerFactory = (input: {
  readonly path: string;
  readonly features: readonly FeatureColumn[];
  readonly classes: readonly string[];
  readonly task: Task;
  readonly threads: number;
}) => Promise<Scorer>;

export interface EvaluationRequest {
  readonly task: Task;
  readonly metric: Metric;
  readonly slices: readonly string[];
  /** By slice, the fewest rows from which a gate judges a value: these are all measured, up to a bound. @default none is judged */
  readonly judgedFrom?: Readonly<Record<string, number>>;
  readonly classes: readonly string[];
  readonly features: readonly FeatureColumn[];
  readonly onnx: string;
  readonly test: string;
  /** test_source.parquet of the snapshot: the champion's features are computed from it. */
  readonly testSource: string;
  /** The trainer's own predictions on the validation part, for the parity gate. */
  readonly validation: string;
  readonly predictions: string;
  readonly champion: {
    readonly version: number;
    /** Of its own definition; another one than the challenger's cannot be compared. */
    readonly task: Task;
    readonly onnx: string;
    readonly featuresSql: string;
    readonly source: readonly SourceColumn[];
    readonly features: readonly FeatureColumn[];
    readonly classes: readonly string[];
    /** The champion's own joins, computed anew on the test rows. @default none */
    readonly joins?: readonly JoinInput[];
    /**
     * Parquet files with `__id` and `__time` of the rows the champion was trained on (its train and validation parts). A test row
     * counts as unseen if its id is not among them; without an id column, if it is later than all of them.
     */
    readonly trainedOn: readonly string[];
  } | null;
  readonly confidence: number;
  readonly seed: number;
}

export interface Evaluator {
  /** Also runs the parity gate; `parity` is the largest absolute difference to the trainer's predictions. @throws ModelProblem */
  evaluate(
    request: EvaluationRequest,
  ): Promise<{ readonly evaluation: Evaluation; readonly parity: number; readonly comparison: Comparison | null }>;
}

export interface BatchScoreRequest extends FeaturesRequest {
  readonly task: Task;
  readonly classes: readonly string[];
  readonly onnx: string;
  /** Written beside each row. */
  readonly version: number;
  /** Key and value metadata of the Parquet file that is written; also makes its bytes those of one batch alone. */
  readonly about: Readonly<Record<string, string>>;
}
export interface BatchScorer {
  /**
   * Writes `id`, `time`, `model_version` and `p0`, `p1`, … (the classes in their order) or `prediction`: one row for each of the files, in
   * their order. Memory does not grow with the rows. @throws DataProblem, ModelProblem
   */
  score(request: BatchScoreRequest): Promise<{ readonly rows: number }>;
  /** One file of several that `score` wrote, in the order given. */
  join(files: readonly string[], output: string, about: BatchScoreRequest['about']): Promise<{ readonly rows: number }>;
}

export interface DriftRequest {
  /** Parquet with the source columns. */
  readonly reference: string;
  /** Prediction-log Parquet files (columns: model, version, role, time, id, output as DOUBLE[], error, source as JSON text). */
  readonly files: readonly string[];
  readonly model: string;
  readonly version: number;
  readonly windowStart: string;
  readonly windowEnd: string;
  readonly featuresSql: string;
  readonly source: readonly SourceColumn[];
  readonly features: readonly FeatureColumn[];
  readonly task: Task;
  readonly classes: readonly string[];
  readonly threshold: number;
  readonly metric: Metric;
  /** Parquet with id, label (JSON text of the value). null: no outcomes known. */
  readonly labels: string | null;
}
export interface DriftReport {
  readonly rows: number;
  readonly labelled: number;
  readonly features: readonly FeatureDrift[];
  /** The deciding metric on labelled rows; null when undefined on them. */
  readonly performance: number | null;
}
export interface SkewRequest
  extends Pick<
    DriftRequest,
    'files' | 'model' | 'version' | 'windowStart' | 'windowEnd' | 'featuresSql' | 'source' | 'features'
  > {
  /** Parquet files of the dataset version, oldest first. */
  readonly data: readonly string[];
  readonly idColumn: string;
  readonly joins: readonly JoinInput[];
}
export interface SkewReport {
  /** Predictions whose raw data has arrived. */
  readonly rows: number;
  /** Those of which at least one feature differs. */
  readonly differing: number;
  readonly features: readonly FeatureSkew[];
}
export interface DriftDetector {
  detect(request: DriftRequest): Promise<DriftReport>;
  /** Features of logged predictions beside those that the raw data of their ids gives. @throws DataProblem */
  skew(request: SkewRequest): Promise<SkewReport>;
  /** Two files of data, column by column. */
  compare(reference: string, current: string, threshold: number): Promise<readonly FeatureDrift[]>;
}

/** The data itself is wrong; trying again cannot help. */
export class DataProblem extends Error {
  override readonly name = 'DataProblem';
  constructor(
    readonly check: string,
    message: string,
    readonly column: string | null = null,
    readonly examples: readonly string[] = [],
  ) {
    super(message);
  }
}

/** The model file is wrong; it never becomes a candidate. */
export class ModelProblem extends Error {
  override readonly name = 'ModelProblem';
}
