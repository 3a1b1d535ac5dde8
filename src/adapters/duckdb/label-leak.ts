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
/** A feature determines the class when its values mistake at most this share of the rows. */
const LEAK_MISTAKES = 0.001;
/** ... and has far fewer values than rows: each row's own id determines everything. */
const ROWS_PER_VALUE = 10;

async function areaOf(session: Session, column: string): Promise<number | null> {
  const [row] = await session.rows(`
    WITH grouped AS (
      SELECT ${column} AS value, sum(__label) AS hits, count(*) - sum(__label) AS misses
      FROM joined WHERE ${column} IS NOT NULL GROUP BY value
    ), ranked AS (
      SELECT hits, misses, sum(misses) OVER (ORDER BY value ROWS UNBOUNDED PRECEDING) - misses AS below FROM grouped
    )
    SELECT CAST(sum(CAST(hits AS DOUBLE) * (below + misses / 2.0)) AS DOUBLE) AS pairs, CAST(sum(hits) AS DOUBLE) AS hits,
      CAST(sum(misses) AS DOUBLE) AS misses, CAST((SELECT count(*) FROM joined) AS DOUBLE) AS rows FROM ranked`);
  const hits = Number(row?.hits ?? 0);
  const misses = Number(row?.misses ?? 0);
  // A feature that is mostly unknown does not determine the label, whatever its few values say.
  if (hits === 0 || misses === 0 || hits + misses < Math.max(LEAST_ROWS, Number(row?.rows ?? 0) / 2)) return null;
  return Number(row?.pairs) / (hits * misses);
}

/** Rows that the best guess from the value mistakes, against the best guess without it. Null counts as a value. */
async function determines(session: Session, column: string): Promise<boolean> {
  const [row] = await session.rows(`
    WITH cells AS (SELECT ${column} AS value, __label, count(*) AS found FROM joined GROUP BY value, __label),
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

async function correlationOf(session: Session, column: string): Promise<number | null> {
  const [row] = await session.rows(
    `SELECT corr(${column}, __label) AS value, count(${column}) AS known, count(*) AS rows FROM joined`,
  );
  const known = Number(row?.known ?? 0);
  const value = row?.value;
  return typeof value === 'number' && known >= Math.max(LEAST_ROWS, Number(row?.rows ?? 0) / 2) ? value : null;
}

/** One sentence about the leak; null without one. */
export async function leakOf(
  session: Session,
  task: Task,
  feature: FeatureColumn,
  classes: number,
): Promise<string | null> {
  const column = quoteName(feature.name);
  const isNumber = feature.type === 'float64' || feature.type === 'int64';
  if (task === 'regression') {
    const correlation = isNumber ? await correlationOf(session, column) : null;
    return correlation !== null && Math.abs(correlation) >= LEAK_CORRELATION
      ? `feature ${feature.name} is the label in other units (correlation ${correlation.toFixed(5)})`
      : null;
  }
  if (isNumber && classes === 2) {
    const area = await areaOf(session, column);
    if (area !== null && Math.max(area, 1 - area) >= LEAK_AUC)
      return `feature ${feature.name} alone tells the classes apart (AUC ${area.toFixed(4)})`;
  }
  return (await determines(session, column))
    ? `each value of feature ${feature.name} stands for one class: it determines the label`
    : null;
}
