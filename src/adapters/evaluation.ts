/** Judges an ONNX file on the test part: the file that would ship, never the trainer's word for it. */
import type { FeatureColumn } from '../contracts/data.ts';
import type { Comparison, Evaluation, SliceMetric, UnlistedValues } from '../contracts/evaluation.ts';
import type { Metric, Task } from '../contracts/values.ts';
import { requestColumns } from '../domain/joins.ts';
import { measuredValues } from '../domain/slices.ts';
import { pairedBootstrap } from '../domain/statistics/bootstrap.ts';
import { metricValue } from '../domain/statistics/metrics.ts';
import { improvement, metricsOf, type Scored, takeRows } from '../domain/statistics/scored.ts';
import { type EvaluationRequest, type Evaluator, ModelProblem, type Rows, type ScorerFactory } from '../ports/data.ts';
import { modelFeaturesFrom } from './duckdb/features.ts';
import { createRightSides, joinText } from './duckdb/joins.ts';
import { messageOf, parquetOf, quoteName, withSession } from './duckdb/session.ts';
import { sourceItems } from './duckdb/source.ts';
import { relationOf } from './duckdb/sql-text.ts';
import { typedRelation } from './duckdb/types.ts';

/** Largest difference between the trainer's own predictions and the file's; relative for predictions beyond 1. */
const PARITY = 1e-4;

type Champion = NonNullable<EvaluationRequest['champion']>;
type Model = Pick<Champion, 'onnx' | 'features' | 'classes' | 'task'>;

const countOf = (rows: Rows): number => Object.values(rows)[0]?.length ?? 0;

async function readColumns(path: string, items: readonly string[]): Promise<Rows> {
  return withSession({ files: [path] }, (session) =>
    session.columns(`SELECT ${items.join(', ')} FROM ${parquetOf([path])}`),
  );
}

const featureItems = (features: readonly FeatureColumn[]): readonly string[] =>
  features.map(({ name }) => quoteName(name));

async function scoreWith(
  createScorer: ScorerFactory,
  model: Model,
  rows: Rows,
  who: string,
): Promise<{ readonly width: number; readonly values: Float64Array }> {
  const scorer = await createScorer({
    path: model.onnx,
    features: model.features,
    classes: model.classes,
    task: model.task,
    threads: 2,
  });
  try {
    const scored = await scorer.score(rows, countOf(rows)).catch((error: unknown) => {
      // Of the file: what its operators refuse in these rows they refuse again.
      throw error instanceof ModelProblem ? error : new ModelProblem(`${who} fails: ${messageOf(error)}`);
    });
    const wrong = scored.values.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0)
      throw new ModelProblem(`${who} answers ${scored.values[wrong]} for row ${Math.floor(wrong / scored.width)}`);
    return scored;
  } finally {
    await scorer.close();
  }
}

async function parityOf(createScorer: ScorerFactory, request: EvaluationRequest): Promise<number> {
  const width = request.task === 'regression' ? 1 : request.classes.length;
  const names = request.task === 'regression' ? ['prediction'] : request.classes.map((_, index) => `p${index}`);
  let own: Rows;
  try {
    own = await readColumns(request.predictions, names.map(quoteName));
  } catch (error) {
    throw new ModelProblem(
      `predictions.parquet cannot be used (columns ${names.join(', ')} are needed): ${messageOf(error)}`,
    );
  }
  const rows = await readColumns(request.validation, featureItems(request.features));
  if (countOf(own) !== countOf(rows)) {
    throw new ModelProblem(
      `predictions.parquet has ${countOf(own)} rows, the validation part ${countOf(rows)}: one is needed for each, in their order`,
    );
  }
  if (countOf(rows) === 0) return 0;
  const { values } = await scoreWith(createScorer, request, rows, 'model.onnx');
  let largest = 0;
  let excess = { over: 0, row: 0, own: 0, file: 0 };
  for (const [column, name] of names.entries()) {
    for (const [row, cell] of (own[name] ?? []).entries()) {
      const expected = cell === null ? Number.NaN : Number(cell);
      const actual = values[row * width + column] ?? Number.NaN;
      if (!Number.isFinite(expected))
        throw new ModelProblem(`predictions.parquet has no finite number in ${name} of row ${row}`);
      const difference = Math.abs(actual - expected);
      largest = Math.max(largest, difference);
      const over = difference / Math.max(1, Math.abs(expected));
      if (over > excess.over) excess = { over, row, own: expected, file: actual };
    }
  }
  if (excess.over > PARITY) {
    throw new ModelProblem(
      `model.onnx does not give what the trainer predicted: the largest difference is ${largest.toPrecision(3)} (row ${excess.row} of the validation part: ` +
        `${excess.own} from the trainer, ${excess.file} from the file); at most ${PARITY} is allowed`,
    );
  }
  return largest;
}

function metricsFor(task: Task, scored: Scored): Partial<Record<Metric, number>> {
  const found: Partial<Record<Metric, number>> = {};
  for (const metric of metricsOf(task)) {
    const value = metricValue(metric, scored);
    if (value !== null) found[metric] = value;
  }
  return found;
}

/** The values of each slice that gates and people look at, the most frequent first, and how many there are beyond them. */
function slicesOf(request: EvaluationRequest, rows: Rows, scored: Scored): Pick<Evaluation, 'slices' | 'unlisted'> {
  const slices: SliceMetric[] = [];
  const unlisted: UnlistedValues[] = [];
  for (const slice of request.slices) {
    const byValue = new Map<string, number[]>();
    (rows[`__slice_${slice}`] ?? []).forEach((cell, row) => {
      const value = String(cell);
      const list = byValue.get(value);
      if (list === undefined) byValue.set(value, [row]);
      else list.push(row);
    });
    const ordered = [...byValue].sort(([a, left], [b, right]) => right.length - left.length || (a < b ? -1 : 1));
    const counts = ordered.map(([, positions]) => positions.length);
    const measured = measuredValues(counts, request.judgedFrom?.[slice]);
    for (const [value, positions] of ordered.slice(0, measured)) {
      const metrics = metricsFor(request.task, takeRows(scored, positions));
      slices.push({ slice, value, rows: positions.length, score: metrics[request.metric] ?? null, metrics });
    }
    if (ordered.length > measured)
      unlisted.push({ slice, values: ordered.length - measured, rows: counts[measured] ?? 0 });
  }
  return { slices, ...(unlisted.length === 0 ? {} : { unlisted }) };
}

/** Positions of test rows that the champion was not trained on; null where that cannot be told. */
async function unseenRows(request: EvaluationRequest, champion: Champion): Promise<readonly number[] | null> {
  if (champion.trainedOn.length === 0) return null;
  return withSession({ files: [request.test, ...champion.trainedOn] }, async (session) => {
    await session.run(
      `CREATE TEMP TABLE seen AS SELECT CAST(__id AS VARCHAR) AS __id, __time FROM ${parquetOf(champion.trainedOn)}`,
    );
    await session.run(
      `CREATE TEMP TABLE test AS SELECT row_number() OVER () - 1 AS __row, CAST(__id AS VARCHAR) AS __id, __time FROM ${parquetOf([request.test])}`,
    );
    const [row] = await session.rows(
      'SELECT (SELECT count(*) FROM test) AS rows, (SELECT count(__id) FROM test) AS named, (SELECT count(__id) FROM seen) AS seen, (SELECT count(*) - count(__time) FROM seen) AS untimed',
    );
    const byId = row?.named === row?.rows && Number(row?.seen) > 0;
    if (!byId && Number(row?.untimed) > 0) return null;
    const condition = byId
      ? '__id NOT IN (SELECT __id FROM seen WHERE __id IS NOT NULL)'
      : '__time > (SELECT max(__time) FROM seen)';
    return (await session.columns(`SELECT __row FROM test WHERE ${condition} ORDER BY __row`)).__row?.map(Number) ?? [];
  });
}

/** The champion's own features of the test rows. */
async function championFeatures(request: EvaluationRequest, champion: Champion): Promise<Rows> {
  const joins = champion.joins ?? [];
  const files = [request.testSource, ...joins.flatMap((join) => join.files)];
  return withSession({ files }, async (session) => {
    const own = requestColumns(champion.source, joins);
    // By a cast, also where it rounds: refused, a champion from before a column was widened could never be compared, nor replaced.
    // What the challenger's joins put under the same names is not what the champion would have looked up.
    await session.run(
      `CREATE TEMP TABLE rows AS SELECT ${sourceItems(own)}, row_number() OVER () - 1 AS __row FROM ${parquetOf([request.testSource])}`,
    );
    await createRightSides(session, joins, typedRelation);
    await session.run(
      `CREATE TEMP TABLE joined AS ${joins.length === 0 ? 'SELECT * FROM rows' : joinText(joins, 'rows', ['*'])}`,
    );
    await session.run(`CREATE TEMP VIEW source AS SELECT ${sourceItems(champion.source)} FROM joined`);
    return session.columns(modelFeaturesFrom(champion.features, relationOf(champion.featuresSql)));
  });
}

/** The champion's probabilities in the order of the challenger's classes; 0 for a class it never knew. */
function alignClasses(values: Float64Array, from: readonly string[], to: readonly string[]): Float64Array {
  if (from.join('\n') === to.join('\n')) return values;
  const rows = values.length / from.length;
  const aligned = new Float64Array(rows * to.length);
  to.forEach((name, column) => {
    const at = from.indexOf(name);
    if (at >= 0)
      for (let row = 0; row < rows; row += 1) aligned[row * to.length + column] = values[row * from.length + at] ?? 0;
  });
  return aligned;
}

/** What the champion answers for the test rows, or why it does not: a champion that is broken is no fault of its challenger. */
async function championScores(
  createScorer: ScorerFactory,
  request: EvaluationRequest,
  champion: Champion,
): Promise<{ readonly values: Float64Array } | { readonly why: string }> {
  const who = `the champion (version ${champion.version})`;
  if (champion.task !== request.task)
    return { why: `${who} is a model of ${champion.task}, the definition is of ${request.task}` };
  let rows: Rows;
  try {
    rows = await championFeatures(request, champion);
  } catch (error) {
    return { why: `the champion's features cannot be computed on this data, for example ${messageOf(error)}` };
  }
  try {
    const { values } = await scoreWith(createScorer, champion, rows, who);
    return {
      values: request.task === 'regression' ? values : alignClasses(values, champion.classes, request.classes),
    };
  } catch (error) {
    if (!(error instanceof ModelProblem)) throw error;
    return { why: error.message.startsWith(who) ? error.message : `${who}: ${error.message}` };
  }
}

type Compared =
  | { readonly seen: number; readonly comparison: Comparison }
  | { readonly seen?: number; readonly why: string };

async function compare(
  createScorer: ScorerFactory,
  request: EvaluationRequest,
  champion: Champion,
  challenger: Scored,
): Promise<Compared> {
  const unseen = await unseenRows(request, champion);
  if (unseen === null)
    return { why: 'which rows the champion was trained on cannot be told: the dataset needs an id or a time column' };
  const seen = challenger.truth.length - unseen.length;
  if (unseen.length === 0) return { seen, why: `the champion was trained on all ${seen} test rows` };
  const answered = await championScores(createScorer, request, champion);
  if ('why' in answered) return { seen, why: answered.why };
  const left = takeRows(challenger, unseen);
  const right = takeRows({ ...challenger, values: answered.values }, unseen);
  const ofChallenger = metricValue(request.metric, left);
  const ofChampion = metricValue(request.metric, right);
  const interval = pairedBootstrap(request.metric, left, right, { confidence: request.confidence, seed: request.seed });
  if (ofChallenger !== null && ofChampion !== null && interval !== null) {
    const difference = improvement(request.metric, ofChallenger, ofChampion);
    const comparison = {
      ...{ champion: ofChampion, challenger: ofChallenger, championVersion: champion.version },
      ...{ rows: unseen.length, metric: request.metric, difference, interval },
    };
    if (Number.isFinite(difference)) return { seen, comparison };
  }
  return { seen, why: `${request.metric} is undefined on the ${unseen.length} rows that neither was trained on` };
}

export const createEvaluator = (createScorer: ScorerFactory): Evaluator => ({
  async evaluate(request) {
    const parity = await parityOf(createScorer, request);
    const slices = request.slices.map((slice) => quoteName(`__slice_${slice}`));
    const rows = await readColumns(request.test, [...featureItems(request.features), '__label', ...slices]);
    const output = await scoreWith(createScorer, request, rows, 'model.onnx');
    const truth = Float64Array.from(rows.__label ?? [], Number);
    const scored: Scored = { task: request.task, truth, ...output };
    const base: Evaluation = {
      rows: truth.length,
      metric: request.metric,
      metrics: metricsFor(request.task, scored),
      ...slicesOf(request, rows, scored),
    };
    if (request.champion === null) return { evaluation: base, parity, comparison: null };
    const compared = await compare(createScorer, request, request.champion, scored);
    const seen = compared.seen === undefined ? {} : { seenByChampion: compared.seen };
    if ('why' in compared)
      return { evaluation: { ...base, ...seen, notCompared: compared.why }, parity, comparison: null };
    return {
      evaluation: { ...base, ...seen, comparison: compared.comparison },
      parity,
      comparison: compared.comparison,
    };
  },
});
