/** Incoming files as Parquet with Refit's types: same rows, same order. */
import { basename, dirname } from 'node:path';
import type { SourceColumn } from '../../contracts/data.ts';
import type { ColumnType } from '../../contracts/values.ts';
import { type ConvertedFile, type DataFormat, DataProblem } from '../../ports/data.ts';
import { literalPath, messageOf, parquetOf, quoteName, quoteText, type Session, withSession } from './session.ts';
import { castColumn, columnTypeOf, isoOf } from './types.ts';

/** Messages of DuckDB that speak of the machine, not of the data: trying again can help. */
const MACHINE_FAULT =
  /No space left|Out of Memory|could not allocate|Too many open files|No such file|Permission denied|Interrupted/i;

function readerOf(format: DataFormat, path: string): string {
  const literal = quoteText(literalPath(path));
  // The whole file is sampled for its types: a column whose first text stands in row 20,481 must not change its mind there.
  if (format === 'csv') return `read_csv(${literal}, header = true, sample_size = -1)`;
  if (format === 'jsonl') return `read_json(${literal}, format = 'newline_delimited', sample_size = -1)`;
  return parquetOf([path]);
}

function unreadable(path: string, format: DataFormat, error: unknown): never {
  const message = messageOf(error);
  if (MACHINE_FAULT.test(message)) throw error;
  // Scratch paths say nothing to whoever sent the file.
  const detail = message.replaceAll(path, basename(path));
  throw new DataProblem('unreadable', `${basename(path)} cannot be read as ${format}: ${detail}`);
}

async function describe(
  session: Session,
  path: string,
  format: DataFormat,
): Promise<readonly { readonly name: string; readonly sqlType: string }[]> {
  try {
    const rows = await session.rows(`DESCRIBE SELECT * FROM ${readerOf(format, path)}`);
    return rows.map((row) => ({ name: String(row.column_name), sqlType: String(row.column_type) }));
  } catch (error) {
    return unreadable(path, format, error);
  }
}

/** A column without any value has no type of its own in JSON lines; it is a text. */
async function isEmptyColumn(session: Session, reader: string, name: string): Promise<boolean> {
  const [row] = await session.rows(`SELECT count(${quoteName(name)}) AS found FROM ${reader}`);
  return row?.found === 0;
}

async function typedColumns(session: Session, path: string, format: DataFormat): Promise<readonly SourceColumn[]> {
  const found: SourceColumn[] = [];
  const seen = new Set<string>();
  for (const { name, sqlType } of await describe(session, path, format)) {
    const type: ColumnType | undefined =
      columnTypeOf(sqlType) ??
      (sqlType === 'JSON' && (await isEmptyColumn(session, readerOf(format, path), name)) ? 'string' : undefined);
    if (type === undefined) {
      throw new DataProblem(
        'type',
        `column ${name} of ${basename(path)} is ${sqlType}; a column holds numbers, texts, booleans, dates or timestamps, so flatten or drop it`,
        name,
      );
    }
    if (name.startsWith('__')) {
      throw new DataProblem(
        'column_name',
        `column ${name} of ${basename(path)}: names that start with __ are Refit's own, rename it`,
        name,
      );
    }
    if (seen.has(name.toLowerCase())) {
      throw new DataProblem(
        'column_name',
        `column ${name} of ${basename(path)} is there twice (upper and lower case are the same)`,
        name,
      );
    }
    seen.add(name.toLowerCase());
    found.push({ name, type });
  }
  return found;
}

function requireTimeColumn(columns: readonly SourceColumn[], timeColumn: string, file: string): void {
  const column = columns.find(({ name }) => name === timeColumn);
  if (column === undefined)
    throw new DataProblem(
      'missing_column',
      `${file} has no column ${timeColumn}, which is the dataset's time`,
      timeColumn,
    );
  if (column.type !== 'timestamp') {
    throw new DataProblem(
      'type',
      `column ${timeColumn} of ${file} is ${column.type}; the dataset's time must be a date or timestamp`,
      timeColumn,
    );
  }
}

/** Columns of a Parquet file. @throws DataProblem */
export const columnsOf = (path: string): Promise<readonly SourceColumn[]> =>
  withSession({ files: [path] }, (session) => typedColumns(session, path, 'parquet'));

export function convert(input: {
  readonly path: string;
  readonly format: DataFormat;
  readonly timeColumn: string | null;
  readonly output: string;
}): Promise<ConvertedFile> {
  const { path, format, timeColumn, output } = input;
  return withSession({ files: [path, output], folders: [dirname(output)] }, async (session) => {
    const columns = await typedColumns(session, path, format);
    if (timeColumn !== null) requireTimeColumn(columns, timeColumn, basename(path));
    const select = columns.map(({ name, type }) => castColumn(name, type)).join(', ');
    try {
      await session.run(
        `COPY (SELECT ${select} FROM ${readerOf(format, path)}) TO ${quoteText(output)} (FORMAT parquet, COMPRESSION zstd)`,
      );
    } catch (error) {
      return unreadable(path, format, error);
    }
    const time = timeColumn === null ? 'NULL::TIMESTAMP' : quoteName(timeColumn);
    const [range] = await session.rows(
      `SELECT rows, ${isoOf('low')} AS low, ${isoOf('high')} AS high FROM ` +
        `(SELECT count(*) AS rows, min(${time}) AS low, max(${time}) AS high FROM ${parquetOf([output])})`,
    );
    const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);
    return {
      rows: Number(range?.rows ?? 0),
      columns,
      minTime: textOf(range?.low),
      maxTime: textOf(range?.high),
    };
  });
}
