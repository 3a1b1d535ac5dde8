/**
 * A DuckDB in memory with the file access it was given and no more. All SQL of definitions runs in such a session: it
 * cannot reach the network, other files or the settings, whatever the check of its text let through.
 */
import { type DuckDBConnection, DuckDBInstance, type DuckDBPreparedStatement } from '@duckdb/node-api';
import { DataProblem } from '../../ports/data.ts';

export type Cell = string | number | boolean | null;

export interface SessionOptions {
  /** Files that may be read. */
  readonly files?: readonly string[];
  /** Folders that may be read and written. */
  readonly folders?: readonly string[];
  /** @default 2: fixed, so that a run on another machine does the same work */
  readonly threads?: number;
  /** DuckDB spills to disk beyond it. @default its own, four fifths of the machine */
  readonly memoryMiB?: number;
  /** Folder that it spills to; SQL cannot reach it. @default the first of `folders`; without any it does not spill */
  readonly spill?: string;
}

export interface Session {
  run(sql: string): Promise<void>;
  /** Rows as objects; 64-bit integers come as numbers. */
  rows(sql: string): Promise<readonly Readonly<Record<string, Cell>>[]>;
  /** Columns by name, for many rows. */
  columns(sql: string): Promise<Readonly<Record<string, readonly Cell[]>>>;
  /** Rows of so many numbers each, at the end of a table of as many DOUBLE columns. */
  append(table: string, width: number, values: Float64Array): Promise<void>;
  prepare(sql: string): Promise<DuckDBPreparedStatement>;
  close(): void;
}

/** What DuckDB's JavaScript values become: bigints numbers, everything that is not plain its text. */
export function cellOf(value: unknown): Cell {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  if (typeof value === 'bigint') return Number(value);
  // DuckDB's own values (dates, decimals, lists) know their text.
  return (value as { toString(): string }).toString();
}

export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;
export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`;
const quoteList = (texts: readonly string[]): string => `[${texts.map(quoteText).join(', ')}]`;

/** read_parquet of exactly these files: DuckDB would take `*`, `?` and `[` in a path as a pattern. */
export function parquetOf(files: readonly string[]): string {
  return `read_parquet(${quoteList(files.map(literalPath))}, union_by_name = true)`;
}
export const literalPath = (path: string): string => path.replace(/[*?[\]]/g, (special) => `[${special}]`);

async function configure(connection: DuckDBConnection, options: SessionOptions): Promise<void> {
  await connection.run(
    `SET TimeZone = 'UTC'; SET threads = ${options.threads ?? 2}; SET preserve_insertion_order = true`,
  );
  if (options.memoryMiB !== undefined) await connection.run(`SET memory_limit = '${options.memoryMiB}MiB'`);
  await connection.run(`SET autoinstall_known_extensions = false; SET autoload_known_extensions = false`);
  // DuckDB would spill to a folder of the current directory; in a locked session that is refused, so say where.
  const [scratch] = options.spill === undefined ? (options.folders ?? []) : [options.spill];
  await connection.run(`SET temp_directory = ${quoteText(scratch === undefined ? '' : `${scratch}/.spill`)}`);
  await connection.run(`SET allowed_paths = ${quoteList(options.files ?? [])}`);
  await connection.run(
    `SET allowed_directories = ${quoteList((options.folders ?? []).map((folder) => `${folder.replace(/\/$/, '')}/`))}`,
  );
  await connection.run('SET enable_external_access = false; SET lock_configuration = true');
}

export async function openSession(options: SessionOptions = {}): Promise<Session> {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  const close = (): void => {
    connection.closeSync();
    instance.closeSync();
  };
  try {
    await configure(connection, options);
  } catch (error) {
    close();
    throw error;
  }
  return {
    async run(sql) {
      await connection.run(sql);
    },
    async rows(sql) {
      const result = await connection.runAndReadAll(sql);
      return result
        .getRowObjectsJS()
        .map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, cellOf(value)])));
    },
    async columns(sql) {
      const result = await connection.runAndReadAll(sql);
      const values = result.getColumnsJS();
      return Object.fromEntries(result.columnNames().map((name, index) => [name, (values[index] ?? []).map(cellOf)]));
    },
    async append(table, width, values) {
      const appender = await connection.createAppender(table);
      try {
        for (const [index, value] of values.entries()) {
          appender.appendDouble(value);
          if ((index + 1) % width === 0) appender.endRow();
        }
      } finally {
        appender.closeSync();
      }
    },
    prepare: (sql) => connection.prepare(sql),
    close,
  };
}

/** Kinds of errors that the data or the text of a document causes: trying again cannot help. Any other is one of the machine, or our own. */
const OF_THE_DATA =
  /^(Binder|Catalog|Constraint|Conversion|Decimal|Divide by Zero|Expression|Invalid Input|Invalid type|Mismatch Type|Not implemented|Out of Range|Parser|Syntax) Error: /;
/** Kinds that speak of values. The others speak of names and of the SQL of a document. */
const OF_VALUES = /^(Constraint|Conversion|Decimal|Invalid Input|Mismatch Type|Out of Range) Error: /;

/** Runs work in a session that is closed whatever happens. @throws DataProblem for what DuckDB says of the data, unless the work catches it */
export async function withSession<T>(options: SessionOptions, work: (session: Session) => Promise<T>): Promise<T> {
  const session = await openSession(options);
  try {
    return await work(session);
  } catch (error) {
    throw error instanceof Error && OF_THE_DATA.test(error.message) && !(error instanceof DataProblem)
      ? new DataProblem('unreadable', `the data cannot be computed with: ${messageOf(error)}`)
      : error;
  } finally {
    session.close();
  }
}

/** Values are left out: they may be some person's, and what is said of data goes into chains and histories that cannot forget. */
const withoutValues = (text: string): string =>
  text
    // The statement.
    .replace(/\n\nLINE \d+: .*$/s, '')
    .replace(/string '.*' to (?=[A-Z])/s, "string '…' to ")
    .replace(/format: ".*", expected/s, 'format: "…", expected')
    .replace(/with value .* can't/s, "with value … can't")
    .replace(/ of (\w+) \(.*\)!/s, ' of $1!')
    .replace(/(?<![a-z])'[^']*'/gi, "'…'")
    .replace(/"[^"]*"/g, '"…"');

/** What DuckDB says, in one line. */
export const messageOf = (error: unknown): string => {
  const said = error instanceof Error ? error.message : String(error);
  const text = OF_VALUES.test(said) ? withoutValues(said) : said;
  return text.split('\n')[0] ?? text;
};
