/**
 * What each policy's champions would have been worth: trains on the data that had arrived when a run started, and scores the
 * rows of the time in which the model would have served. No service is needed; the stages are those of a real run.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createDataEngine } from '../../adapters/duckdb/engine.ts';
import { parquetOf, quoteName, withSession } from '../../adapters/duckdb/session.ts';
import { createScorer } from '../../adapters/onnx/scorer.ts';
import { createProcessTrainer } from '../../adapters/trainer/process.ts';
import type { DatasetDocument, ModelDocument } from '../../contracts/documents.ts';
import { durationMs } from '../../contracts/duration.ts';
import type { Metric } from '../../contracts/values.ts';
import { dataWindow, inWindow } from '../../domain/dataset.ts';
import { FORMAT_ENDINGS, fileNameOf, formatOfName } from '../../domain/formats.ts';
import type { Reign } from '../../domain/policy-report.ts';
import { withLastLines } from '../../domain/rejection.ts';
import { readingOf } from '../../domain/schema.ts';
import { metricValue } from '../../domain/statistics/metrics.ts';
import { defaultMetric } from '../../domain/statistics/scored.ts';
import { DataProblem, type SnapshotFiles, type SnapshotRequest } from '../../ports/data.ts';
import { trainerLimits, trainerSpec } from '../../ports/trainer.ts';
import { CliError, EXIT } from '../exit.ts';
import { localJoins } from '../local-joins.ts';
import type { PastEvents } from './events.ts';
import type { TrainingTools } from './tools.ts';

export interface TrainingProject {
  readonly model: ModelDocument;
  readonly dataset: DatasetDocument;
  readonly featuresSql: string;
  /** Of the project, which joins may name. */
  readonly datasets: readonly DatasetDocument[];
  readonly folder: string;
}
interface TakenFile {
  readonly dataset: string;
  readonly atMs: number;
  readonly partition: string | null;
  readonly path: string;
  readonly minTime: string | null;
  readonly maxTime: string | null;
}
interface Trained extends Pick<SnapshotFiles, 'features' | 'classes'> {
  readonly onnx: string;
}

/** Worth of a policy on the rows that its champions would have served. */
export interface Worth {
  readonly metric: Metric;
  /** Null where it is undefined: no rows, or one class only. */
  readonly value: number | null;
  readonly rows: number;
}

export class PolicyTrainer {
  readonly #engine = createDataEngine();
  /** By the last arrival that a run saw: policies that start after the same data share the model. */
  readonly #models = new Map<number, Promise<Trained>>();

  private constructor(
    readonly project: TrainingProject,
    readonly python: string,
    readonly trainers: string,
    readonly folder: string,
    readonly files: readonly TakenFile[],
    readonly environment: NodeJS.ProcessEnv,
    readonly say: (text: string) => void,
  ) {}

  /** Converts the files of all arrivals into a folder of its own; `close` removes it. @throws CliError for data that cannot be read */
  static async open(
    project: TrainingProject,
    { arrivals, joined }: Pick<PastEvents, 'arrivals' | 'joined'>,
    tools: TrainingTools & { readonly say: (text: string) => void },
  ): Promise<PolicyTrainer> {
    const folder = await mkdtemp(join(tmpdir(), 'refit-simulate-'));
    const files: TakenFile[] = [];
    const trainer = new PolicyTrainer(
      project,
      tools.python,
      tools.trainers,
      folder,
      files,
      tools.environment,
      tools.say,
    );
    try {
      const own = arrivals.map((arrival) => ({ ...arrival, dataset: project.dataset.name }));
      for (const { dataset, atMs, uris, partition } of [...own, ...joined].sort((a, b) => a.atMs - b.atMs)) {
        const document = project.datasets.find(({ name }) => name === dataset) ?? project.dataset;
        for (const uri of uris)
          files.push({ dataset, atMs, partition, ...(await trainer.#take(uri, document, files.length)) });
      }
      return trainer;
    } catch (error) {
      await trainer.close();
      if (error instanceof DataProblem) throw new CliError(EXIT.usage, error.message);
      throw error;
    }
  }

  close(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }

  async #take(
    uri: string,
    dataset: DatasetDocument,
    index: number,
  ): Promise<Omit<TakenFile, 'atMs' | 'partition' | 'dataset'>> {
    const format = formatOfName(uri);
    if (!uri.startsWith('file:') || !format)
      throw new DataProblem('uri', `${uri}: a simulation trains on local files that end in ${FORMAT_ENDINGS}`);
    const path = join(this.folder, `${index}.parquet`);
    const { minTime, maxTime } = await this.#engine.convert({
      ...{ path: fileURLToPath(uri), format, output: path },
      timeColumn: dataset.time ?? null,
      name: fileNameOf(uri),
      ...readingOf(dataset, undefined),
      ...(dataset.csv === undefined ? {} : { csv: dataset.csv }),
    });
    return { path, minTime, maxTime };
  }

  /** Files as they stood: a later arrival of a partition takes the place of the one before. */
  #present(atMs: number, dataset = this.project.dataset.name): readonly TakenFile[] {
    const arrived = this.files.filter((file) => file.dataset === dataset && file.atMs <= atMs);
    return arrived.filter(
      ({ partition, atMs: came }) =>
        partition === null || !arrived.some((other) => other.partition === partition && other.atMs > came),
    );
  }

  /** With the joined datasets as they stood at this time. */
  async #request(
    files: readonly TakenFile[],
    output: string,
    atMs: number,
    part: Pick<SnapshotRequest, 'window' | 'split'>,
  ): Promise<SnapshotRequest> {
    const { model, dataset, featuresSql, datasets } = this.project;
    const [first] = files;
    const columns = first === undefined ? [] : await this.#engine.columns(first.path);
    const left = { document: dataset, columns };
    const pathsOf = (name: string): readonly string[] => this.#present(atMs, name).map(({ path }) => path);
    const joins = await localJoins(this.#engine, model, left, datasets, pathsOf).catch((error: unknown) => {
      throw error instanceof DataProblem ? new CliError(EXIT.usage, error.message) : error;
    });
    return {
      joins,
      ...{ files: files.map(({ path }) => path), featuresSql, labelSql: model.label.sql, task: model.task },
      ...{ idColumn: dataset.id ?? null, timeColumn: dataset.time ?? null, slices: [], seed: model.training.seed },
      ...{ output, ...part },
    };
  }

  #trained(dataUntilMs: number): Promise<Trained> {
    const files = this.#present(dataUntilMs);
    const last = Math.max(...files.map(({ atMs }) => atMs));
    const known = this.#models.get(last);
    if (known) return known;
    const training = this.#train(files, join(this.folder, `model-${last}`));
    this.#models.set(last, training);
    return training;
  }

  async #train(files: readonly TakenFile[], folder: string): Promise<Trained> {
    const { model } = this.project;
    const newest =
      files
        .flatMap(({ maxTime }) => maxTime ?? [])
        .sort()
        .at(-1) ?? null;
    this.say(`training on data up to ${newest ?? 'the last arrival'}`);
    const [parts, output, checkpoint] = ['parts', 'output', 'checkpoint'].map((name) => join(folder, name));
    if (!parts || !output || !checkpoint) throw new Error('a folder lacks its name');
    for (const one of [parts, output, checkpoint]) await mkdir(one, { recursive: true });
    const window = dataWindow(files, model.window === undefined ? null : durationMs(model.window));
    const last = Math.max(...files.map(({ atMs }) => atMs));
    const { features, classes, failures } = await this.#engine.snapshot(
      await this.#request(files, parts, last, { window, split: model.split }),
    );
    const blocked = failures.find(({ severity }) => severity === 'block');
    if (blocked)
      throw new CliError(EXIT.no, `data up to ${newest} would be rejected: ${blocked.check}: ${blocked.detail}`);
    const [train, validation] = [join(parts, 'train.parquet'), join(parts, 'validation.parquet')];
    const spec = trainerSpec(model, { features, classes }, { train, validation, output, checkpoint });
    const specPath = join(folder, 'spec.json');
    await writeFile(specPath, JSON.stringify(spec));
    const { training } = model;
    const outcome = await createProcessTrainer({
      ...{ python: this.python, trainersFolder: this.trainers, environment: this.environment },
    }).run({
      command:
        training.command === undefined
          ? { trainer: training.trainer ?? 'lightgbm' }
          : { argv: training.command, folder: this.project.folder },
      ...{ spec, specPath, environment: training.environment.env, ...trainerLimits(model) },
      ...{ signal: new AbortController().signal, onProgress: () => undefined },
    });
    if (outcome.status === 'failed')
      throw new CliError(EXIT.no, `training failed: ${withLastLines(outcome.reason, outcome.log)}`);
    return { onnx: join(output, 'model.onnx'), features, classes };
  }

  /** Outputs and outcomes of the rows of one reign, of those that arrived later: they were not known when it served. */
  async #scored(reign: Reign, untilMs: number) {
    const trained = await this.#trained(reign.dataUntilMs);
    const window = { start: new Date(reign.fromMs).toISOString(), end: new Date(untilMs).toISOString() };
    const files = this.#present(Number.POSITIVE_INFINITY).filter((file) => inWindow(file, window));
    if (files.length === 0) return null;
    const output = await mkdtemp(join(this.folder, 'served-'));
    // Any split will do: all of its parts are scored.
    const split = { type: 'random' as const, test: 0.4, validation: 0.3 };
    const { failures } = await this.#engine.snapshot(
      await this.#request(files, output, Number.POSITIVE_INFINITY, { window, split }),
    );
    if (failures.some(({ severity }) => severity === 'block')) return null;
    const parts = ['train', 'validation', 'test'].map((name) => join(output, `${name}.parquet`));
    const columns = [...trained.features.map(({ name }) => quoteName(name)), '__label'].join(', ');
    const rows = await withSession({ files: parts }, (session) =>
      session.columns(`SELECT ${columns} FROM ${parquetOf(parts)}`),
    );
    const truth = (rows.__label ?? []).map(Number);
    const { features, classes, onnx } = trained;
    const scorer = await createScorer({ path: onnx, features, classes, task: this.project.model.task, threads: 2 });
    try {
      return { truth, ...(await scorer.score(rows, truth.length)) };
    } finally {
      await scorer.close();
    }
  }

  /** Over rows from `fromMs` on, so that policies are judged on the same rows even where one had its first champion later. */
  async worth(served: readonly Reign[], fromMs: number): Promise<Worth> {
    const { model } = this.project;
    const metric = model.evaluation.metric ?? defaultMetric(model.task);
    const truth: number[] = [];
    const values: number[] = [];
    let width = 1;
    for (const reign of served) {
      if (reign.untilMs <= fromMs) continue;
      const scored = await this.#scored({ ...reign, fromMs: Math.max(reign.fromMs, fromMs) }, reign.untilMs);
      if (!scored) continue;
      width = scored.width;
      for (const value of scored.truth) truth.push(value);
      for (const value of scored.values) values.push(value);
    }
    const all = { task: model.task, truth: Float64Array.from(truth), width, values: Float64Array.from(values) };
    return { metric, value: truth.length === 0 ? null : metricValue(metric, all), rows: truth.length };
  }
}
