/** Incoming files as Parquet with Refit's types: same rows, same order. Runs in a process of its own (reading/process.ts). */
import { rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { SourceColumn } from '../../contracts/data.ts';
import type { ColumnType, DataFormat } from '../../contracts/values.ts';
import { type ConvertedFile, type ConvertRequest, DataProblem } from '../../ports/data.ts';
import { csvProblem, csvReader } from './reading/csv.ts';
import { MAX_LINE_BYTES, type ReadyFile, readyFile } from './reading/text.ts';
import {
  literalPath,
  messageOf,
  parquetOf,
  quoteName,
  quoteText,
  type Session,
  type SessionOptions,
  withSession,
} from './session.ts';
import { castColumn, castText, columnTypeOf, isoOf, SQL_TYPES } from './types.ts';

/** Messages of DuckDB that speak of the machine, not of the data: trying again can help. */
const MACHINE_FAULT = /No space left|Too many open files|No such file|Permission denied|Interrupted/i;
const OUT_OF_MEMORY = /Out of Memory|could not allocate|failed to allocate|bad_alloc/i;

interface Source {
  /** The table function that reads it. */
  readonly reader: string;
  readonly format: DataFormat;
  /** For messages: scratch paths say nothing to whoever sent the file. */
  readonly name: string;
  readonly path: string;
}

function unreadable({ format, name, path }: Omit<Source, 'reader'>, error: unknown): never {
  if (error instanceof DataProblem) throw error;
  const message = error instanceof Error ? error.message : String(error);
  if (OUT_OF_MEMORY.test(message))
    throw new DataProblem(
      'memory',
      `${name} needs more memory to be read as ${format} than a file may take; write smaller row groups, shorter lines or several files`,
    );
  if (MACHINE_FAULT.test(message)) throw error;
  if (format === 'csv') throw csvProblem(error, name, path);
  const [told = ''] = messageOf(error).split(/ ?Try (increasing|setting) /);
  const detail = told.replaceAll(path, name).replaceAll(basename(path), name);
  throw new DataProblem('unreadable', `${name} cannot be read as ${format}: ${detail}`);
}

async function describe(session: Session, source: Source): Promise<readonly Column[]> {
  try {
    const rows = await session.rows(`DESCRIBE SELECT * FROM ${source.reader}`);
    return rows.map((row) => ({ name: String(row.column_name), sqlType: String(row.column_type) }));
  } catch (error) {
    return unreadable(source, error);
  }
}

/** A column without any value has no type of its own in JSON lines; it is a text. */
async function isEmptyColumn(session: Session, source: Source, name: string): Promise<boolean> {
  try {
    const [row] = await session.rows(`SELECT count(${quoteName(name)}) AS found FROM ${source.reader}`);
    return row?.found === 0;
  } catch (error) {
    // The first time that all values are read: the description looked at their shape only.
    return unreadable(source, error);
  }
}

function typeProblem(name: string, sqlType: string, file: string): DataProblem {
  const detail =
    sqlType === 'JSON'
      ? `column ${name} of ${file} holds values of several kinds, such as numbers and texts, or objects; a column has one type, so write all of them alike`
      : `column ${name} of ${file} is ${sqlType}; a column holds numbers, texts, booleans, dates or timestamps, so flatten or drop it`;
  return new DataProblem('type', detail, name);
}

/** Whether a column comes into the output. */
function writtenOf({ only, ignored }: ConvertRequest): (name: string) => boolean {
  const [kept, left] = [only && setOf(only), setOf(ignored)];
  return (name) => !left.has(name.toLowerCase()) && (kept?.has(name.toLowerCase()) ?? true);
}

const setOf = (names: readonly string[] | undefined): ReadonlySet<string> =>
  new Set((names ?? []).map((name) => name.toLowerCase()));

async function typedColumns(
  session: Session,
  source: Source,
  ignored: ReadonlySet<string> = new Set(),
): Promise<readonly SourceColumn[]> {
  const found: SourceColumn[] = [];
  const seen = new Set<string>();
  for (const { name, sqlType } of await describe(session, source)) {
    if (ignored.has(name.toLowerCase())) continue;
    const type: ColumnType | undefined =
      columnTypeOf(sqlType) ??
      (sqlType === 'JSON' && (await isEmptyColumn(session, source, name)) ? 'string' : undefined);
    if (type === undefined) throw typeProblem(name, sqlType, source.name);
    if (name.startsWith('__')) {
      throw new DataProblem(
        'column_name',
        `column ${name} of ${source.name}: names that start with __ are Refit's own, rename it`,
        name,
      );
    }
    if (seen.has(name.toLowerCase())) {
      throw new DataProblem(
        'column_name',
        `column ${name} of ${source.name} is there twice (upper and lower case are the same)`,
        name,
      );
    }
    seen.add(name.toLowerCase());
    found.push({ name, type });
  }
  return found;
}

/** Doubles are exact up to here: what is larger may have lost its last digits. */
const EXACT_INTEGER = 2 ** 53;

/** Columns of floats without a fraction that are whole numbers in the dataset, as those. */
async function wholeNumbers(
  session: Session,
  source: Source,
  columns: readonly SourceColumn[],
  integers: ReadonlySet<string>,
): Promise<readonly SourceColumn[]> {
  const asked = columns.filter(({ name, type }) => type === 'float64' && integers.has(name.toLowerCase()));
  if (asked.length === 0) return columns;
  const items = asked.map(({ name }, index) => {
    const value = `CAST(${quoteName(name)} AS DOUBLE)`;
    return `coalesce(bool_and(isfinite(${value}) AND ${value} = trunc(${value}) AND abs(${value}) <= ${EXACT_INTEGER}), true) AS w${index}`;
  });
  try {
    const [row] = await session.rows(`SELECT ${items.join(', ')} FROM ${source.reader}`);
    const whole = setOf(asked.flatMap(({ name }, index) => (row?.[`w${index}`] === true ? [name] : [])));
    return columns.map(({ name, type }) => ({ name, type: whole.has(name.toLowerCase()) ? 'int64' : type }));
  } catch (error) {
    return unreadable(source, error);
  }
}

/** @throws DataProblem where a time is none that ISO 8601 can say: no window could be told by it */
async function requireTimes(session: Session, path: string, timeColumn: string, file: string): Promise<void> {
  const time = quoteName(timeColumn);
  const [row] = await session.rows(
    `SELECT count(*) FILTER (NOT isfinite(${time}) OR ${time} < TIMESTAMP '0001-01-01' OR ${time} >= TIMESTAMP '10000-01-01') AS beyond FROM ${parquetOf([path])}`,
  );
  const beyond = Number(row?.beyond ?? 0);
  if (beyond > 0)
    throw new DataProblem(
      'time_range',
      `column ${timeColumn} of ${file} has times in ${beyond} rows that are infinite or not of the years 1 to 9999; leave such a time empty`,
      timeColumn,
    );
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

const parquetSource = (path: string, name: string): Source => ({
  ...{ reader: parquetOf([path]), format: 'parquet', name, path },
});

/** Columns of a Parquet file. @throws DataProblem */
export const columnsOf = (path: string): Promise<readonly SourceColumn[]> =>
  withSession({ files: [path] }, (session) => typedColumns(session, parquetSource(path, basename(path))));

interface Column {
  readonly name: string;
  readonly sqlType: string;
}

function jsonReader(path: string, columns: readonly Column[] | undefined): string {
  const types =
    columns === undefined
      ? 'sample_size = -1'
      : `columns = {${columns.map(({ name, sqlType }) => `${quoteText(name)}: ${quoteText(sqlType)}`).join(', ')}}`;
  return `read_json(${quoteText(literalPath(path))}, format = 'newline_delimited', records = true, maximum_object_size = ${MAX_LINE_BYTES}, ${types})`;
}

/** What DuckDB takes texts for, where all of a column look like it. */
const TEXTS_READ = /^(DATE|TIME|TIMESTAMP|TIMESTAMP_(S|MS|NS)|UUID)$/;
const TIMES_READ = /^(DATE|TIMESTAMP.*)$/;
/** ISO 8601; any other way to write a date is a guess. */
const isoTime = (name: string): string =>
  `${name} IS NULL OR (regexp_matches(${name}, '^[0-9]{4}-[0-9]{2}-[0-9]{2}') AND TRY_CAST(${name} AS TIMESTAMPTZ) IS NOT NULL)`;

/** Keys that differ in upper and lower case only: DuckDB gives the second another name, such as A_1, which no line has. @throws DataProblem */
async function requireDistinctKeys(session: Session, source: Source, columns: readonly Column[]): Promise<void> {
  const names = setOf(columns.map(({ name }) => name));
  for (const { name } of columns) {
    const [, first] = /^(.+)_\d+$/.exec(name) ?? [];
    if (first === undefined || !names.has(first.toLowerCase())) continue;
    const asked = { ...source, reader: jsonReader(source.path, [{ name, sqlType: 'VARCHAR' }]) };
    if ((await isEmptyColumn(session, asked, name)) && !(await isEmptyColumn(session, source, name)))
      throw new DataProblem(
        'column_name',
        `column ${first} of ${source.name} is there twice (upper and lower case are the same)`,
        first,
      );
  }
}

/**
 * Texts of JSON are times where all of a column are ISO 8601 and the dataset does not have it as a text. Any other text stays what it is:
 * read as a UUID it would come back in lower case, read as a date an id would get a time of day.
 */
async function jsonSource(
  session: Session,
  about: Omit<Source, 'reader'>,
  texts: ReadonlySet<string>,
): Promise<Source> {
  const detected = { ...about, reader: jsonReader(about.path, undefined) };
  const columns = await describe(session, detected);
  await requireDistinctKeys(session, detected, columns);
  const read = columns.filter(({ sqlType }) => TEXTS_READ.test(sqlType));
  if (read.length === 0) return detected;
  const plain = jsonReader(
    about.path,
    columns.map((column) => (read.includes(column) ? { ...column, sqlType: 'VARCHAR' } : column)),
  );
  const asked = read.filter(({ name, sqlType }) => TIMES_READ.test(sqlType) && !texts.has(name.toLowerCase()));
  const items = asked.map(({ name }, index) => `bool_and(${isoTime(quoteName(name))}) AS t${index}`);
  try {
    const [row] = items.length === 0 ? [] : await session.rows(`SELECT ${items.join(', ')} FROM ${plain}`);
    const times = setOf(asked.flatMap(({ name }, index) => (row?.[`t${index}`] === true ? [name] : [])));
    const selected = columns.map(({ name }) =>
      times.has(name.toLowerCase())
        ? `${castText(quoteName(name), 'timestamp')} AS ${quoteName(name)}`
        : quoteName(name),
    );
    return { ...about, reader: `(SELECT ${selected.join(', ')} FROM ${plain})` };
  } catch (error) {
    return unreadable(about, error);
  }
}

async function sourceOf(session: Session, input: ConvertRequest, file: ReadyFile, name: string): Promise<Source> {
  const about = { format: input.format, name, path: file.path };
  if (input.format === 'parquet') return parquetSource(file.path, name);
  if (input.format === 'jsonl' && input.columns !== undefined) {
    const columns = input.columns.map(({ name: column, type }) => ({ name: column, sqlType: SQL_TYPES[type] }));
    return { ...about, reader: jsonReader(file.path, columns) };
  }
  if (input.format === 'jsonl') return jsonSource(session, about, setOf(input.texts));
  const reading = { given: input.csv, texts: input.texts ?? [], isWritten: writtenOf(input) };
  try {
    return { ...about, reader: await csvReader(session, file, name, reading) };
  } catch (error) {
    return unreadable(about, error);
  }
}

export interface ConvertLimits {
  /** Most bytes of a file, uncompressed. */
  readonly maxBytes: number;
  readonly session: Pick<SessionOptions, 'memoryMiB'>;
}

export async function convert(input: ConvertRequest, limits: ConvertLimits): Promise<ConvertedFile> {
  const { path, format, timeColumn, output } = input;
  const name = input.name ?? basename(path);
  const copy = `${output}.text`;
  try {
    const file = await readyFile({
      ...{ path, format, name, copy, maxBytes: limits.maxBytes },
      encoding: format === 'csv' ? input.csv?.encoding : undefined,
    });
    const files = [file.path, output];
    return await withSession({ files, folders: [dirname(output)], ...limits.session }, async (session) => {
      const source = await sourceOf(session, input, file, name);
      const found = await typedColumns(session, source, setOf(input.ignored));
      const columns = await wholeNumbers(session, source, found, setOf(input.integers));
      if (timeColumn !== null) requireTimeColumn(columns, timeColumn, name);
      const isWritten = writtenOf(input);
      const kept = columns.filter((column) => isWritten(column.name));
      // A file without any column of the dataset is refused for that, by name.
      const written = kept.length > 0 ? kept : columns;
      const select = written.map((column) => castColumn(column.name, column.type)).join(', ');
      try {
        await session.run(
          `COPY (SELECT ${select} FROM ${source.reader}) TO ${quoteText(output)} (FORMAT parquet, COMPRESSION zstd)`,
        );
      } catch (error) {
        return unreadable(source, error);
      }
      if (timeColumn !== null) await requireTimes(session, output, timeColumn, name);
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
  } finally {
    await rm(copy, { force: true });
  }
}
