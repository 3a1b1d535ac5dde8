/**
 * What is wrong with an arrival: what its dataset expects, and what is looked at unasked. One pass over the files counts all
 * that a row or a column can say by itself; repeated values, other datasets and the version before take one more each, and
 * each failure one for its examples.
 */
import { dirname } from 'node:path';
import type { CheckFailure, SourceColumn } from '../../contracts/data.ts';
import type { Expectation } from '../../contracts/documents.ts';
import { durationMs } from '../../contracts/duration.ts';
import type { CheckRequest } from '../../ports/data.ts';
import { columnFindings, columnItems, countsOf, duplicateColumns } from './column-checks.ts';
import { columnNamed, isNumeric, noColumn, percent, plural, type Question, questionOf } from './expectations.ts';
import { factsOf } from './parquet-facts.ts';
import { likeReference } from './reference-check.ts';
import { type Cell, messageOf, parquetOf, quoteName, quoteText, type Session, withSession } from './session.ts';
import { SQL_TYPES, typedRelation } from './types.ts';

const EXAMPLES = 5;
/** Of more rows, whether values repeat is found apart, in bounded memory: of 43 million ids 1.4 GiB would be taken, and more time. */
const MANY_ROWS = 10_000_000;
/** For one column, whose values spill. All columns together would not do: the pages that a reader holds of long texts do not spill. */
const MEMORY_MIB = 512;

type Finding = Omit<CheckFailure, 'severity' | 'check' | 'column'>;
type OneOf<Type extends Expectation['type']> = Extract<Expectation, { type: Type }>;

interface Arrival {
  readonly session: Session;
  readonly request: CheckRequest;
  /** Rows of the arrival. */
  readonly rows: number;
}

/** Values of a column in the rows that break a check, each with the id of one such row. */
async function examplesOf(
  session: Session,
  request: CheckRequest,
  column: string,
  violation: string,
): Promise<readonly string[]> {
  const id = request.idColumn === null ? undefined : columnNamed(request.columns, request.idColumn);
  const isId = id?.name.toLowerCase() === column.toLowerCase();
  const named = id === undefined || isId ? 'NULL' : `min(CAST(${quoteName(id.name)} AS VARCHAR))`;
  const rows = await session.rows(
    `SELECT CAST(${quoteName(column)} AS VARCHAR) AS value, ${named} AS id FROM data WHERE ${violation} GROUP BY 1 ORDER BY 1 NULLS LAST LIMIT ${EXAMPLES}`,
  );
  return rows.map(({ value, id: row }) =>
    row === null ? String(value) : `${value === null ? 'null' : value} (${id?.name} ${row})`,
  );
}

async function foreignKey(
  { session, request, rows }: Arrival,
  { column: name, dataset, references }: OneOf<'foreign_key'>,
): Promise<Finding | null> {
  const column = columnNamed(request.columns, name);
  if (!column) return { detail: noColumn(name, request.columns), examples: [] };
  const files = request.others.get(dataset);
  if (!files) return { detail: `dataset ${dataset} has no version yet to look ${name} up in`, examples: [] };
  const [described] = await session.rows(
    `SELECT column_type AS type FROM (DESCRIBE SELECT * FROM ${parquetOf(files)}) WHERE lower(column_name) = lower(${quoteText(references)})`,
  );
  if (!described) return { detail: `dataset ${dataset} has no column ${references}`, examples: [] };
  const type = isNumeric(column) && /INT|DOUBLE|FLOAT|DECIMAL/.test(String(described.type)) ? 'DOUBLE' : 'VARCHAR';
  const known = `SELECT CAST(${quoteName(references)} AS ${type}) AS value FROM ${parquetOf(files)} WHERE ${quoteName(references)} IS NOT NULL`;
  const violation = `${quoteName(name)} IS NOT NULL AND CAST(${quoteName(name)} AS ${type}) NOT IN (${known})`;
  const [found] = await session.rows(`SELECT count(*) AS count FROM data WHERE ${violation}`);
  const count = Number(found?.count ?? 0);
  if (count === 0) return null;
  return {
    detail: `${plural(count, 'value')} of ${name} ${percent(count, rows)} of the rows, are not in ${references} of dataset ${dataset}`,
    examples: await examplesOf(session, request, column.name, violation),
    ...{ count, share: count / rows },
  };
}

function freshness(arrival: Arrival, { max_age }: OneOf<'freshness'>, newestMs: Cell | undefined): Finding | null {
  const { timeColumn, arrivedAt } = arrival.request;
  if (timeColumn === null) return { detail: 'the Dataset document names no `time` to tell the age by', examples: [] };
  if (arrivedAt === null || typeof newestMs !== 'number') return null;
  const ageMs = Date.parse(arrivedAt) - newestMs;
  if (ageMs <= durationMs(max_age)) return null;
  const newest = new Date(newestMs).toISOString();
  return {
    detail: `the newest ${timeColumn} is ${newest}, ${(ageMs / 3_600_000).toFixed(1)} hours before the event arrived at ${arrivedAt}; at most ${max_age} is expected`,
    examples: [newest],
  };
}

/** Files of one query: each is a part of its text. */
const FILES_AT_ONCE = 100;

/**
 * The first partition of each value. The files are named one by one: DuckDB's own column with the name of the file fails by an internal error where the
 * data has a number called `filename`.
 */
async function partitionsOf(
  session: Session,
  kept: CheckRequest['kept'],
  { name, type }: SourceColumn,
  wanted: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const list = wanted.map(quoteText).join(', ');
  const own = `CAST(${quoteName(name)} AS ${SQL_TYPES[type]})`;
  // A file may lack the column.
  const whole = (path: string): string =>
    `(SELECT CAST(NULL AS ${SQL_TYPES[type]}) AS ${quoteName(name)} WHERE false UNION ALL BY NAME SELECT * FROM ${parquetOf([path])})`;
  for (let from = 0; from < kept.length && found.size < wanted.length; from += FILES_AT_ONCE) {
    const parts = kept
      .slice(from, from + FILES_AT_ONCE)
      .map(({ path }, index) => `SELECT CAST(${own} AS VARCHAR) AS value, ${from + index} AS file FROM ${whole(path)}`);
    for (const row of await session.rows(
      `SELECT value, min(file) AS file FROM (${parts.join(' UNION ALL ')}) WHERE value IN (${list}) GROUP BY value`,
    ))
      if (!found.has(String(row.value))) found.set(String(row.value), kept[Number(row.file)]?.partition ?? '');
  }
  return found;
}

/** Values of a column that come again, within the arrival or in a partition that stays. */
async function repeated({ session, request, rows }: Arrival, column: SourceColumn, hashed: number) {
  const findings: Finding[] = [];
  const name = quoteName(column.name);
  const [exact] =
    hashed > 0 ? await session.rows(`SELECT count(${name}) - count(DISTINCT ${name}) AS count FROM data`) : [];
  const within = Number(exact?.count ?? 0);
  if (within > 0) {
    findings.push({
      detail: `${plural(within, 'row')} repeat a value of ${column.name}, ${percent(within, rows)} of the rows`,
      examples: await examplesOf(
        session,
        request,
        column.name,
        `${name} IN (SELECT ${name} FROM data GROUP BY ${name} HAVING count(*) > 1)`,
      ),
      ...{ count: within, share: within / rows },
    });
  }
  if (request.kept.length === 0) return findings;
  const old = parquetOf(request.kept.map(({ path }) => path));
  const [present] = await session.rows(
    `SELECT count(*) AS found FROM (DESCRIBE SELECT * FROM ${old}) WHERE lower(column_name) = lower(${quoteText(column.name)})`,
  );
  // It became part of the dataset with this arrival.
  if (present?.found === 0) return findings;
  const value = `CAST(${name} AS ${SQL_TYPES[column.type]})`;
  const hits = await session.rows(
    `WITH fresh AS (SELECT DISTINCT ${name} AS value FROM data WHERE ${name} IS NOT NULL),
    hits AS (SELECT DISTINCT fresh.value FROM (SELECT ${value} AS value FROM ${old}) AS old JOIN fresh ON fresh.value = old.value)
    SELECT CAST(value AS VARCHAR) AS value, count(*) OVER () AS count FROM hits ORDER BY hits.value LIMIT ${EXAMPLES}`,
  );
  const count = Number(hits[0]?.count ?? 0);
  if (count > 0) {
    const again = hits.map((hit) => String(hit.value));
    const places = await partitionsOf(session, request.kept, column, again);
    findings.push({
      detail: `${plural(count, 'value')} of ${column.name} came before, in a partition that stays; send a correction under the name of its partition`,
      examples: again.map((one) => `${one} (in ${places.get(one) ?? 'a partition that stays'})`),
      ...{ count, share: count / rows },
    });
  }
  return findings;
}

/** All counts in one pass. Where a text of the document cannot be computed on a row, each is asked alone, to name it. */
async function ask(
  session: Session,
  items: readonly string[],
  counts: readonly string[],
): Promise<{ readonly row: Readonly<Record<string, Cell>>; readonly broken: ReadonlyMap<number, string> }> {
  const broken = new Map<number, string>();
  const select = (indexes: readonly number[], more: readonly string[]): Promise<readonly Record<string, Cell>[]> =>
    session.rows(
      `SELECT ${[...more, ...indexes.map((index) => `${counts[index]} AS c${index}`)].join(', ')} FROM data`,
    );
  const all = [...counts.keys()];
  try {
    return { row: (await select(all, items))[0] ?? {}, broken };
  } catch {
    for (const index of all) await select([index], []).catch((error: unknown) => broken.set(index, messageOf(error)));
    const [row] = await select(
      all.filter((index) => !broken.has(index)),
      items,
    );
    return { row: row ?? {}, broken };
  }
}

const isPlain = (
  expectation: Expectation,
): expectation is Exclude<Expectation, { type: 'unique' | 'like_reference' | 'freshness' | 'foreign_key' }> =>
  !['unique', 'like_reference', 'freshness', 'foreign_key'].includes(expectation.type);

const columnOf = (expectation: Expectation, question?: Question): string | null =>
  question ? question.column : 'column' in expectation ? (expectation.column ?? null) : null;

/** `unique` on the id is always expected; the document may make it a warning. */
function withId(request: CheckRequest): readonly Expectation[] {
  const { idColumn, expectations, columns } = request;
  const id = idColumn === null ? undefined : columnNamed(columns, idColumn);
  const isAsked = expectations.some(
    (one) => one.type === 'unique' && one.column.toLowerCase() === id?.name.toLowerCase(),
  );
  return id === undefined || isAsked
    ? expectations
    : [...expectations, { type: 'unique', column: id.name, severity: 'block' }];
}

/** How many values are there once more. Equal values have equal hashes; where hashes repeat, the values are counted. */
function repeatedSql(column: string): string {
  const name = quoteName(column);
  return `count(${name}) - count(DISTINCT hash(${name})) FILTER (${name} IS NOT NULL)`;
}

function repeatedApart({ files, columns }: CheckRequest, repeated: string): Promise<number> {
  const [first = ''] = files;
  return withSession({ files, memoryMiB: MEMORY_MIB, spill: dirname(first) }, async (session) => {
    const [row] = await session.rows(
      `SELECT ${repeated} AS repeated FROM ${await typedRelation(session, files, columns)}`,
    );
    return Number(row?.repeated ?? 0);
  });
}

export function checkArrival(request: CheckRequest): Promise<readonly CheckFailure[]> {
  const files = [...request.files, ...request.kept.map(({ path }) => path), ...[...request.others.values()].flat()];
  return withSession({ files }, async (session) => {
    await session.run(
      `CREATE TEMP VIEW data AS SELECT * FROM ${await typedRelation(session, request.files, request.columns)}`,
    );
    const facts = await factsOf(session, request.files);
    const failures: CheckFailure[] = [];
    const fail = (expectation: Expectation, column: string | null, finding: Finding): void => {
      failures.push({ check: expectation.type, column, severity: expectation.severity, ...finding });
    };

    const asked: { readonly expectation: Expectation; readonly question: Question }[] = [];
    const expectations = withId(request);
    for (const expectation of expectations) {
      if (expectation.type === 'unique') {
        const column = columnNamed(request.columns, expectation.column);
        const repeated = repeatedSql(expectation.column);
        const isApart = column !== undefined && facts.rows > MANY_ROWS;
        const count = isApart ? String(await repeatedApart(request, repeated)) : repeated;
        if (column)
          asked.push({ expectation, question: { count, violation: null, column: column.name, judge: () => null } });
        else
          fail(expectation, expectation.column, {
            detail: noColumn(expectation.column, request.columns),
            examples: [],
          });
      } else if (isPlain(expectation)) {
        const question = await questionOf(session, expectation, request.columns, facts);
        if (typeof question === 'string') fail(expectation, columnOf(expectation), { detail: question, examples: [] });
        else asked.push({ expectation, question });
      }
    }
    const time = request.timeColumn === null ? undefined : columnNamed(request.columns, request.timeColumn);
    const items = [
      'count(*) AS rows',
      `${time === undefined ? 'NULL' : `epoch_ms(max(${quoteName(time.name)}))`} AS newest`,
      ...columnItems(request.columns, facts),
    ];
    const { row, broken } = await ask(
      session,
      items,
      asked.map(({ question }) => question.count),
    );
    const rows = Number(row.rows ?? 0);
    const arrival: Arrival = { session, request, rows };

    for (const [index, { expectation, question }] of asked.entries()) {
      const column = columnOf(expectation, question);
      const problem = broken.get(index);
      if (problem !== undefined) {
        const name = expectation.type === 'sql' ? `${expectation.name}: ` : '';
        fail(expectation, column, { detail: `${name}it cannot be computed on this data: ${problem}`, examples: [] });
        continue;
      }
      const count = Number(row[`c${index}`] ?? 0);
      const unique = expectation.type === 'unique' ? columnNamed(request.columns, expectation.column) : undefined;
      if (unique) {
        for (const finding of await repeated(arrival, unique, count)) fail(expectation, unique.name, finding);
        continue;
      }
      const detail = question.judge(count, rows);
      if (detail === null) continue;
      const { violation } = question;
      const examples = violation && column ? await examplesOf(session, request, column, violation) : [];
      fail(expectation, column, { detail, examples, ...(violation === null ? {} : { count, share: count / rows }) });
    }
    for (const expectation of expectations) {
      if (expectation.type === 'freshness') {
        const finding = freshness(arrival, expectation, row.newest);
        if (finding) fail(expectation, request.timeColumn, finding);
      } else if (expectation.type === 'foreign_key') {
        const finding = await foreignKey(arrival, expectation);
        if (finding) fail(expectation, expectation.column, finding);
      } else if (expectation.type === 'like_reference') {
        for (const { column, ...finding } of await likeReference(session, request, expectation, rows))
          fail(expectation, column, finding);
      }
    }
    const counts = countsOf(request.columns, facts, row);
    const examples = (column: string, violation: string) => examplesOf(session, request, column, violation);
    failures.push(...(await columnFindings(request, rows, counts, examples)));
    failures.push(...(await duplicateColumns(session, request.columns, rows, counts)));
    return failures;
  });
}
