/**
 * Drift of columns by histograms in SQL: only counts leave the database.
 *
 * Bins follow the reference. Numbers: its deciles, each bin with its upper bound, equal bounds merged, null apart. Texts and
 * bools: its nine most frequent values, its other values together, values it does not have together, null apart. So few
 * bins, because the distance between two samples of one distribution grows with them: with 500 rows it stays under 0.06.
 */
import type { FeatureColumn } from '../../contracts/data.ts';
import { jensenShannon } from '../../domain/statistics/divergence.ts';
import type { FeatureDrift } from '../../ports/registry/monitoring.ts';
import { quoteName, quoteText, type Session } from './session.ts';

const QUANTILES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const FREQUENT_VALUES = 9;

/** Names of the relations to compare; both have the columns. */
export interface Sides {
  readonly reference: string;
  readonly current: string;
}

async function countsOf(session: Session, relation: string, bin: string, bins: number): Promise<number[]> {
  const counts = new Array<number>(bins).fill(0);
  for (const row of await session.rows(`SELECT ${bin} AS bin, count(*) AS found FROM ${relation} GROUP BY 1`)) {
    counts[Number(row.bin)] = Number(row.found);
  }
  return counts;
}

/** Bin 0 is null, then one for each bound, then the rest. */
async function numericBins(
  session: Session,
  reference: string,
  column: string,
): Promise<{ readonly sql: string; readonly bins: number }> {
  const bounds = await session.rows(
    `SELECT DISTINCT CAST(bound AS VARCHAR) AS text, bound FROM (SELECT unnest(quantile_disc(CAST(${column} AS DOUBLE), [${QUANTILES.join(', ')}])) AS bound FROM ${reference}) ` +
      'WHERE bound IS NOT NULL ORDER BY bound',
  );
  const cases = bounds.map(
    ({ text }, index) => `WHEN ${column} <= CAST(${quoteText(String(text))} AS DOUBLE) THEN ${index + 1}`,
  );
  return {
    sql: `CASE WHEN ${column} IS NULL THEN 0 ${cases.join(' ')} ELSE ${bounds.length + 1} END`,
    bins: bounds.length + 2,
  };
}

/** Bin 0 is null, 1 what the reference does not have, 2 its rare values, then the frequent ones. */
async function categoryBins(
  session: Session,
  reference: string,
  column: string,
): Promise<{ readonly sql: string; readonly bins: number }> {
  const value = `CAST(${column} AS VARCHAR)`;
  const frequent = await session.rows(
    `SELECT ${value} AS value FROM ${reference} WHERE ${column} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT ${FREQUENT_VALUES}`,
  );
  const cases = frequent.map((row, index) => `WHEN ${value} = ${quoteText(String(row.value))} THEN ${index + 3}`);
  const known = `WHEN ${value} IN (SELECT ${value} FROM ${reference} WHERE ${column} IS NOT NULL) THEN 2`;
  return {
    sql: `CASE WHEN ${column} IS NULL THEN 0 ${cases.join(' ')} ${known} ELSE 1 END`,
    bins: frequent.length + 3,
  };
}

/** One result a column, in their order; columns of which a side has no row are left out. */
export async function driftOf(
  session: Session,
  sides: Sides,
  columns: readonly FeatureColumn[],
  threshold: number,
): Promise<readonly FeatureDrift[]> {
  const found: FeatureDrift[] = [];
  for (const { name, type } of columns) {
    const column = quoteName(name);
    const isNumber = type === 'float64' || type === 'int64';
    const { sql, bins } = await (isNumber ? numericBins : categoryBins)(session, sides.reference, column);
    const score = jensenShannon(
      await countsOf(session, sides.reference, sql, bins),
      await countsOf(session, sides.current, sql, bins),
    );
    if (score !== null) found.push({ name, test: 'jensenshannon', score, threshold, drifted: score > threshold });
  }
  return found;
}
