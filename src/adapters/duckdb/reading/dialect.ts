/**
 * The dialect of a CSV file, told from its first lines. DuckDB's own detection prefers a dialect in which every row fits, so that one broken
 * row turns a table into a single column of text; here the header decides, and a row that does not fit is then an error with its line.
 */
import type { CsvDialect } from '../../../contracts/documents.ts';

export interface Dialect {
  readonly delimiter: string;
  /** Empty: fields are never quoted. */
  readonly quote: string;
  readonly escape: string;
  /** Names in the header, trimmed; those of the first record where there is no header. */
  readonly names: readonly string[];
}

const DELIMITERS = [',', ';', '\t', '|'] as const;
const SAMPLE_RECORDS = 200;

interface Marks {
  readonly delimiter: string;
  readonly quote: string;
  readonly escape: string;
}

/** Records of a text as fields, at most SAMPLE_RECORDS. A quote counts where a field begins, as in RFC 4180. */
function recordsOf(text: string, { delimiter, quote, escape: before }: Marks, isWhole: boolean): string[][] {
  const records: string[][] = [];
  let record: string[] = [];
  let field = '';
  let isQuoted = false;
  let atStart = true;
  const endField = (): void => {
    record.push(field);
    field = '';
    atStart = true;
  };
  const endRecord = (): void => {
    endField();
    if (record.length > 1 || record[0] !== '') records.push(record);
    record = [];
  };
  for (let at = 0; at < text.length && records.length < SAMPLE_RECORDS; at += 1) {
    const char = text.charAt(at);
    if (isQuoted) {
      if (char === before && text.charAt(at + 1) === quote) {
        field += quote;
        at += 1;
      } else if (char === quote) isQuoted = false;
      else field += char;
    } else if (quote !== '' && atStart && char === quote) {
      isQuoted = true;
      atStart = false;
    } else if (text.startsWith(delimiter, at)) {
      endField();
      at += delimiter.length - 1;
    } else if (char === '\n' || char === '\r') {
      if (char === '\r' && text.charAt(at + 1) === '\n') at += 1;
      endRecord();
    } else {
      field += char;
      atStart = false;
    }
  }
  if (isWhole && records.length < SAMPLE_RECORDS && (field !== '' || record.length > 0)) endRecord();
  return records;
}

function withoutSkipped(sample: string, given: CsvDialect | undefined): string {
  let text = sample;
  for (let left = given?.skip ?? 0; left > 0; left -= 1) text = text.replace(/^[^\r\n]*(\r\n|\n|\r|$)/, '');
  const comment = given?.comment;
  if (comment === undefined) return text;
  return text
    .split(/(?<=\n)/)
    .filter((line) => !line.startsWith(comment))
    .join('');
}

/** How well a delimiter explains the records: all of as many fields as the header first, then the most fields. */
function fitOf(records: readonly string[][]): number {
  const width = records[0]?.length ?? 1;
  if (width < 2) return 0;
  const alike = records.filter((record) => record.length === width).length;
  return alike / records.length + (alike === records.length ? 1 : 0) + width / 100_000;
}

function quoteOf(text: string): string {
  if (text.includes('"')) return '"';
  // Every line has a field in single quotes: they are no apostrophes.
  const lines = text.split(/\r\n|\n|\r/).filter((line) => line !== '');
  const wrapped = /(^|[,;\t|])'[^']*'($|[,;\t|])/;
  return lines.length > 1 && lines.every((line) => wrapped.test(line)) ? "'" : '"';
}

/** Quotes stand behind a backslash, and none is doubled inside of a field; an empty field is two quotes as well. */
function usesBackslash(text: string, quote: string): boolean {
  const escaped = `\\${quote}`;
  if (!text.includes(escaped)) return false;
  const double = quote + quote;
  return !new RegExp(`[^,;\\t|\\r\\n]${double}|${double}[^,;\\t|\\r\\n]`).test(text.replaceAll(escaped, ''));
}

export function detectDialect(sample: string, isWhole: boolean, given: CsvDialect | undefined): Dialect {
  const text = withoutSkipped(sample, given);
  const quote = given?.quote ?? quoteOf(text);
  const isBackslashed = quote !== '' && usesBackslash(text, quote);
  const before = given?.escape ?? (isBackslashed ? '\\' : quote);
  const marks = (delimiter: string): Marks => ({ delimiter, quote, escape: before });
  let delimiter = given?.delimiter;
  if (delimiter === undefined) {
    // A comma that is the decimal separator separates no fields, unless nothing else does.
    const candidates = DELIMITERS.filter((one) => one !== given?.decimal);
    let best = 0;
    for (const one of candidates) {
      const fit = fitOf(recordsOf(text, marks(one), isWhole));
      if (fit > best) {
        best = fit;
        delimiter = one;
      }
    }
  }
  const chosen = delimiter ?? ',';
  const [first = []] = recordsOf(text, marks(chosen), true);
  return { delimiter: chosen, quote, escape: before, names: first.map((name) => name.trim()) };
}
