/**
 * Does one feature alone give the label away? Exactly so only: a strong feature is no leak. `joined` holds the rows.
 */
import type { FeatureColumn } from '../../contracts/data.ts';
import type { Task } from '../../contracts/values.ts';
import { quoteName, type Session } from './session.ts';

/** Among fewer rows a feature may separate the classes by chance. */
const LEAST_ROWS = 50;
const LEAK_AUC = 0.999;
const LEAK_CORRELATION = 0.9999;
/** A number on which the label depends has at most this share of its variance left. */
const LEAK_VARIANCE = 0.0001;
/** Changes of the class in sorted rows, against those that chance would make. */
const LEAK_CHANGES = 0.002;
/** Sorting is for a sample. */
const SAMPLE_ROWS = 200_000;
/** A feature determines the class when its values mistake at most this share of the rows. */
const LEAK_MISTAKES = 0.001;
/** ... and has far fewer values than rows: each row's own id determines everything. */
const ROWS_PER_VALUE = 10;

/** Area under the ROC curve of a number alone, for the second of two classes (Mann and Whitney: ties count half). */
export async function areaOf(
  session: Session,
  relation: string,
  number: string,
): Promise<{ readonly area: number; readonly known: number; readonly rows: number } | null> {
  const [row] = await session.rows(`
    WITH grouped AS (
      SELECT ${number} AS value, sum(__label) AS hits, count(*) - sum(__label) AS misses
      FROM ${relation} WHERE ${number} IS NOT NULL GROUP BY 1
    ), ranked AS (
      SELECT hits, misses, sum(misses) OVER (ORDER BY value ROWS UNBOUNDED PRECEDING) - misses AS below FROM grouped
    )
    SELECT CAST(sum(CAST(hits AS DOUBLE) * (below + misses / 2.0)) AS DOUBLE) AS pairs, CAST(sum(hits) AS DOUBLE) AS hits,
      CAST(sum(misses) AS DOUBLE) AS misses, CAST((SELECT count(*) FROM ${relation}) AS DOUBLE) AS rows FROM ranked`);
  const hits = Number(row?.hits ?? 0);
  const misses = Number(row?.misses ?? 0);
  if (hits === 0 || misses === 0) return null;
  return { area: Number(row?.pairs) / (hits * misses), known: hits + misses, rows: Number(row?.rows ?? 0) };
}

/** A feature that is mostly unknown does not determine the label, whatever its few values say. */
const isEnough = (known: number, rows: number): boolean => known >= Math.max(LEAST_ROWS, rows / 2);

/** Rows that the best guess from the value mistakes, against the best guess without it. Null counts as a value. */
async function determines(session: Session, column: string): Promise<boolean> {
  const [row] = await session.rows(`
    WITH cells AS (SELECT ${column} AS value, __label, count(*) AS found FROM joined GROUP BY 1, 2),
    byValue AS (SELECT sum(found) AS found, max(found) AS best FROM cells GROUP BY value),
    byLabel AS (SELECT sum(found) AS found FROM cells GROUP BY __label)
    SELECT CAST(sum(found) AS DOUBLE) AS rows, count(*) AS distinctValues, CAST(sum(found) - sum(best) AS DOUBLE) AS mistakes,
      CAST((SELECT sum(found) - max(found) FROM byLabel) AS DOUBLE) AS blind FROM byValue`);
  const rows = Number(row?.rows ?? 0);
  const mistakes = Number(row?.mistakes ?? 0);
  return (
    rows >= LEAST_ROWS &&
    Number(row?.distinctValues ?? 0) * ROWS_PER_VALUE <= rows &&
    mistakes <= LEAK_MISTAKES * rows &&
    mistakes * 100 <= Number(row?.blind ?? 0)
  );
}

interface Correlations {
  readonly linear: number | null;
  /** Of the ranks (Spearman), over a sample of the rows: the label under any scale, such as its logarithm. */
  readonly ranked: number | null;
}

async function correlationsOf(session: Session, number: string): Promise<Correlations> {
  const [row] = await session.rows(`
    WITH known AS (SELECT __row, ${number} AS value, __label FROM joined WHERE ${number} IS NOT NULL),
    sample AS (SELECT value, __label FROM known WHERE __row % ${await sampleStep(session)} = 0),
    ranks AS (SELECT rank() OVER (ORDER BY value) AS x, rank() OVER (ORDER BY __label) AS y FROM sample)
    SELECT (SELECT corr(value, __label) FROM known) AS linear, (SELECT corr(x, y) FROM ranks) AS ranked,
      (SELECT count(*) FROM known) AS known, (SELECT count(*) FROM joined) AS rows`);
  if (!isEnough(Number(row?.known ?? 0), Number(row?.rows ?? 0))) return { linear: null, ranked: null };
  const numberOf = (value: unknown): number | null =>
    typeof value === 'number' && Number.isFinite(value) ? value : null;
  return { linear: numberOf(row?.linear), ranked: numberOf(row?.ranked) };
}

/** Every how many-th row makes a sample that is quick to sort. */
async function sampleStep(session: Session): Promise<number> {
  const [row] = await session.rows('SELECT count(*) AS rows FROM joined');
  return Math.max(1, Math.ceil(Number(row?.rows ?? 0) / SAMPLE_ROWS));
}

/** Share of the label's variance that lies within the values of the feature; null where too many values have one row each. */
async function varianceWithin(session: Session, column: string): Promise<number | null> {
  const [row] = await session.rows(`
    WITH groups AS (SELECT count(*) AS n, var_pop(__label) AS spread FROM joined GROUP BY ${column})
    SELECT sum(n * spread) / sum(n) AS within, count(*) AS values, CAST(sum(n) AS DOUBLE) AS rows, (SELECT var_pop(__label) FROM joined) AS whole FROM groups`);
  const rows = Number(row?.rows ?? 0);
  const whole = Number(row?.whole ?? 0);
  if (rows < LEAST_ROWS || Number(row?.values ?? 0) * ROWS_PER_VALUE > rows || !(whole > 0)) return null;
  return Number(row?.within) / whole;
}

/** Whether rows sorted by a number of many values come class by class. Few values are the matter of `determines`. */
async function comesByClass(session: Session, number: string, classes: number): Promise<boolean> {
  const [row] = await session.rows(`
    WITH sample AS (SELECT ${number} AS value, __label FROM joined WHERE ${number} IS NOT NULL AND __row % ${await sampleStep(session)} = 0),
    sorted AS (SELECT value, __label, lag(__label) OVER (ORDER BY value, __label) AS before FROM sample),
    shares AS (SELECT count(*) / (SELECT count(*) FROM sample) AS share FROM sample GROUP BY __label)
    SELECT count(*) FILTER (__label <> before) AS changes, count(*) AS known, count(DISTINCT value) AS values,
      (SELECT 1 - sum(share * share) FROM shares) AS mixed,
      (SELECT count(*) FILTER (${number} IS NOT NULL) / count(*) FROM joined) AS share FROM sorted`);
  const known = Number(row?.known ?? 0);
  if (known < LEAST_ROWS || Number(row?.share ?? 0) < 0.5 || Number(row?.values ?? 0) * ROWS_PER_VALUE <= known)
    return false;
  const byChance = known * Number(row?.mixed ?? 0);
  const changes = Number(row?.changes ?? 0);
  const few = classes - 1;
  return changes <= LEAK_CHANGES * byChance || (changes <= few && few * ROWS_PER_VALUE <= byChance);
}

/** A feature as a number: itself, or a text that holds one in nearly all rows. */
async function numberOf(session: Session, { name, type }: FeatureColumn): Promise<string | null> {
  const column = quoteName(name);
  if (type === 'float64' || type === 'int64') return column;
  if (type !== 'string') return null;
  const number = `try_cast(${column} AS DOUBLE)`;
  const [row] = await session.rows(
    `SELECT count(${number}) AS numbers, count(nullif(${column}, '')) AS texts FROM joined`,
  );
  const numbers = Number(row?.numbers ?? 0);
  return numbers > 0 && numbers >= 0.99 * Number(row?.texts ?? 0) ? number : null;
}

async function regressionLeak(session: Session, feature: FeatureColumn, number: string | null): Promise<string | null> {
  if (number !== null) {
    const { linear, ranked } = await correlationsOf(session, number);
    if (linear !== null && Math.abs(linear) >= LEAK_CORRELATION)
      return `feature ${feature.name} is the label in other units (correlation ${linear.toFixed(5)})`;
    if (ranked !== null && Math.abs(ranked) >= LEAK_CORRELATION)
      return `feature ${feature.name} is the label on another scale (rank correlation ${ranked.toFixed(5)})`;
  }
  const within = await varianceWithin(session, quoteName(feature.name));
  return within !== null && within <= LEAK_VARIANCE
    ? `each value of feature ${feature.name} stands for one value of the label: it determines it`
    : null;
}

/** One sentence about the leak; null without one. */
export async function leakOf(
  session: Session,
  task: Task,
  feature: FeatureColumn,
  classes: number,
): Promise<string | null> {
  const number = await numberOf(session, feature);
  if (task === 'regression') return regressionLeak(session, feature, number);
  if (number !== null && classes === 2) {
    const found = await areaOf(session, 'joined', number);
    if (found && isEnough(found.known, found.rows) && Math.max(found.area, 1 - found.area) >= LEAK_AUC)
      return `feature ${feature.name} alone tells the classes apart (AUC ${found.area.toFixed(4)})`;
  }
  if (await determines(session, quoteName(feature.name)))
    return `each value of feature ${feature.name} stands for one class: it determines the label`;
  return number !== null && (await comesByClass(session, number, classes))
    ? `sorted by feature ${feature.name}, the rows come class by class: it determines the label`
    : null;
}
