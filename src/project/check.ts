/** Checks a whole project: documents against each other, against its files, and its SQL. */

import type { SourceColumn } from '../contracts/data.ts';
import type { DatasetDocument, ModelDocument, PolicyDocument } from '../contracts/documents.ts';
import { durationMs } from '../contracts/duration.ts';
import type { Metric, Task } from '../contracts/values.ts';
import { matchesModel } from '../domain/approval.ts';
import { selectColumns } from '../domain/features.ts';
import { joinedColumns, type ResolvedJoins, resolveJoins } from '../domain/joins.ts';
import type { DataEngine } from '../ports/data.ts';
import type { Schedules } from '../ports/schedules.ts';
import { type LocatedDocument, type Problem, readDocuments } from './documents.ts';

/** Relative paths with forward slashes, and the bytes of each file. */
export type ProjectFiles = ReadonlyMap<string, Uint8Array>;

export interface Project {
  readonly datasets: readonly DatasetDocument[];
  readonly models: readonly ModelDocument[];
  readonly policies: readonly PolicyDocument[];
  readonly problems: readonly Problem[];
}

/** What is registered already, so that a project may name it. */
export interface Known {
  readonly datasets: ReadonlyMap<
    string,
    { readonly document: DatasetDocument; readonly columns: readonly SourceColumn[] }
  >;
  readonly policies: readonly PolicyDocument[];
  /** Of each model the task of its definition in force. @default none is registered */
  readonly tasks?: ReadonlyMap<string, Task>;
}

const CLASSIFICATION: readonly Metric[] = ['roc_auc', 'log_loss', 'brier', 'accuracy', 'f1', 'precision', 'recall'];
const REGRESSION: readonly Metric[] = ['rmse', 'mae', 'r2'];

function fits(metric: Metric, task: Task): boolean {
  if (task === 'regression') return REGRESSION.includes(metric);
  if (task === 'multiclass-classification' && metric === 'brier') return false;
  return CLASSIFICATION.includes(metric);
}

type Report = (path: readonly PropertyKey[], message: string, severity?: Problem['severity']) => void;

function checkMetrics(model: ModelDocument, report: Report): void {
  const choice = (task: Task): string =>
    [...CLASSIFICATION, ...REGRESSION].filter((metric) => fits(metric, task)).join(', ');
  if (model.evaluation.metric && !fits(model.evaluation.metric, model.task)) {
    report(
      ['evaluation', 'metric'],
      `${model.evaluation.metric} does not fit ${model.task}; use one of ${choice(model.task)}`,
    );
  }
  for (const [index, gate] of model.gates.entries()) {
    if ('metric' in gate && !fits(gate.metric, model.task))
      report(['gates', index, 'metric'], `${gate.metric} does not fit ${model.task}; use one of ${choice(model.task)}`);
    if (gate.type === 'slice' && !model.evaluation.slices.includes(gate.slice)) {
      report(
        ['gates', index, 'slice'],
        `${gate.slice} is not among evaluation.slices (${model.evaluation.slices.join(', ') || 'none'})`,
      );
    }
  }
}

function checkTask(model: ModelDocument, before: Task | undefined, report: Report): void {
  if (before === undefined || before === model.task) return;
  report(
    ['task'],
    `${model.name} is registered for ${before}: versions of another task cannot be compared with its champion, so a gate \`champion\` stays inconclusive, and its callers get other answers; a model of another name has neither problem`,
    'warning',
  );
}

function checkDatasetUse(model: ModelDocument, dataset: DatasetDocument, report: Report): void {
  if (dataset.time === undefined && model.split.type === 'time')
    report(['split', 'type'], `a split by time needs \`time\` in dataset ${dataset.name}`);
  if (dataset.time === undefined && model.window !== undefined)
    report(['window'], `a window needs \`time\` in dataset ${dataset.name}`);
  if (dataset.id === undefined && model.monitoring) {
    report(
      ['monitoring'],
      `dataset ${dataset.name} names no \`id\`, so outcomes cannot be joined: monitoring will see drift only`,
      'warning',
    );
  }
  if (dataset.id === undefined && model.monitoring?.skew)
    report(['monitoring', 'skew'], `predictions are compared by id, and dataset ${dataset.name} names no \`id\``);
  if (model.split.type === 'random' && dataset.id === undefined && model.split.group === undefined) {
    report(
      ['split'],
      `dataset ${dataset.name} names no \`id\`, so rows are split by their place: a correction moves them to other parts`,
      'warning',
    );
  }
  if (model.split.test + model.split.validation >= 1)
    report(['split'], 'test and validation leave no rows to train on');
}

/** Columns that the document names, once the data is known. */
function checkColumns(model: ModelDocument, columns: readonly SourceColumn[], report: Report): void {
  const { group } = model.split;
  if (group !== undefined && columns.length > 0 && !columns.some(({ name }) => name === group)) {
    report(
      ['split', 'group'],
      `dataset ${model.dataset} has no column ${group}; it has ${columns.map(({ name }) => name).join(', ')}`,
    );
  }
}

function checkRollout(model: ModelDocument, report: Report): void {
  const { rollout } = model;
  if (rollout.type === 'immediate' && rollout.steps.length > 0)
    report(['rollout', 'steps'], 'an immediate rollout has no steps');
  if (rollout.type === 'canary' && rollout.steps.length === 0)
    report(['rollout'], 'no steps: a challenger takes all traffic right after approval', 'warning');
  if (model.retraining.confirm_drift.windows > model.retraining.confirm_drift.of)
    report(['retraining', 'confirm_drift'], 'windows must not be more than `of`');
}

function checkRetraining({ retraining, training }: ModelDocument, schedules: Schedules, report: Report): void {
  const { schedule, budget } = retraining;
  const problem = schedule ? schedules.problem(schedule) : null;
  if (problem !== null) report(['retraining', 'schedule'], problem);
  const { limits } = training;
  const reserved = (durationMs(limits.time) / 3_600_000) * limits.cpu;
  if (budget?.cpu_hours_per_day !== undefined && budget.cpu_hours_per_day < reserved) {
    report(
      ['retraining', 'budget', 'cpu_hours_per_day'],
      `${budget.cpu_hours_per_day} is less than one run reserves: training.limits.time ${limits.time} on ${limits.cpu} cores are ${reserved} CPU hours, so none would ever start`,
    );
  }
}

/** Registered columns and those that the document declares; none where nothing is registered: then only texts are checked. */
function declaredToo(
  columns: readonly SourceColumn[],
  { columns: declared }: DatasetDocument,
): readonly SourceColumn[] {
  if (columns.length === 0) return [];
  const has = (name: string): boolean => columns.some((column) => column.name.toLowerCase() === name.toLowerCase());
  const more = Object.entries(declared ?? {}).flatMap(([name, type]) =>
    type === 'ignored' || has(name) ? [] : [{ name, type }],
  );
  return [...columns, ...more];
}

async function checkExpectations(
  dataset: DatasetDocument,
  known: readonly string[],
  columns: readonly SourceColumn[],
  engine: DataEngine,
  report: Report,
): Promise<void> {
  for (const [name, type] of Object.entries(dataset.columns ?? {})) {
    const key = [dataset.id, dataset.time].some((one) => one?.toLowerCase() === name.toLowerCase());
    if (type === 'ignored' && key)
      report(['columns', name], `${name} is the id or the time of the dataset: it cannot be ignored`);
    if (type !== 'timestamp' && name.toLowerCase() === dataset.time?.toLowerCase())
      report(['columns', name], `${name} is the time of the dataset: its type is timestamp`);
  }
  for (const [index, one] of dataset.expect.entries()) {
    if (one.type === 'foreign_key' && !known.includes(one.dataset)) {
      const list = known.join(', ') || 'none';
      report(
        ['expect', index, 'dataset'],
        `dataset ${one.dataset} is neither in this project nor registered (${list})`,
      );
    }
    if (one.type === 'freshness' && dataset.time === undefined)
      report(['expect', index], 'freshness needs `time` in the Dataset: the age is that of the newest event time');
    if (one.type === 'between' && one.min === undefined && one.max === undefined)
      report(['expect', index], 'between has neither `min` nor `max`', 'warning');
    if (one.type !== 'sql') continue;
    try {
      await engine.columnsOfExpression(one.sql, columns);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      report(['expect', index, 'sql'], message.replace(/^label\.sql /, ''));
    }
  }
}

async function checkSql(
  model: ModelDocument,
  files: ProjectFiles,
  own: readonly SourceColumn[],
  joins: ResolvedJoins,
  engine: DataEngine,
  report: Report,
): Promise<void> {
  let text: string;
  if (typeof model.features === 'string') {
    const bytes = files.get(model.features);
    if (!bytes) {
      report(['features'], `${model.features} is not in the project folder`);
      return;
    }
    text = Buffer.from(bytes).toString('utf8');
  } else text = selectColumns(model.features);
  // Without all columns that `source` will have, only the text can be checked.
  const columns =
    own.length > 0 && (joins.known || model.joins === undefined) ? [...own, ...joinedColumns(joins.joins)] : [];
  let label: readonly string[] = [];
  try {
    label = await engine.columnsOfExpression(model.label.sql, own);
  } catch (error) {
    report(['label', 'sql'], error instanceof Error ? error.message : String(error));
  }
  const { problems } = await engine.checkFeatures(text, columns, label);
  for (const one of problems)
    report(['features'], `${typeof model.features === 'string' ? `${model.features}: ` : ''}${one.detail}`);
}

export async function checkProject(
  files: ProjectFiles,
  known: Known,
  engine: DataEngine,
  schedules: Schedules,
): Promise<Project> {
  const problems: Problem[] = [];
  const located: LocatedDocument[] = [];
  const yamls = [...files].filter(([path]) => /^[^/]+\.ya?ml$/.test(path)).sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [path, bytes] of yamls) {
    const read = readDocuments(path, Buffer.from(bytes).toString('utf8'));
    located.push(...read.documents);
    problems.push(...read.problems);
  }
  if (located.length === 0 && problems.length === 0) {
    problems.push({
      file: '.',
      line: 1,
      column: 1,
      severity: 'error',
      message: 'no document of kind Dataset, Model or Policy in a .yaml file of this folder',
    });
  }
  const datasets = located.flatMap(({ document }) => (document.kind === 'Dataset' ? [document] : []));
  const models = located.flatMap(({ document }) => (document.kind === 'Model' ? [document] : []));
  const policies = located.flatMap(({ document }) => (document.kind === 'Policy' ? [document] : []));
  const seen = new Set<string>();
  for (const { document, file, locate } of located) {
    const report: Report = (path, message, severity = 'error') => {
      problems.push({
        file,
        ...locate(path),
        message: path.length > 0 ? `${path.join('.')}: ${message}` : message,
        severity,
      });
    };
    const key = `${document.kind}/${document.name}`;
    if (seen.has(key)) report(['name'], `${key} is defined twice in this project`);
    seen.add(key);
    if (document.kind === 'Dataset') {
      const names = [...datasets.map(({ name }) => name), ...known.datasets.keys()];
      const columns = declaredToo(known.datasets.get(document.name)?.columns ?? [], document);
      await checkExpectations(document, names, columns, engine, report);
    }
    if (document.kind !== 'Model') continue;
    const registered = known.datasets.get(document.dataset);
    const dataset = datasets.find((one) => one.name === document.dataset) ?? registered?.document;
    if (!dataset)
      report(
        ['dataset'],
        `dataset ${document.dataset} is neither in this project nor registered (${[...known.datasets.keys()].join(', ') || 'none is'})`,
      );
    else checkDatasetUse(document, dataset, report);
    checkTask(document, known.tasks?.get(document.name), report);
    checkMetrics(document, report);
    checkRollout(document, report);
    checkRetraining(document, schedules, report);
    checkColumns(document, registered?.columns ?? [], report);
    const joins = resolveJoins(
      document.joins ?? [],
      { document: { name: document.dataset, time: dataset?.time }, columns: registered?.columns ?? [] },
      (name) => {
        const other = datasets.find((one) => one.name === name) ?? known.datasets.get(name)?.document;
        return other && { document: other, columns: known.datasets.get(name)?.columns ?? [] };
      },
    );
    for (const { path, detail } of joins.problems) report(path, detail);
    await checkSql(document, files, registered?.columns ?? [], joins, engine, report);
    if (
      ![...policies, ...known.policies].some((policy) =>
        policy.models.some((pattern) => matchesModel(pattern, document.name)),
      )
    ) {
      report([], `no Policy covers ${document.name}, so nobody is entitled to approve its versions`, 'warning');
    }
  }
  problems.sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line || a.column - b.column));
  return { datasets, models, policies, problems };
}
