/**
 * Profiles of columns. A profile depends on the rows and their order alone, so that its digest repeats: what is summed up
 * in floating point is so by one thread, in a session beside the one that does the rest.
 */
import type { ColumnProfile, DataProfile, LabelRelation, SourceColumn } from '../../contracts/data.ts';
import { barsOf, coarser, decilesOf, PROFILE_SHARES } from '../../domain/profile.ts';
import type { ProfileLabel } from '../../ports/data.ts';
import { type LabelBins, labelBins, relationOf } from './label-relation.ts';
import { type FileFacts, factsOf } from './parquet-facts.ts';
import { type Cell, quoteName, quoteText, type Session, withSession } from './session.ts';
import { isoOf, typedRelation } from './types.ts';

/** With more rows quantiles are those of about so many, and distinct values are estimated (HyperLogLog) where they are many. */
const EXACT_ROWS = 1_000_000;
const FEW_VALUES = 10_000;
/** Exact quantiles hold a column's numbers in memory: so many at once, 200 MB. */
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

/** Column i: `k` known, `n` finite, `d` distinct, `a` and `z` the least and the greatest; those that the footers do not tell. */
function countItems({ column, index }: Numbered, { facts }: Source): string[] {
  const name = quoteName(column.name);
  const told = toldOf(facts, column);
  const isFew = facts.columns.get(column.name.toLowerCase())?.isDictionary === true && hasValues(column);
  // Grouped later, for their most frequent values.
  const items = isFew || facts.rows <= EXACT_ROWS ? [] : [`approx_count_distinct(${name}) AS d${index}`];
  if (told) return items;
  items.push(`count(${name}) AS k${index}`);
  // The least and the greatest text would be some person's name or id: they are not kept.
  if (isText(column)) return items;
  const number = numberSql(column);
  return [...items, `count(${number}) AS n${index}`, `min(${number}) AS a${index}`, `max(${number}) AS z${index}`];
}

const hasValues = (column: SourceColumn): boolean => isText(column) || column.type === 'int64';

/** Counts and range by the footers alone. */
function toldOf(facts: FileFacts, column: SourceColumn): ColumnCounts | undefined {
  const found = facts.columns.get(column.name.toLowerCase());
  if (!found || column.type === 'timestamp') return undefined;
  if (found.known === 0) return { known: 0, finite: 0, low: null, high: null };
  if (isText(column)) return { known: found.known, finite: found.known, low: null, high: null };
  return found.range ? { known: found.known, finite: found.known, ...found.range } : undefined;
}

interface ColumnCounts {
  readonly known: number;
  readonly finite: number;
  readonly low: number | null;
  readonly high: number | null;
}

function countsOf({ column, index }: Numbered, facts: FileFacts, row: Row): ColumnCounts {
  const told = toldOf(facts, column);
  if (told) return told;
  const known = Number(row[`k${index}`] ?? 0);
  return {
    ...{ known, finite: isText(column) ? known : Number(row[`n${index}`] ?? 0) },
    ...{ low: numberOf(row[`a${index}`]), high: numberOf(row[`z${index}`]) },
  };
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
  const atOnce = Math.max(1, Math.floor(NUMBERS_AT_ONCE / Math.max(1, Math.min(rows, EXACT_ROWS))));
  for (let start = 0; start < numeric.length; start += atOnce) {
    const part = numeric.slice(start, start + atOnce);
    const items = part.map(
      ({ column, index }) =>
        `to_json(quantile_cont(${numberSql(column)}, [${PROFILE_SHARES.join(', ')}])) AS q${index}`,
    );
    const [row] = await session.rows(`SELECT ${items.join(', ')} FROM ${source.sampled}`);
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

/** The most frequent values, and how many there are. Of texts and numbers those that occur once are nobody's business: one may be a name. */
async function topOf(session: Session, relation: string, { name, type }: SourceColumn) {
  const rows = await session.rows(
    `SELECT value, found, count(*) OVER () AS values FROM (SELECT CAST(${quoteName(name)} AS VARCHAR) AS value, count(*) AS found FROM ${relation} WHERE ${quoteName(name)} IS NOT NULL GROUP BY 1) ORDER BY found DESC, value LIMIT ${TOP_VALUES}`,
  );
  return {
    values: Number(rows[0]?.values ?? 0),
    top: rows
      .map(({ value, found }) => ({ value: String(value), count: Number(found) }))
      .filter(({ count }) => count > 1 || type === 'bool'),
  };
}

interface Source {
  readonly files: readonly string[];
  /** The columns in their types. */
  readonly relation: string;
  /** The same of every n-th row, where there are many. */
  readonly sampled: string;
  readonly facts: FileFacts;
}

/** Bools, and texts and whole numbers whose values repeat: of names and ids none is frequent, and none is kept. */
const hasTop = ({ type }: SourceColumn, distinct: number, known: number): boolean =>
  known > 0 && (type === 'bool' || ((type === 'string' || type === 'int64') && distinct <= known / 2));

/** How many distinct values there are, and the frequent ones. `estimate` is null where they are to be counted. */
async function valuesOf(
  session: Session,
  { relation, facts }: Source,
  column: SourceColumn,
  known: number,
  estimate: number | null,
): Promise<Pick<ColumnProfile, 'distinct' | 'top'>> {
  if (known === 0) return { distinct: { values: 0, estimated: false }, top: [] };
  let values = estimate;
  const isFew = facts.columns.get(column.name.toLowerCase())?.isDictionary === true;
  if (values === null ? !isFew || !hasValues(column) : values <= FEW_VALUES) {
    // By a hash of 64 bits: of a million values two agree with a chance of one to forty million.
    const name = quoteName(column.name);
    const [row] = await session.rows(
      `SELECT count(DISTINCT hash(${name})) FILTER (${name} IS NOT NULL) AS values FROM ${relation}`,
    );
    values = Number(row?.values ?? 0);
  } else if (values !== null && !hasTop(column, values, known))
    return { distinct: { values: Math.min(values, known), estimated: true }, top: [] };
  if (values !== null && !hasTop(column, values, known)) return { distinct: { values, estimated: false }, top: [] };
  const counted = await topOf(session, relation, column);
  const isShown = hasTop(column, counted.values, known);
  return { distinct: { values: counted.values, estimated: false }, top: isShown ? counted.top : [] };
}

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
    const facts = await factsOf(session, files);
    const { rows } = facts;
    const all = [...columns, ...labelColumns];
    const source: Source = {
      ...{ files, facts, relation: await typedRelation(session, files, all) },
      sampled: await typedRelation(session, files, all, Math.ceil(rows / EXACT_ROWS)),
    };
    const numbered = columns.map((column, index): Numbered => ({ column, index }));
    const numeric = numbered.filter(({ column }) => !isText(column));
    const summing = moments(source, numeric);
    // The other session goes on by itself; should this one fail first, its error is the one that is told.
    summing.catch(() => undefined);
    const items = numbered.flatMap((one) => countItems(one, source));
    const [row = {}] =
      items.length === 0 ? [] : await session.rows(`SELECT ${items.join(', ')} FROM ${source.relation}`);
    const counts = numbered.map((one) => countsOf(one, facts, row));
    const known = numeric.filter(({ index }) => (counts[index]?.finite ?? 0) > 0);
    const shares = await quantiles(session, source, known, rows);
    const binned = await histograms(
      session,
      source,
      known.map((one) => ({
        ...one,
        ...{ min: counts[one.index]?.low ?? 0, max: counts[one.index]?.high ?? 0 },
        quantiles: shares.get(one.index) ?? [],
      })),
    );
    const sums = await summing;
    const bins = label === null ? null : await labelBins(session, source.relation, label);
    const profiles: ColumnProfile[] = [];
    for (const one of numbered)
      profiles.push(
        await columnProfile(session, source, one, { rows, row, counts, sums, shares, binned, label, bins }),
      );
    return { rows, columns: profiles };
  });
}

interface Found {
  readonly rows: number;
  readonly row: Row;
  readonly counts: readonly ColumnCounts[];
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
  const { known, finite, low, high } = counts[index] ?? { known: 0, finite: 0, low: null, high: null };
  const { distinct, top } = await valuesOf(session, source, column, known, numberOf(found.row[`d${index}`]));
  const [min, max] =
    type === 'timestamp' && low !== null && high !== null ? await isoTexts(session, [low, high]) : [low, high];
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
