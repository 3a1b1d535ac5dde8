/** What is looked at in each column of an arrival, unasked: no values, one value, NaN and infinities, the same as another. */
import type { CheckFailure, ColumnProfile, SourceColumn } from '../../contracts/data.ts';
import type { CheckRequest } from '../../ports/data.ts';
import { percent, plural } from './expectations.ts';
import type { FileFacts } from './parquet-facts.ts';
import { type Cell, parquetOf, quoteName, type Session, withSession } from './session.ts';

/** What is counted of a column. */
export interface ColumnCounts {
  readonly known: number;
  /** As text; null without a value. */
  readonly least: string | null;
  readonly greatest: string | null;
  readonly notFinite: number;
}

const NOTHING: ColumnCounts = { known: 0, least: null, greatest: null, notFinite: 0 };

type Examples = (column: string, violation: string) => Promise<readonly string[]>;

/** Aggregates of column i that the footers do not tell: `k` known values, `v` and `z` the least and the greatest, `f` not finite. */
export const columnItems = (columns: readonly SourceColumn[], { columns: told }: FileFacts): readonly string[] =>
  columns.flatMap(({ name, type }, index) => {
    const column = quoteName(name);
    const facts = told.get(name.toLowerCase());
    // Where the least is told of a number, all are finite.
    if (facts && (facts.known === 0 || facts.least !== null)) return [];
    return [
      `count(${column}) AS k${index}`,
      `CAST(min(${column}) AS VARCHAR) AS v${index}`,
      `CAST(max(${column}) AS VARCHAR) AS z${index}`,
      ...(type === 'float64' ? [`count(*) FILTER (NOT isfinite(${column})) AS f${index}`] : []),
    ];
  });

/** What the footers tell of each column, and what the row that `columnItems` selects adds. */
export const countsOf = (
  columns: readonly SourceColumn[],
  { columns: told }: FileFacts,
  row: Readonly<Record<string, Cell>>,
): readonly ColumnCounts[] =>
  columns.map(({ name, type }, index) => {
    const facts = told.get(name.toLowerCase());
    if (facts && (facts.known === 0 || facts.least !== null)) {
      // Numbers are ordered as numbers: their texts are not.
      const isNumber = type === 'float64' || type === 'int64';
      const { known, range } = facts;
      if (!isNumber) return { known, least: facts.least, greatest: facts.greatest, notFinite: 0 };
      return {
        ...{
          known,
          least: range ? String(range.low) : null,
          greatest: range ? String(range.high) : null,
          notFinite: 0,
        },
      };
    }
    const text = (value: Cell | undefined): string | null => (typeof value === 'string' ? value : null);
    return {
      ...{ known: Number(row[`k${index}`] ?? 0), notFinite: Number(row[`f${index}`] ?? 0) },
      ...{ least: text(row[`v${index}`]), greatest: text(row[`z${index}`]) },
    };
  });

/** Whether the version before has this one value only. */
function isSameOne({ distinct, top, min, type }: ColumnProfile, value: string | null): boolean {
  if (distinct.values !== 1) return false;
  const [only] = top;
  if (only) return only.value === value;
  return type === 'float64' && min === Number(value);
}

export async function columnFindings(
  request: CheckRequest,
  rows: number,
  counts: readonly ColumnCounts[],
  examples: Examples,
): Promise<readonly CheckFailure[]> {
  const failures: CheckFailure[] = [];
  const fail = (
    check: string,
    column: string,
    severity: CheckFailure['severity'],
    detail: string,
    more: Partial<CheckFailure> = {},
  ): void => {
    failures.push({ check, column, severity, detail, examples: [], ...more });
  };
  const isKey = (name: string, key: string | null): boolean => name.toLowerCase() === key?.toLowerCase();
  for (const [index, { name, type }] of request.columns.entries()) {
    const { known, least, greatest, notFinite: wrong } = counts[index] ?? NOTHING;
    const before = request.before?.columns.find((column) => column.name === name);
    const isTime = isKey(name, request.timeColumn);
    const counted = { count: rows - known, share: (rows - known) / Math.max(1, rows) };
    if (known === 0) {
      const wasKnown = before !== undefined && before.nulls + before.notFinite < (request.before?.rows ?? 0) / 2;
      const told = wasKnown
        ? `: the version before has it in ${percent((request.before?.rows ?? 0) - before.nulls, request.before?.rows ?? 0)} of its rows`
        : '';
      const blocks = isTime || wasKnown;
      fail(
        'all_null',
        name,
        blocks ? 'block' : 'warn',
        `${name} is null in all ${plural(rows, 'row')}${told}`,
        counted,
      );
      continue;
    }
    if (type === 'float64' && wrong > 0) {
      const all = wrong === known;
      const detail = all
        ? `${name} has no finite value: ${plural(wrong, 'value')} are NaN or infinite`
        : `${plural(wrong, 'value')} of ${name} are NaN or infinite, ${percent(wrong, rows)} of the rows; features take them for null`;
      fail('not_finite', name, all ? 'block' : 'warn', detail, {
        examples: await examples(name, `NOT isfinite(${quoteName(name)})`),
        ...{ count: wrong, share: wrong / rows },
      });
    }
    if (isTime && known < rows)
      fail('null_time', name, 'warn', `${plural(rows - known, 'row')} have no ${name}: runs leave them out`, counted);
    if (isKey(name, request.idColumn) && known < rows)
      fail(
        'null_id',
        name,
        'warn',
        `${plural(rows - known, 'row')} have no ${name}: outcomes can never join them`,
        counted,
      );
    // One value in a partition is no news where the others differ.
    const isOne = least !== null && least === greatest && known === rows && rows > 1 && wrong === 0;
    if (isOne && !isTime && (before === undefined || isSameOne(before, least)))
      fail('constant_column', name, 'warn', `${name} has one value in all ${plural(rows, 'row')}`, {
        examples: await examples(name, 'true'),
      });
  }
  return failures;
}

/** Columns of one type, with as many values and the same range, are compared row by row, up to the first that differs. */
export async function duplicateColumns(
  session: Session,
  columns: readonly SourceColumn[],
  rows: number,
  counts: readonly ColumnCounts[],
): Promise<readonly CheckFailure[]> {
  if (rows < 2) return [];
  const seen = new Map<string, string[]>();
  const failures: CheckFailure[] = [];
  for (const [index, { name, type }] of columns.entries()) {
    const { known, least, greatest } = counts[index] ?? NOTHING;
    if (known === 0 || least === null || least === greatest) continue;
    const key = JSON.stringify([type, known, least, greatest]);
    const others = seen.get(key) ?? [];
    seen.set(key, [...others, name]);
    for (const other of others) {
      const differing = await session.rows(
        `SELECT 1 AS differs FROM data WHERE ${quoteName(other)} IS DISTINCT FROM ${quoteName(name)} LIMIT 1`,
      );
      if (differing.length > 0) continue;
      const detail = `${name} has the same value as ${other} in all ${plural(rows, 'row')}: one of them says nothing`;
      failures.push({ check: 'duplicate_columns', column: name, severity: 'warn', detail, examples: [other] });
      break;
    }
  }
  return failures;
}

/** Those of the columns that have no value in the file. */
export function emptyColumns(path: string, names: readonly string[]): Promise<readonly string[]> {
  return withSession({ files: [path] }, async (session) => {
    const items = names.map((name, index) => `count(${quoteName(name)}) AS n${index}`);
    if (items.length === 0) return [];
    const [row] = await session.rows(`SELECT ${items.join(', ')} FROM ${parquetOf([path])}`);
    return names.filter((_, index) => row?.[`n${index}`] === 0);
  });
}
