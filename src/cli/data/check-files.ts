/** Files as the next arrival of a dataset, and as the data of a run of each of its models, on this machine. */
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { judgeArrival } from '../../../activities/arrival.ts';
import { createDataEngine } from '../../adapters/duckdb/engine.ts';
import type { CheckFailure, DataProfile, SourceColumn } from '../../contracts/data.ts';
import { API_VERSION, type DatasetDocument, datasetSchema } from '../../contracts/documents.ts';
import { durationMs } from '../../contracts/duration.ts';
import { dataWindow, inWindow } from '../../domain/dataset.ts';
import { FORMAT_ENDINGS, formatOfName } from '../../domain/formats.ts';
import { readingOf } from '../../domain/schema.ts';
import { type ConvertedFile, type DataEngine, DataProblem, type SnapshotFiles } from '../../ports/data.ts';
import { CliError, EXIT } from '../exit.ts';
import { localJoins } from '../local-joins.ts';
import { type LocalModel, type LocalProject, readProject } from '../project.ts';

interface Taken extends ConvertedFile {
  readonly uri: string;
  readonly path: string;
}

export interface DataReport {
  readonly dataset: string;
  readonly rows: number;
  readonly rejected: boolean;
  /** Of all files together; null where ingestion rejects. */
  readonly profile: DataProfile | null;
  /** What ingestion finds. */
  readonly failures: readonly CheckFailure[];
  /** What a run of each model on this data alone finds; empty where ingestion rejects. */
  readonly models: readonly {
    readonly model: string;
    readonly rows: SnapshotFiles['rows'] | null;
    readonly failures: readonly CheckFailure[];
  }[];
}

/** What a DataProblem says, as the finding that it stands for. */
const asFailure = ({ check, column, message, examples }: DataProblem): CheckFailure => ({
  ...{ check, column, severity: 'block', detail: message, examples },
});

function datasetOf(project: LocalProject, name: string | undefined): DatasetDocument {
  const names = project.datasets.map((one) => one.name).join(', ') || 'none';
  const found = name === undefined ? project.datasets : project.datasets.filter((one) => one.name === name);
  const [first] = found;
  if (!first) throw new CliError(EXIT.usage, `the project defines no dataset ${name ?? ''}; it has ${names}`);
  if (found.length > 1) throw new CliError(EXIT.usage, `the project has the datasets ${names}: choose by --dataset`);
  return first;
}

async function take(
  engine: DataEngine,
  dataset: DatasetDocument,
  uri: string,
  cwd: string,
  output: string,
  before?: readonly SourceColumn[],
): Promise<Taken> {
  const path = uri.startsWith('file://') ? fileURLToPath(uri) : resolve(cwd, uri);
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) throw new CliError(EXIT.usage, `${path} is not a file`);
  const format = formatOfName(path);
  if (!format) throw new DataProblem('format', `${uri}: the name must end in ${FORMAT_ENDINGS}`);
  const converted = await engine.convert({
    ...{ path, format, timeColumn: dataset.time ?? null, output, ...readingOf(dataset, before) },
    ...(dataset.csv === undefined ? {} : { csv: dataset.csv }),
  });
  return { ...converted, uri, path: output };
}

async function checkModel(
  engine: DataEngine,
  { document, dataset, featuresSql, datasets }: LocalModel,
  { files, columns, others }: Pick<Judged, 'files' | 'columns' | 'others'>,
  output: string,
): Promise<DataReport['models'][number]> {
  const window = dataWindow(files, document.window === undefined ? null : durationMs(document.window));
  await mkdir(output);
  try {
    const left = { document: dataset, columns };
    const joins = await localJoins(engine, document, left, datasets, (name) => others.get(name) ?? []);
    const { rows, failures } = await engine.snapshot({
      joins,
      files: files.filter((file) => inWindow(file, window)).map(({ path }) => path),
      columns,
      ...{ featuresSql, labelSql: document.label.sql, task: document.task, split: document.split, window, output },
      ...{ idColumn: dataset.id ?? null, timeColumn: dataset.time ?? null, slices: document.evaluation.slices },
      seed: document.training.seed,
    });
    return { model: document.name, rows, failures };
  } catch (error) {
    if (!(error instanceof DataProblem)) throw error;
    return { model: document.name, rows: null, failures: [asFailure(error)] };
  }
}

export interface CheckFilesRequest {
  readonly folder: string;
  readonly uris: readonly string[];
  readonly cwd: string;
  readonly dataset: string | undefined;
  /** Files that the dataset has already, each a partition that stays. */
  readonly before: readonly string[];
  /** Files of other datasets, for `foreign_key` and joins. */
  readonly others: readonly { readonly dataset: string; readonly uri: string }[];
}

const blocks = (found: readonly CheckFailure[]): boolean => found.some(({ severity }) => severity === 'block');

interface Judged {
  readonly files: readonly Taken[];
  readonly columns: readonly SourceColumn[];
  readonly failures: readonly CheckFailure[];
  /** Parquet files of other datasets. */
  readonly others: ReadonlyMap<string, readonly string[]>;
}

/** How ingestion would read files of another dataset: by its own document, where the project has it. */
const documentOf = ({ datasets }: LocalProject, name: string): DatasetDocument =>
  datasets.find((one) => one.name === name) ?? datasetSchema.parse({ apiVersion: API_VERSION, kind: 'Dataset', name });

async function judged(
  engine: DataEngine,
  project: LocalProject,
  dataset: DatasetDocument,
  request: CheckFilesRequest,
  scratch: string,
): Promise<Judged> {
  let count = 0;
  const takeAll = async (
    uris: readonly string[],
    of: DatasetDocument,
    schema?: readonly SourceColumn[],
  ): Promise<Taken[]> => {
    const files: Taken[] = [];
    for (const uri of uris) {
      count += 1;
      files.push(await take(engine, of, uri, request.cwd, join(scratch, `${count}.parquet`), schema));
    }
    return files;
  };
  try {
    const old = await takeAll(request.before, dataset);
    const known = old[0]?.columns ?? null;
    const before = known && {
      columns: known,
      profile: await engine.profile(
        old.map(({ path }) => path),
        known,
      ),
      kept: old.map(({ path, uri }) => ({ path, partition: uri })),
    };
    const taken = new Map<string, Taken[]>();
    for (const { dataset: name, uri } of request.others) {
      const earlier = taken.get(name) ?? [];
      taken.set(name, [...earlier, ...(await takeAll([uri], documentOf(project, name), earlier[0]?.columns))]);
    }
    const others = new Map([...taken].map(([name, files]) => [name, files.map(({ path }) => path)]));
    const files = await takeAll(request.uris, dataset, known ?? undefined);
    const arrival = { document: dataset, files, before, others, arrivedAt: new Date().toISOString() };
    return { files, others, ...(await judgeArrival(engine, arrival)) };
  } catch (error) {
    if (!(error instanceof DataProblem)) throw error;
    return { files: [], columns: [], others: new Map(), failures: [asFailure(error)] };
  }
}

export async function checkFiles(request: CheckFilesRequest): Promise<DataReport> {
  const project = await readProject(request.folder);
  const dataset = datasetOf(project, request.dataset);
  const engine = createDataEngine();
  const scratch = await mkdtemp(join(tmpdir(), 'refit-data-check-'));
  try {
    const { files, columns, failures, others } = await judged(engine, project, dataset, request, scratch);
    const passes = !blocks(failures);
    const paths = files.map(({ path }) => path);
    const profile = passes ? await engine.profile(paths, columns) : null;
    const models: DataReport['models'][number][] = [];
    for (const model of project.models.filter((one) => passes && one.dataset.name === dataset.name))
      models.push(await checkModel(engine, model, { files, columns, others }, join(scratch, model.document.name)));
    return {
      dataset: dataset.name,
      rows: files.reduce((sum, file) => sum + file.rows, 0),
      rejected: !passes || models.some((model) => blocks(model.failures)),
      ...{ profile, failures, models },
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
