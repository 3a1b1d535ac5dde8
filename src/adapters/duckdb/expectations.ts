/** What a Dataset document expects of each value or row, as SQL: a count of what breaks it, and where examples are found. */
import type { SourceColumn } from '../../contracts/data.ts';
import type { Expectation } from '../../contracts/documents.ts';
import { sameName } from '../../domain/texts.ts';
import { columnsOfExpression } from './features.ts';
import type { ColumnFacts, FileFacts } from './parquet-facts.ts';
import { messageOf, quoteName, quoteText, type Session } from './session.ts';

/** Asked in one pass together with all others. */
export interface Question {
  /** Aggregate over `data` that counts what breaks it. */
  readonly count: string;
  /** Condition on a row that breaks it; null where rows are not the matter. */
  readonly violation: string | null;
  /** Whose values are shown as examples. */
  readonly column: string | null;
  /** Null where nothing is wrong. */
  readonly judge: (count: number, rows: number) => string | null;
}

/** Those of which a single pass over the arrival tells all. */
type Plain = Exclude<Expectation, { type: 'unique' | 'like_reference' | 'freshness' | 'foreign_key' }>;

export const plural = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`;
/** A share as people read it, that is not 0 where there is one. */
export const percent = (part: number, whole: number): string => {
  const share = (100 * part) / Math.max(1, whole);
  return `${share > 0 && share < 0.01 ? '< 0.01' : share.toFixed(2)} %`;
};
/** Upper and lower case are the same, as in SQL. */
export const columnNamed = (columns: readonly SourceColumn[], name: string): SourceColumn | undefined =>
  columns.find((column) => sameName(column.name, name));
export const noColumn = (name: string, columns: readonly SourceColumn[]): string =>
  `there is no column ${name}; the dataset has ${columns.map((column) => column.name).join(', ')}`;
export const isNumeric = (column: SourceColumn): boolean => column.type === 'float64' || column.type === 'int64';

function valueList(column: SourceColumn, values: readonly (string | number)[]): string {
  if (!isNumeric(column)) return values.map((value) => quoteText(String(value))).join(', ');
  // A text that is no number cannot equal one.
  const numbers = values.map(Number).filter((value) => Number.isFinite(value));
  return numbers.length === 0 ? 'NULL' : numbers.join(', ');
}

type Bound = number | string;

function betweenQuestion(
  { column, min, max }: Extract<Expectation, { type: 'between' }>,
  { type }: SourceColumn,
  facts: ColumnFacts | undefined,
): Question | string {
  const name = quoteName(column);
  const isTime = type === 'timestamp';
  const wrong = [min, max].find((bound) => bound !== undefined && (typeof bound === 'string') !== isTime);
  if (!isTime && type !== 'float64' && type !== 'int64')
    return `${column} is ${type}; \`between\` needs a number or a time`;
  if (wrong !== undefined)
    return `${column} is ${type}; ${wrong} is no ${isTime ? 'time such as 2013-07-04' : 'number'} to compare it with`;
  const literal = (bound: Bound): string =>
    isTime ? `CAST(CAST(${quoteText(String(bound))} AS TIMESTAMPTZ) AS TIMESTAMP)` : String(bound);
  const outside: string[] = [];
  if (min !== undefined) outside.push(`${name} < ${literal(min)}`);
  if (max !== undefined) outside.push(`${name} > ${literal(max)}`);
  // NaN is greater than all numbers in SQL, and inside no range.
  if (type === 'float64' && outside.length > 0) outside.push(`isnan(${name})`);
  const violation = outside.length === 0 ? 'false' : `(${outside.join(' OR ')})`;
  const question = counted(column, violation, `outside ${min ?? '-∞'} to ${max ?? '∞'}`);
  return isInside(facts, min, max) ? { ...question, count: '0' } : question;
}

/** Whether the footers prove that all values lie in the range; a chunk with NaN proves nothing. */
const isInside = (facts: ColumnFacts | undefined, min: Bound | undefined, max: Bound | undefined): boolean =>
  facts?.range != null &&
  !(facts.range.low < Number(min ?? -Infinity)) &&
  !(facts.range.high > Number(max ?? Infinity));

/** A violation of a text, counted over its distinct values where these are few. */
const ofValues = (name: string, question: Question, facts: ColumnFacts | undefined): Question =>
  facts?.isDictionary && question.violation !== null
    ? {
        ...question,
        count: `(SELECT coalesce(CAST(sum(__n) AS BIGINT), 0) FROM (SELECT ${name}, count(*) AS __n FROM data GROUP BY ${name}) WHERE ${question.violation})`,
      }
    : question;

function counted(column: string, violation: string, what: string): Question {
  return {
    ...{ count: `count(*) FILTER (${violation})`, violation, column },
    judge: (count, rows) =>
      count === 0 ? null : `${plural(count, 'value')} of ${column} ${what}, ${percent(count, rows)} of the rows`,
  };
}

function rowsQuestion(expectation: Extract<Expectation, { type: 'rows' }>): Question {
  return {
    ...{ count: 'count(*)', violation: null, column: null },
    judge: (_count, rows) => {
      if (expectation.min !== undefined && rows < expectation.min)
        return `${plural(rows, 'row')}, at least ${expectation.min} are expected`;
      if (expectation.max !== undefined && rows > expectation.max)
        return `${plural(rows, 'row')}, at most ${expectation.max} are expected`;
      return null;
    },
  };
}

async function patternProblem(session: Session, pattern: string): Promise<string | null> {
  try {
    await session.rows(`SELECT regexp_matches('', ${quoteText(pattern)})`);
    return null;
  } catch (error) {
    return `the pattern ${pattern} cannot be read: ${messageOf(error)}`;
  }
}

/** Under the tree rules of `label.sql`, so that nothing but the row is read. */
async function sqlQuestion(
  session: Session,
  { name, sql }: Extract<Expectation, { type: 'sql' }>,
  columns: readonly SourceColumn[],
): Promise<Question | string> {
  try {
    const read = await columnsOfExpression(sql, columns);
    const [described] = await session.rows(`DESCRIBE SELECT (\n${sql}\n) AS met FROM data`);
    if (described?.column_type !== 'BOOLEAN')
      return `${name} is ${String(described?.column_type)}; a condition is true, false or null`;
    const violation = `NOT coalesce((\n${sql}\n), true)`;
    return {
      ...{ count: `count(*) FILTER (${violation})`, violation, column: read[0] ?? null },
      judge: (count, rows) =>
        count === 0 ? null : `${name}: ${plural(count, 'row')} (${percent(count, rows)}) break ${sql}`,
    };
  } catch (error) {
    return `${name}: ${messageOf(error).replace(/^label\.sql /, '')}`;
  }
}

/** The question, or why it cannot be asked. `matches` looks anywhere in the text; null passes everything but not_null and null_share. */
export async function questionOf(
  session: Session,
  expectation: Plain,
  columns: readonly SourceColumn[],
  { rows, columns: known }: FileFacts,
): Promise<Question | string> {
  if (expectation.type === 'rows') return rowsQuestion(expectation);
  if (expectation.type === 'sql') return sqlQuestion(session, expectation, columns);
  const column = columnNamed(columns, expectation.column);
  if (!column) return noColumn(expectation.column, columns);
  const name = quoteName(column.name);
  const facts = known.get(column.name.toLowerCase());
  const nulls = facts ? String(rows - facts.known) : `count(*) FILTER (${name} IS NULL)`;
  switch (expectation.type) {
    case 'not_null':
      return { ...counted(column.name, `${name} IS NULL`, 'null'), count: nulls };
    case 'null_share':
      return {
        ...{ count: nulls, violation: null, column: column.name },
        judge: (count, all) =>
          all === 0 || count / all <= expectation.max
            ? null
            : `${(count / all).toFixed(4)} of ${column.name} is null, at most ${expectation.max} is expected`,
      };
    case 'between':
      return betweenQuestion(expectation, column, facts);
    case 'in': {
      const text = isNumeric(column) ? name : `CAST(${name} AS VARCHAR)`;
      const question = counted(
        column.name,
        `${name} IS NOT NULL AND NOT coalesce(${text} IN (${valueList(column, expectation.values)}), false)`,
        `not among ${expectation.values.join(', ')}`,
      );
      return ofValues(name, question, facts);
    }
    case 'matches': {
      if (column.type !== 'string') return `${column.name} is ${column.type}; \`matches\` needs a text`;
      const invalid = await patternProblem(session, expectation.pattern);
      const violation = `NOT regexp_matches(${name}, ${quoteText(expectation.pattern)})`;
      return invalid ?? ofValues(name, counted(column.name, violation, `do not match ${expectation.pattern}`), facts);
    }
  }
}
