/** CSV as DuckDB reads it: the dialect is settled first, the types are those that every value of the file has. */
import type { CsvDialect } from '../../../contracts/documents.ts';
import { DataProblem } from '../../../ports/data.ts';
import { type Cell, literalPath, messageOf, quoteName, quoteText, type Session } from '../session.ts';
import { type Dialect, detectDialect } from './dialect.ts';
import { MAX_LINE_BYTES, type ReadyFile } from './text.ts';

type Options = Readonly<Record<string, string>>;

const optionList = (options: Options): string =>
  Object.entries(options)
    .map(([name, value]) => `, ${name} = ${value}`)
    .join('');
const structOf = (columns: readonly (readonly [string, string])[]): string =>
  `{${columns.map(([name, type]) => `${quoteText(name)}: ${quoteText(type)}`).join(', ')}}`;

function optionsOf(dialect: Dialect, given: CsvDialect | undefined): Options {
  return {
    header: String(given?.header ?? true),
    delim: quoteText(dialect.delimiter),
    quote: quoteText(dialect.quote),
    escape: quoteText(dialect.quote === '' ? '' : dialect.escape),
    // Never guessed: what DuckDB takes for a title or a comment would be lost without a word.
    skip: String(given?.skip ?? 0),
    comment: quoteText(given?.comment ?? ''),
    strict_mode: 'true',
    max_line_size: String(MAX_LINE_BYTES),
    // By default sixteen times a line, for each thread.
    buffer_size: String(2 * MAX_LINE_BYTES),
    ...(given?.nulls === undefined ? {} : { nullstr: `[${given.nulls.map(quoteText).join(', ')}]` }),
    ...(given?.date_format === undefined ? {} : { dateformat: quoteText(given.date_format) }),
    ...(given?.timestamp_format === undefined ? {} : { timestampformat: quoteText(given.timestamp_format) }),
    ...(given?.decimal === undefined ? {} : { decimal_separator: quoteText(given.decimal) }),
  };
}

const SHOWN_LINE = 120;
const shortened = (text: string): string => (text.length > SHOWN_LINE ? `${text.slice(0, SHOWN_LINE)}…` : text);

interface Told {
  readonly detail: string;
  /** What stands there: it may be of a person, so it is no part of the sentence. */
  readonly examples: readonly string[];
}

/** What DuckDB says over many lines, in one that says what, where, and what would be right. */
function toldOf(message: string, delimiter: string): Told {
  const line = /CSV Error on Line: (\d+)/.exec(message)?.[1];
  if (/when sniffing file/.test(message))
    return {
      detail: `its rows fit no dialect with the delimiter ${JSON.stringify(delimiter)}; say csv.delimiter, csv.quote, csv.escape, csv.comment or csv.skip`,
      examples: [],
    };
  if (line === undefined) return { detail: shortened(messageOf(new Error(message))), examples: [] };
  const [, text = ''] = /^Original Line: (.*)$/m.exec(message) ?? [];
  const examples = text === '' ? [] : [shortened(text)];
  const counts = /Expected Number of Columns: (\d+) Found: (\d+)/.exec(message);
  if (counts)
    return {
      detail: `line ${line} has ${counts[2]} fields where the header has ${counts[1]}; quote fields that hold ${JSON.stringify(delimiter)}, or say csv.delimiter or csv.skip`,
      examples,
    };
  if (/unterminated quote/i.test(message))
    return { detail: `line ${line} opens a quote that is never closed; close it, or say csv.quote`, examples };
  if (/maximum line size/i.test(message))
    return {
      detail: `line ${line} is longer than ${MAX_LINE_BYTES / 2 ** 20} MiB; it is no row, or a quote is never closed`,
      examples,
    };
  const value = /Error when converting column "(.*?)"\. Could not convert string "(.*?)" to '(\w+)'/s.exec(message);
  if (value)
    return {
      detail: `line ${line}: a value of column ${value[1]} is no ${value[3]}`,
      examples: [JSON.stringify(shortened(value[2] ?? ''))],
    };
  const said = message
    .split('\n')
    .find((one) => one !== '' && !/^(Invalid Input|Conversion) Error|^Original Line/.test(one));
  return {
    detail: `line ${line}: ${shortened(messageOf(new Error(`Conversion Error: ${said ?? message}`)))}`,
    examples,
  };
}

/** Header names that are there twice; DuckDB would rename the second without a word. */
function requireDistinct(names: readonly string[], name: string): void {
  const seen = new Set<string>();
  for (const column of names) {
    if (column !== '' && seen.has(column.toLowerCase()))
      throw new DataProblem(
        'column_name',
        `column ${column} of ${name} is there twice (upper and lower case are the same)`,
        column,
      );
    seen.add(column.toLowerCase());
  }
}

/** The same format with day, month and year in other orders, those that people write. */
function otherOrders(format: string): readonly string[] {
  const [year, ...more] = format.match(/%[yY]/g) ?? [];
  const places = format.match(/%[yYmd]/g) ?? [];
  if (year === undefined || more.length > 0 || places.length !== 3 || places[0] === '%Y') return [];
  const orders = [['%d', '%m', year], ['%m', '%d', year], ...(year === '%y' ? [['%y', '%m', '%d']] : [])];
  return orders
    .filter((order) => order.join() !== places.join())
    .map((order) => {
      const left = [...order];
      return format.replace(/%[yYmd]/g, () => left.shift() ?? '');
    });
}

interface CsvColumn {
  readonly name: string;
  readonly type: string;
}

/**
 * A date is never guessed: 03/04/2024 is in March or in April, and a file whose days are all below 13 does not tell. Nor does 24-03-04, which
 * DuckDB takes for the year 24.
 */
async function requireClearDates(
  session: Session,
  columns: readonly (CsvColumn & { readonly format: string | null })[],
  relation: string,
  name: string,
): Promise<void> {
  for (const { name: column, type, format } of columns) {
    const value = quoteName(column);
    const readings = format === null ? [] : otherOrders(format);
    const items = readings.map((other, index) => {
      const [own, swapped] = [format ?? '', other].map((one) => `try_strptime(${value}, ${quoteText(one)})`);
      return `bool_and(${value} IS NULL OR ${swapped} IS NOT NULL) AND bool_or(${swapped} <> ${own}) AS o${index}`;
    });
    if (format === null) items.push(`bool_or(NOT regexp_matches(${value}, '^\\s*[0-9]{4}')) AS short`);
    if (items.length === 0) continue;
    const [row] = await session.rows(`SELECT ${items.join(', ')} FROM ${relation}`);
    const option = type === 'DATE' ? 'csv.date_format' : 'csv.timestamp_format';
    const other = readings.find((_, index) => row?.[`o${index}`] === true);
    if (other === undefined && row?.short !== true) continue;
    const what =
      other === undefined
        ? 'has years of fewer than four digits'
        : `fits ${format} as well as ${other}: which is meant cannot be told`;
    throw new DataProblem(
      'ambiguous_date',
      `column ${column} of ${name} ${what}; say ${option} in the Dataset document, or take it as string in \`columns\``,
      column,
    );
  }
}

export interface CsvReading {
  readonly given: CsvDialect | undefined;
  /** Columns that are texts, whatever they look like. */
  readonly texts: readonly string[];
  /** Whether a column is written; of others nothing needs to be clear. */
  readonly isWritten: (column: string) => boolean;
}

/** A table function that reads exactly this file. @throws DataProblem */
export async function csvReader(
  session: Session,
  file: ReadyFile,
  name: string,
  { given, texts, isWritten }: CsvReading,
): Promise<string> {
  const dialect = detectDialect(file.sample, file.isWhole, given);
  if (dialect.names.length === 0 || (dialect.names.length === 1 && dialect.names[0] === ''))
    throw new DataProblem('empty', `${name} has no ${given?.header === false ? 'row' : 'header'}`);
  if (given?.header !== false) requireDistinct(dialect.names, name);
  const path = quoteText(literalPath(file.path));
  const options = optionsOf(dialect, given);
  try {
    // The whole file is sampled for its types: a column whose first text stands in row 20,481 must not change its mind there.
    const [found] = await session.rows(
      `SELECT to_json(Columns) AS columns, DateFormat AS date, TimestampFormat AS timestamp, NewLineDelimiter AS line
       FROM sniff_csv(${path}, sample_size = -1${optionList(options)})`,
    );
    // What the dataset has as a text stays one, be it all digits: 00501 is no 501. A time of day has no type of ours.
    const isText = new Set(texts.map((one) => one.toLowerCase()));
    const columns = (JSON.parse(String(found?.columns)) as readonly CsvColumn[]).map(({ name: column, type }) => ({
      name: column,
      type: isText.has(column.toLowerCase()) || type === 'TIME' ? 'VARCHAR' : type,
    }));
    const formatOf = (format: Cell | undefined): string | null => (typeof format === 'string' ? format : null);
    const [date, timestamp] = [formatOf(found?.date), formatOf(found?.timestamp)];
    const reader = (typed: readonly CsvColumn[], more: Options): string =>
      `read_csv(${path}, auto_detect = false, columns = ${structOf(typed.map((column) => [column.name, column.type]))}${optionList({ ...options, ...more })})`;
    const unclear = columns.flatMap((column) => {
      const isDate = column.type === 'DATE' && given?.date_format === undefined;
      const isTime = column.type === 'TIMESTAMP' && given?.timestamp_format === undefined;
      return (isDate || isTime) && isWritten(column.name) ? [{ ...column, format: isDate ? date : timestamp }] : [];
    });
    const asTexts = columns.map((column) => ({ name: column.name, type: 'VARCHAR' }));
    await requireClearDates(session, unclear, reader(asTexts, {}), name);
    return reader(columns, {
      ...(date === null ? {} : { dateformat: quoteText(date) }),
      ...(timestamp === null ? {} : { timestampformat: quoteText(timestamp) }),
    });
  } catch (error) {
    if (error instanceof DataProblem) throw error;
    await explain(session, file, name, dialect, options);
    if (/when sniffing file/.test(String(error))) throw csvProblem(error, name, file.path, dialect.delimiter);
    throw error;
  }
}

/** Reads every row as text, which fails at the row that fits no dialect and says its line; the sniffer does not. */
async function explain(
  session: Session,
  file: ReadyFile,
  name: string,
  dialect: Dialect,
  options: Options,
): Promise<void> {
  if (file.otherLineEnd !== null)
    throw new DataProblem(
      'unreadable',
      `${name} cannot be read as csv: line ${file.otherLineEnd} ends in another way than the lines before it (LF and CR LF); end all lines alike`,
    );
  const types = structOf(dialect.names.map((_name, index) => [`c${index}`, 'VARCHAR']));
  try {
    await session.rows(
      `SELECT count(c0) AS rows FROM read_csv(${quoteText(literalPath(file.path))}, auto_detect = false, columns = ${types}${optionList(options)})`,
    );
  } catch (error) {
    // Other errors are told by whoever called, as those of the other formats are.
    if (/CSV Error/.test(String(error))) throw csvProblem(error, name, file.path, dialect.delimiter);
  }
}

export function csvProblem(error: unknown, name: string, path: string, delimiter = ','): DataProblem {
  const said = error instanceof Error ? error.message : String(error);
  // Scratch paths say nothing to whoever sent the file.
  const message = said.replaceAll(path, name);
  const { detail, examples } = toldOf(message, delimiter);
  return new DataProblem('unreadable', `${name} cannot be read as csv: ${detail}`, null, examples);
}
