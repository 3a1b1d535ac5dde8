/**
 * Profiles of columns. A profile depends on the rows and their order alone, so that its digest repeats: what is summed up
 * in floating point is so by one thread, in a session beside the one that does the rest.
 */
import type { ColumnProfile, DataProfile, LabelRelation, SourceColumn } from '../../contracts/data.ts';
import { barsOf, coarser, decilesOf, PROFILE_SHARES } from '../../domain/profile.ts';
import type { ProfileLabel } from '../../ports/data.ts';
import { type LabelBins, labelBins, relationOf } from './label-relation.ts';
import { type Cell, parquetOf, quoteName, quoteText, type Session, withSession } from './session.ts';
import { isoOf, typedRelation } from './types.ts';

/** With more rows distinct values are estimated first, and counted only where they are few. */
const EXACT_ROWS = 1_000_000;
const FEW_VALUES = 10_000;
/** Exact quantiles hold a column's numbers in memory: so many at once, 200 MB. Of more rows each n-th is taken. */
const NUMBERS_AT_ONCE = 25_000_000;
const TOP_VALUES = 10;

type Row = Readonly<Record<string, Cell>>;

interface Numbered {
  readonly column: SourceColumn;
  readonly index: number;
}

const isText = ({ type }: SourceColumn): boolean => type === 'string' || type === 'bool';
/** A column's finite numbers, times as milliseconds; null for the rest. */
function numberSql({ name, type }: SourceColumn): string {
  const column = quoteName(name);
  if (type === 'int64') return `CAST(${column} AS DOUBLE)`;
  const value = type === 'timestamp' ? `CAST(epoch_us(${column}) AS DOUBLE) / 1000` : column;
  return `CASE WHEN isfinite(${column}) THEN ${value} END`;
}
const numberLiteral = (value: number): string => `CAST(${quoteText(String(value))} AS DOUBLE)`;
const numberOf = (value: Cell | undefined): number | null => (typeof value === 'number' ? value : null);

/** Column i: `k` known, `n` finite, `d` distinct, `a` and `z` the least and the greatest. */
function countItems({ column, index }: Numbered, rows: number): string[] {
  const name = quoteName(column.name);
  const distinct = `${rows > EXACT_ROWS ? 'approx_count_distinct(' : 'count(DISTINCT '}${name}) AS d${index}`;
  // The least and the greatest text would be some person's name or id: they are not kept.
  if (isText(column)) return [`count(${name}) AS k${index}`, distinct];
  const number = numberSql(column);
  const range = [`min(${number}) AS a${index}`, `max(${number}) AS z${index}`];
  return [`count(${name}) AS k${index}`, `count(${number}) AS n${index}`, distinct, ...range];
}

/** Squares of larger numbers are beyond a double. */
const LARGEST_SUMMED = 1e150;

/** Mean and deviation, in the order of the rows. */
async function moments(source: Source, numeric: readonly Numbered[]): Promise<Row> {
  const items = numeric.flatMap(({ column, index }) => {
    if (column.type === 'timestamp') return [];
    const number = numberSql(column);
    const summed = `CASE WHEN abs(${number}) < ${LARGEST_SUMMED} THEN ${number} END`;
    return [`avg(${summed}) AS m${index}`, `stddev_samp(${summed}) AS s${index}`];
  });
  if (items.length === 0) return {};
  return withSession({ files: source.files, threads: 1 }, async (session) => {
    const [row] = await session.rows(`SELECT ${items.join(', ')} FROM ${source.relation}`);
    return row ?? {};
  });
}

async function quantiles(
  session: Session,
  source: Source,
  numeric: readonly Numbered[],
  rows: number,
): Promise<ReadonlyMap<number, readonly number[]>> {
  const found = new Map<number, readonly number[]>();
  const every = Math.ceil(rows / NUMBERS_AT_ONCE);
  const relation =
    every === 1
      ? source.relation
      : `(SELECT * EXCLUDE (__place) FROM (SELECT *, row_number() OVER () AS __place FROM ${source.relation}) WHERE __place % ${every} = 0)`;
  const atOnce = Math.max(1, Math.floor((NUMBERS_AT_ONCE * every) / Math.max(1, rows)));
  for (let start = 0; start < numeric.length; start += atOnce) {
    const part = numeric.slice(start, start + atOnce);
    const items = part.map(
      ({ column, index }) =>
        `to_json(quantile_cont(${numberSql(column)}, [${PROFILE_SHARES.join(', ')}])) AS q${index}`,
    );
    const [row] = await session.rows(`SELECT ${items.join(', ')} FROM ${relation}`);
    for (const { index } of part) {
      const list: unknown = JSON.parse(String(row?.[`q${index}`] ?? '[]'));
      found.set(index, Array.isArray(list) ? list.map(Number) : []);
    }
  }
  return found;
}

interface Binned {
  readonly histogram: ColumnProfile['histogram'];
  readonly bins: ColumnProfile['bins'];
}

/** Bars and deciles of all columns in one pass: counted over both kinds of bounds together, then summed up for each. */
async function histograms(
  session: Session,
  source: Source,
  numeric: readonly (Numbered & {
    readonly min: number;
    readonly max: number;
    readonly quantiles: readonly number[];
  })[],
): Promise<ReadonlyMap<number, Binned>> {
  const plans = numeric.map(({ column, index, min, max, quantiles: known }) => {
    const bars = barsOf(min, max, column.type === 'int64');
    const deciles = decilesOf(known);
    const bounds = [...new Set([...bars, ...deciles])].sort((one, other) => one - other);
    const sql = `to_json(map_values(histogram(${numberSql(column)}, [${bounds.map(numberLiteral).join(', ')}]))) AS h${index}`;
    return { index, bars, deciles, bounds, sql };
  });
  if (plans.length === 0) return new Map();
  const [row] = await session.rows(`SELECT ${plans.map(({ sql }) => sql).join(', ')} FROM ${source.relation}`);
  return new Map(
    plans.map(({ index, bars, deciles, bounds }) => {
      const counts = JSON.parse(String(row?.[`h${index}`] ?? '[]')) as readonly number[];
      const fine = { bounds, counts };
      return [index, { histogram: coarser(fine, bars, false), bins: coarser(fine, deciles, true) }];
    }),
  );
}

/** The most frequent values, and how many there are. */
async function topOf(session: Session, source: Source, name: string) {
  const rows = await session.rows(
    `SELECT value, found, count(*) OVER () AS values FROM (SELECT CAST(${quoteName(name)} AS VARCHAR) AS value, count(*) AS found FROM ${source.relation} WHERE ${quoteName(name)} IS NOT NULL GROUP BY value) ORDER BY found DESC, value LIMIT ${TOP_VALUES}`,
  );
  return {
    values: Number(rows[0]?.values ?? 0),
    top: rows.map(({ value, found }) => ({ value: String(value), count: Number(found) })),
  };
}

interface Source {
  readonly files: readonly string[];
  /** The columns in their types. */
  readonly relation: string;
}

/** Bools, and texts and whole numbers whose values repeat: of names and ids none is frequent, and none is kept. */
const hasTop = ({ type }: SourceColumn, distinct: number, known: number): boolean =>
  known > 0 && (type === 'bool' || ((type === 'string' || type === 'int64') && distinct <= known / 2));

async function isoTexts(session: Session, ms: readonly number[]): Promise<readonly string[]> {
  if (ms.length === 0) return [];
  const items = ms.map(
    (one, index) => `${isoOf(`make_timestamp(CAST(${numberLiteral(one)} * 1000 AS BIGINT))`)} AS t${index}`,
  );
  const [row] = await session.rows(`SELECT ${items.join(', ')}`);
  return ms.map((_, index) => String(row?.[`t${index}`]));
}

export function profileOf(
  files: readonly string[],
  columns: readonly SourceColumn[],
  label: ProfileLabel | null = null,
): Promise<DataProfile> {
  const labelColumns: readonly SourceColumn[] =
    label === null ? [] : [{ name: '__label', type: label.task === 'regression' ? 'float64' : 'int64' }];
  return withSession({ files }, async (session) => {
    const source: Source = { files, relation: await typedRelation(session, files, [...columns, ...labelColumns]) };
    const numbered = columns.map((column, index): Numbered => ({ column, index }));
    const numeric = numbered.filter(({ column }) => !isText(column));
    const [size] = await session.rows(`SELECT count(*) AS rows FROM ${parquetOf(files)}`);
    const rows = Number(size?.rows ?? 0);
    const summing = moments(source, numeric);
    // The other session goes on by itself; should this one fail first, its error is the one that is told.
    summing.catch(() => undefined);
    const items = numbered.flatMap((one) => countItems(one, rows));
    const [counts = {}] =
      items.length === 0 ? [] : await session.rows(`SELECT ${items.join(', ')} FROM ${source.relation}`);
    const known = numeric.filter(({ index }) => Number(counts[`n${index}`] ?? 0) > 0);
    const shares = await quantiles(session, source, known, rows);
    const binned = await histograms(
      session,
      source,
      known.map((one) => ({
        ...one,
        ...{ min: Number(counts[`a${one.index}`]), max: Number(counts[`z${one.index}`]) },
        quantiles: shares.get(one.index) ?? [],
      })),
    );
    const sums = await summing;
    const bins = label === null ? null : await labelBins(session, source.relation, label);
    const profiles: ColumnProfile[] = [];
    for (const one of numbered)
      profiles.push(await columnProfile(session, source, one, { rows, counts, sums, shares, binned, label, bins }));
    return { rows, columns: profiles };
  });
}

interface Found {
  readonly rows: number;
  readonly counts: Row;
  readonly sums: Row;
  readonly shares: ReadonlyMap<number, readonly number[]>;
  readonly binned: ReadonlyMap<number, Binned>;
  readonly label: ProfileLabel | null;
  readonly bins: LabelBins | null;
}

async function columnProfile(
  session: Session,
  source: Source,
  { column, index }: Numbered,
  found: Found,
): Promise<ColumnProfile> {
  const { rows, counts } = found;
  const { name, type } = column;
  const known = Number(counts[`k${index}`] ?? 0);
  const estimate = Number(counts[`d${index}`] ?? 0);
  const isEstimated = rows > EXACT_ROWS;
  let distinct = { values: Math.min(estimate, known), estimated: isEstimated };
  let top: ColumnProfile['top'] = [];
  if (hasTop(column, estimate, known)) {
    const counted = await topOf(session, source, name);
    top = counted.top;
    distinct = { values: counted.values, estimated: false };
  } else if (isEstimated && estimate <= FEW_VALUES) {
    const [row] = await session.rows(`SELECT count(DISTINCT ${quoteName(name)}) AS values FROM ${source.relation}`);
    distinct = { values: Number(row?.values ?? 0), estimated: false };
  }
  const finite = isText(column) ? known : Number(counts[`n${index}`] ?? 0);
  const [low, high] = [numberOf(counts[`a${index}`]), numberOf(counts[`z${index}`])];
  const [min, max] =
    type === 'timestamp' && finite > 0 ? await isoTexts(session, [Number(low), Number(high)]) : [low, high];
  const isSummed = Math.max(Math.abs(low ?? 0), Math.abs(high ?? 0)) < LARGEST_SUMMED;
  const { histogram, bins } = found.binned.get(index) ?? { histogram: null, bins: null };
  const profile: ColumnProfile = {
    ...{ name, type, nulls: rows - known, notFinite: known - finite, distinct },
    ...{ min: min ?? null, max: max ?? null },
    ...{
      mean: isSummed ? numberOf(found.sums[`m${index}`]) : null,
      std: isSummed ? numberOf(found.sums[`s${index}`]) : null,
    },
    ...{ quantiles: found.shares.get(index) ?? [], histogram, bins, top },
  };
  if (found.label === null || found.bins === null) return profile;
  const relation: LabelRelation = await relationOf(session, source.relation, profile, found.label, found.bins);
  return { ...profile, relation };
}
