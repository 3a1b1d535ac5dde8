/** A dataset's expectations over all of its files together: one pass for all counts, and one more for examples of what failed. */
import type { CheckFailure, SourceColumn } from '../../contracts/data.ts';
import type { Expectation } from '../../contracts/documents.ts';
import { columnsOf } from './convert.ts';
import { messageOf, parquetOf, quoteName, quoteText, type Session, withSession } from './session.ts';

const EXAMPLES = 5;

/** How one expectation is asked: a count of what breaks it, and where examples are found. */
interface Question {
  /** Aggregate that counts violations (for `rows`: the rows). */
  readonly count: string;
  /** Rows that break it; null where rows are not the matter. */
  readonly violation: string | null;
  readonly judge: (count: number, rows: number) => string | null;
}

const plural = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`;
const isNumeric = (column: SourceColumn): boolean => column.type === 'float64' || column.type === 'int64';

function valueList(column: SourceColumn, values: readonly (string | number)[]): string {
  if (!isNumeric(column)) return values.map((value) => quoteText(String(value))).join(', ');
  // A text that is no number cannot equal one.
  const numbers = values.map(Number).filter((value) => Number.isFinite(value));
  return numbers.length === 0 ? 'NULL' : numbers.join(', ');
}

function betweenQuestion(expectation: Extract<Expectation, { type: 'between' }>, name: string): Question {
  const outside: string[] = [];
  if (expectation.min !== undefined) outside.push(`${name} < ${expectation.min}`);
  // NaN is greater than all numbers in SQL, and inside no range.
  if (expectation.max !== undefined) outside.push(`${name} > ${expectation.max}`);
  const violation = outside.length === 0 ? 'false' : `(${outside.join(' OR ')} OR isnan(CAST(${name} AS DOUBLE)))`;
  const range = `${expectation.min ?? '-∞'} to ${expectation.max ?? '∞'}`;
  return {
    count: `count(*) FILTER (${violation})`,
    violation,
    judge: (count) => (count === 0 ? null : `${plural(count, 'value')} of ${expectation.column} outside ${range}`),
  };
}

function questionOf(expectation: Exclude<Expectation, { type: 'rows' }>, column: SourceColumn): Question | string {
  const name = quoteName(column.name);
  const text = isNumeric(column) ? name : `CAST(${name} AS VARCHAR)`;
  const counted = (violation: string, what: string): Question => ({
    count: `count(*) FILTER (${violation})`,
    violation,
    judge: (count) => (count === 0 ? null : `${plural(count, 'value')} of ${column.name} ${what}`),
  });
  switch (expectation.type) {
    case 'unique':
      return {
        count: `count(${name}) - count(DISTINCT ${name})`,
        violation: `${name} IN (SELECT ${name} FROM data GROUP BY ${name} HAVING count(*) > 1)`,
        judge: (count) => (count === 0 ? null : `${plural(count, 'row')} repeat a value of ${column.name}`),
      };
    case 'not_null':
      return counted(`${name} IS NULL`, 'null');
    case 'null_share':
      return {
        count: `count(*) FILTER (${name} IS NULL)`,
        violation: null,
        judge: (count, rows) =>
          rows === 0 || count / rows <= expectation.max
            ? null
            : `${(count / rows).toFixed(4)} of ${column.name} is null, at most ${expectation.max} is expected`,
      };
    case 'between':
      return isNumeric(column)
        ? betweenQuestion(expectation, name)
        : `${column.name} is ${column.type}; \`between\` needs a number`;
    case 'in':
      return counted(
        `${name} IS NOT NULL AND NOT coalesce(${text} IN (${valueList(column, expectation.values)}), false)`,
        `not among ${expectation.values.join(', ')}`,
      );
    case 'matches':
      if (column.type !== 'string') return `${column.name} is ${column.type}; \`matches\` needs a text`;
      return counted(
        `NOT regexp_matches(${name}, ${quoteText(expectation.pattern)})`,
        `do not match ${expectation.pattern}`,
      );
  }
}

function rowsQuestion(expectation: Extract<Expectation, { type: 'rows' }>): Question {
  return {
    count: 'count(*)',
    violation: null,
    judge: (_count, rows) => {
      if (expectation.min !== undefined && rows < expectation.min)
        return `${plural(rows, 'row')}, at least ${expectation.min} are expected`;
      if (expectation.max !== undefined && rows > expectation.max)
        return `${plural(rows, 'row')}, at most ${expectation.max} are expected`;
      return null;
    },
  };
}

async function examplesOf(session: Session, question: Question, column: string | null): Promise<readonly string[]> {
  if (question.violation === null || column === null) return [];
  const rows = await session.rows(
    `SELECT DISTINCT CAST(${quoteName(column)} AS VARCHAR) AS value FROM data WHERE ${question.violation} ORDER BY value NULLS LAST LIMIT ${EXAMPLES}`,
  );
  return rows.map((row) => String(row.value));
}

const columnOf = (expectation: Expectation): string | null => (expectation.type === 'rows' ? null : expectation.column);

/** `matches` looks anywhere in the text: anchor it with ^ and $. Null passes everything but not_null and null_share. */
export async function checkExpectations(
  files: readonly string[],
  expectations: readonly Expectation[],
): Promise<readonly CheckFailure[]> {
  const [first] = files;
  if (expectations.length === 0 || first === undefined) return [];
  const columns = await columnsOf(first);
  return withSession({ files }, async (session) => {
    await session.run(`CREATE TEMP VIEW data AS SELECT * FROM ${parquetOf(files)}`);
    const failures: CheckFailure[] = [];
    const fail = (expectation: Expectation, detail: string, examples: readonly string[] = []): void => {
      failures.push({
        check: expectation.type,
        column: columnOf(expectation),
        severity: expectation.severity,
        detail,
        examples,
      });
    };
    const asked: { readonly expectation: Expectation; readonly question: Question }[] = [];
    for (const expectation of expectations) {
      if (expectation.type === 'rows') {
        asked.push({ expectation, question: rowsQuestion(expectation) });
        continue;
      }
      const column = columns.find(({ name }) => name === expectation.column);
      const question =
        column === undefined ? `there is no column ${expectation.column}` : questionOf(expectation, column);
      if (typeof question === 'string') fail(expectation, question);
      else if (expectation.type === 'matches') {
        const invalid = await patternProblem(session, expectation.pattern);
        if (invalid === null) asked.push({ expectation, question });
        else fail(expectation, invalid);
      } else asked.push({ expectation, question });
    }
    const counts = asked.map(({ question }, index) => `${question.count} AS c${index}`);
    const [row] = await session.rows(
      `SELECT count(*) AS rows${counts.map((count) => `, ${count}`).join('')} FROM data`,
    );
    for (const [index, { expectation, question }] of asked.entries()) {
      const detail = question.judge(Number(row?.[`c${index}`] ?? 0), Number(row?.rows ?? 0));
      if (detail !== null) fail(expectation, detail, await examplesOf(session, question, columnOf(expectation)));
    }
    return failures;
  });
}

async function patternProblem(session: Session, pattern: string): Promise<string | null> {
  try {
    await session.rows(`SELECT regexp_matches('', ${quoteText(pattern)})`);
    return null;
  } catch (error) {
    return `the pattern ${pattern} cannot be read: ${messageOf(error)}`;
  }
}
