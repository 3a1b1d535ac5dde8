/** Refit's column types in DuckDB: what is taken, and as what. */
import type { SourceColumn } from '../../contracts/data.ts';
import type { ColumnType } from '../../contracts/values.ts';
import { parquetOf, quoteName, type Session } from './session.ts';

export const SQL_TYPES: Readonly<Record<ColumnType, string>> = {
  float64: 'DOUBLE',
  int64: 'BIGINT',
  string: 'VARCHAR',
  bool: 'BOOLEAN',
  timestamp: 'TIMESTAMP',
};

const INTEGERS = new Set(['TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'UTINYINT', 'USMALLINT', 'UINTEGER']);
/** Whole numbers beyond 64 bits have no exact type of ours, and become doubles like decimals. */
const DOUBLES = new Set(['FLOAT', 'DOUBLE', 'UBIGINT', 'HUGEINT', 'UHUGEINT', 'BIGNUM']);
const TIMESTAMPS = new Set(['DATE', 'TIMESTAMP', 'TIMESTAMP_S', 'TIMESTAMP_MS', 'TIMESTAMP_NS']);

/** The type a DuckDB type becomes; undefined for what a column cannot be (nested, binary, interval, time of day). */
export function columnTypeOf(sqlType: string): ColumnType | undefined {
  if (INTEGERS.has(sqlType)) return 'int64';
  if (DOUBLES.has(sqlType) || sqlType.startsWith('DECIMAL')) return sqlType.endsWith(']') ? undefined : 'float64';
  if (sqlType === 'BOOLEAN') return 'bool';
  if (TIMESTAMPS.has(sqlType) || sqlType === 'TIMESTAMP WITH TIME ZONE') return 'timestamp';
  if (sqlType === 'VARCHAR' || sqlType === 'UUID') return 'string';
  if (sqlType.startsWith('ENUM(') && !sqlType.endsWith(']')) return 'string';
  return undefined;
}

/** A column cast to its type of ours, under its own name. The session's time zone is UTC, which the cast of a zoned time uses. */
export const castColumn = (name: string, type: ColumnType): string =>
  `CAST(${quoteName(name)} AS ${SQL_TYPES[type]}) AS ${quoteName(name)}`;

/** A value that travelled as JSON or text, in its type. A plain cast would drop a text's offset, the zoned one counts it. */
export const castText = (expression: string, type: ColumnType): string =>
  type === 'timestamp'
    ? `CAST(CAST(${expression} AS TIMESTAMPTZ) AS TIMESTAMP)`
    : `CAST(${expression} AS ${SQL_TYPES[type]})`;

/** A timestamp as ISO 8601 text in UTC, with as many decimals as it has (none, 3 or 6). */
export const isoOf = (expression: string): string =>
  `CASE WHEN epoch_us(${expression}) % 1000000 = 0 THEN strftime(${expression}, '%Y-%m-%dT%H:%M:%SZ') ` +
  `WHEN epoch_us(${expression}) % 1000 = 0 THEN strftime(${expression}, '%Y-%m-%dT%H:%M:%S.%gZ') ` +
  `ELSE strftime(${expression}, '%Y-%m-%dT%H:%M:%S.%fZ') END`;

/** What DuckDB calls the place of a row in its file. */
const PLACE = 'file_row_number';

/**
 * Files as a relation with these columns in their types, whatever each file has: a column without values has any type in
 * its file, and one that became part of the dataset later is null before. Of each file every n-th row, if `every` is more than 1.
 */
export async function typedRelation(
  session: Session,
  files: readonly string[],
  columns: readonly SourceColumn[],
  every = 1,
): Promise<string> {
  const described = await session.rows(`DESCRIBE SELECT * FROM ${parquetOf(files)}`);
  const present = new Set(described.map((row) => String(row.column_name).toLowerCase()));
  const items = columns.map(({ name, type }) =>
    present.has(name.toLowerCase()) ? castColumn(name, type) : `CAST(NULL AS ${SQL_TYPES[type]}) AS ${quoteName(name)}`,
  );
  // A column of this name hides the place of a row; then all rows are taken.
  if (every === 1 || present.has(PLACE)) return `(SELECT ${items.join(', ')} FROM ${parquetOf(files)})`;
  const placed = parquetOf(files).replace(/\)$/, `, ${PLACE} = true)`);
  return `(SELECT ${items.join(', ')} FROM ${placed} WHERE ${PLACE} % ${every} = 0)`;
}
