/** What is looked at in each column of an arrival, unasked: no values, one value, NaN and infinities, the same as another. */
import type { CheckFailure, ColumnProfile, SourceColumn } from '../../contracts/data.ts';
import type { CheckRequest } from '../../ports/data.ts';
import { percent, plural } from './expectations.ts';
import { type Cell, parquetOf, quoteName, type Session, withSession } from './session.ts';

export interface ColumnCounts {
  readonly rows: number;
  /** The row that `columnItems` selects. */
  readonly row: Readonly<Record<string, Cell>>;
}

type Examples = (column: string, violation: string) => Promise<readonly string[]>;

/** Aggregates of column i: `k` known values, `s` whether all are the same, `v` the least, `f` those that are not finite, `h` a hash of all. */
export const columnItems = (columns: readonly SourceColumn[]): readonly string[] =>
  columns.flatMap(({ name, type }, index) => {
    const column = quoteName(name);
    return [
      `count(${column}) AS k${index}`,
      `min(${column}) = max(${column}) AS s${index}`,
      `CAST(min(${column}) AS VARCHAR) AS v${index}`,
      ...(type === 'float64' ? [`count(*) FILTER (NOT isfinite(${column})) AS f${index}`] : []),
      `CAST(bit_xor(hash(${column})) AS VARCHAR) AS h${index}`,
    ];
  });

/** Whether the version before has this one value only. */
function isSameOne({ distinct, top, min, type }: ColumnProfile, value: Cell | undefined): boolean {
  if (distinct.values !== 1) return false;
  const [only] = top;
  if (only) return only.value === value;
  return type === 'float64' && min === Number(value);
}

export async function columnFindings(
  request: CheckRequest,
  { rows, row }: ColumnCounts,
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
    const known = Number(row[`k${index}`] ?? 0);
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
    const wrong = Number(row[`f${index}`] ?? 0);
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
    const isOne = row[`s${index}`] === true && known === rows && rows > 1;
    if (isOne && !isTime && (before === undefined || isSameOne(before, row[`v${index}`])))
      fail('constant_column', name, 'warn', `${name} has one value in all ${plural(rows, 'row')}`, {
        examples: await examples(name, 'true'),
      });
  }
  return failures;
}

/** Columns of one type with equal hashes are compared row by row; columns without values or with one are told apart from this. */
export async function duplicateColumns(
  session: Session,
  columns: readonly SourceColumn[],
  { rows, row }: ColumnCounts,
): Promise<readonly CheckFailure[]> {
  if (rows < 2) return [];
  const groups = new Map<string, string[]>();
  for (const [index, { name, type }] of columns.entries()) {
    if (Number(row[`k${index}`] ?? 0) === 0 || row[`s${index}`] === true) continue;
    const key = `${type} ${row[`k${index}`]} ${row[`h${index}`]}`;
    groups.set(key, [...(groups.get(key) ?? []), name]);
  }
  const failures: CheckFailure[] = [];
  for (const [first = '', ...others] of groups.values()) {
    for (const name of others) {
      const [found] = await session.rows(
        `SELECT count(*) AS differ FROM data WHERE ${quoteName(first)} IS DISTINCT FROM ${quoteName(name)}`,
      );
      if (found?.differ !== 0) continue;
      const detail = `${name} has the same value as ${first} in all ${plural(rows, 'row')}: one of them says nothing`;
      failures.push({ check: 'duplicate_columns', column: name, severity: 'warn', detail, examples: [first] });
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
