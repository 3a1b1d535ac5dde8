/** CSV as DuckDB reads it: the dialect is settled first, the types are those that every value of the file has. */
import type { CsvDialect } from '../../../contracts/documents.ts';
import { DataProblem } from '../../../ports/data.ts';
import { literalPath, messageOf, quoteText, type Session } from '../session.ts';
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

/** A table function that reads exactly this file. @throws DataProblem */
export async function csvReader(
  session: Session,
  file: ReadyFile,
  name: string,
  given: CsvDialect | undefined,
  texts: readonly string[] = [],
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
    const columns = JSON.parse(String(found?.columns)) as readonly { readonly name: string; readonly type: string }[];
    const formats: Options = {
      ...(typeof found?.date === 'string' ? { dateformat: quoteText(found.date) } : {}),
      ...(typeof found?.timestamp === 'string' ? { timestampformat: quoteText(found.timestamp) } : {}),
    };
    // What the dataset has as a text stays one, be it all digits: 00501 is no 501.
    const isText = new Set(texts.map((one) => one.toLowerCase()));
    const types = structOf(
      columns.map((column) => [column.name, isText.has(column.name.toLowerCase()) ? 'VARCHAR' : column.type]),
    );
    return `read_csv(${path}, auto_detect = false, columns = ${types}${optionList({ ...options, ...formats })})`;
  } catch (error) {
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
