/** `like_reference`: whether an arrival's columns are distributed as in the version before, over the bins of its profile. */
import type { ColumnProfile, SourceColumn } from '../../contracts/data.ts';
import type { Expectation } from '../../contracts/documents.ts';
import { jensenShannon } from '../../domain/statistics/divergence.ts';
import type { CheckRequest } from '../../ports/data.ts';
import { columnNamed, noColumn } from './expectations.ts';
import { quoteName, quoteText, type Session } from './session.ts';

/** The distance between two samples of one distribution grows as they get smaller; with so many rows it stays below 0.1. */
const LEAST_ROWS = 200;
/** Values that are bins of their own; the others are one together. */
const FREQUENT_VALUES = 9;

interface Bin {
  readonly name: string;
  /** Condition on a row. */
  readonly sql: string;
  /** Rows of the version before. */
  readonly before: number;
}

export interface ReferenceFinding {
  readonly column: string | null;
  readonly detail: string;
  readonly examples: readonly string[];
}

/** A number as its bin is named: short, and the same on each machine. */
const short = (value: number): string => String(Number(value.toPrecision(6)));

function numberBins({ type, bins, nulls, notFinite }: ColumnProfile, column: string): Bin[] {
  if (!bins) return [];
  const name = quoteName(column);
  const value = type === 'timestamp' ? `epoch_ms(${name})` : `CAST(${name} AS DOUBLE)`;
  const finite = type === 'int64' ? `${name} IS NOT NULL` : `isfinite(${type === 'timestamp' ? name : value})`;
  const label = (bound: number): string => (type === 'timestamp' ? new Date(bound).toISOString() : short(bound));
  const { bounds, counts } = bins;
  const at = (index: number): number => bounds[index] ?? Number.NaN;
  const items = counts.map((before, index): Bin => {
    const low = index === 0 ? '' : `${value} > ${at(index - 1)}`;
    const high = index === bounds.length ? '' : `${value} <= ${at(index)}`;
    const named =
      index === 0
        ? `up to ${label(at(0))}`
        : index === bounds.length
          ? `above ${label(at(index - 1))}`
          : `${label(at(index - 1))} to ${label(at(index))}`;
    return { name: named, sql: [finite, low, high].filter((part) => part !== '').join(' AND '), before };
  });
  return [{ name: 'unknown', sql: `NOT coalesce(${finite}, false)`, before: nulls + notFinite }, ...items];
}

function valueBins({ top, nulls }: ColumnProfile, column: string, rows: number): Bin[] {
  const text = `CAST(${quoteName(column)} AS VARCHAR)`;
  const frequent = top.slice(0, FREQUENT_VALUES);
  const list = frequent.map(({ value }) => quoteText(value)).join(', ');
  const rest = rows - nulls - frequent.reduce((sum, { count }) => sum + count, 0);
  return [
    { name: 'unknown', sql: `${text} IS NULL`, before: nulls },
    ...frequent.map(({ value, count }) => ({ name: value, sql: `${text} = ${quoteText(value)}`, before: count })),
    { name: 'other values', sql: `${text} IS NOT NULL AND ${text} NOT IN (${list})`, before: rest },
  ];
}

function binsOf(profile: ColumnProfile, column: string, rows: number): readonly Bin[] {
  if (profile.bins) return numberBins(profile, column);
  // Names and ids have no frequent value: all of them are new each time.
  return profile.top.length === 0 ? [] : valueBins(profile, column, rows);
}

function columnsOf(request: CheckRequest, column: string | undefined): readonly SourceColumn[] | string {
  if (column !== undefined) {
    const found = columnNamed(request.columns, column);
    return found ? [found] : noColumn(column, request.columns);
  }
  // Times go on by themselves.
  return request.columns.filter(({ name, type }) => name !== request.idColumn && type !== 'timestamp');
}

export async function likeReference(
  session: Session,
  request: CheckRequest,
  { column, max }: Extract<Expectation, { type: 'like_reference' }>,
  rows: number,
): Promise<readonly ReferenceFinding[]> {
  const columns = columnsOf(request, column);
  if (typeof columns === 'string') return [{ column: column ?? null, detail: columns, examples: [] }];
  const { before } = request;
  if (before === null || rows < LEAST_ROWS || before.rows < LEAST_ROWS) return [];
  const compared = columns.flatMap(({ name }) => {
    const profile = before.columns.find((one) => one.name === name);
    const bins = profile ? binsOf(profile, name, before.rows) : [];
    return bins.length > 0 ? [{ name, bins }] : [];
  });
  if (compared.length === 0) return [];
  const items = compared.flatMap(({ bins }, index) =>
    bins.map(({ sql }, bin) => `count(*) FILTER (${sql}) AS b${index}_${bin}`),
  );
  const [row] = await session.rows(`SELECT ${items.join(', ')} FROM data`);
  return compared.flatMap(({ name, bins }, index) => {
    const now = bins.map((_, bin) => Number(row?.[`b${index}_${bin}`] ?? 0));
    const distance = jensenShannon(
      bins.map((bin) => bin.before),
      now,
    );
    if (distance === null || distance <= max) return [];
    const moved = bins
      .map((bin, at) => ({ name: bin.name, was: bin.before / before.rows, is: (now[at] ?? 0) / rows }))
      .sort((one, other) => Math.abs(other.is - other.was) - Math.abs(one.is - one.was))
      .slice(0, 3);
    const share = (part: number): string => `${(100 * part).toFixed(1)} %`;
    return {
      column: name,
      detail: `${name} lies ${distance.toFixed(4)} from the version before (Jensen-Shannon distance), at most ${max} is expected`,
      examples: moved.map((bin) => `${bin.name}: ${share(bin.is)}, was ${share(bin.was)}`),
    };
  });
}
