/**
 * Point-in-time joins as DuckDB's ASOF joins: one text for the snapshot, a batch, a champion's evaluation and a request. What differs is
 * only where the right side comes from: files of a dataset version, or the keyed store that was made of them.
 */
import type { ResolvedJoin, SourceColumn } from '../../contracts/data.ts';
import type { LookupSpec } from '../../domain/joins.ts';
import { lookupSpec } from '../../domain/joins.ts';
import type { JoinInput, LookupFile, LookupRequest } from '../../ports/data.ts';
import { DataProblem } from '../../ports/data.ts';
import { fittingRelation } from './fit.ts';
import { messageOf, parquetOf, quoteName, quoteText, type Session, withSession } from './session.ts';
import { sourceValue } from './source.ts';
import { isoOf } from './types.ts';

const keyName = (index: number): string => `k${index}`;
const valueName = (index: number): string => `c${index}`;
const tableName = (index: number): string => `__right_${index}`;
/** The column of the joined relation that says whether join number `index` found a row. */
export const foundName = (index: number): string => `__found_${index}`;
const milliseconds = (count: number): string => `to_microseconds(${count} * 1000::BIGINT)`;

/** How files become a relation with these columns in their types. */
type Reading = (session: Session, files: readonly string[], columns: readonly SourceColumn[]) => Promise<string>;
/** A column may have come with a later file than those in reach: then it is null. */
const fitting: Reading = (session, files, columns) => fittingRelation(session, files, columns, { known: columns });

/**
 * The right side: keys k0 …, time t, columns c0 …. Of rows with the same keys and time the last one counts, as it came last. Rows without a
 * key or a time can never match.
 */
async function rightSide(
  session: Session,
  spec: LookupSpec,
  files: readonly string[],
  relationOf: Reading = fitting,
): Promise<string> {
  const read = [...spec.keys, { name: spec.time, type: 'timestamp' as const }, ...spec.columns];
  // Columns may have come with a later file: before that they are null.
  const relation = await relationOf(session, files, [...new Map(read.map((one) => [one.name, one])).values()]);
  const keys = spec.keys.map(({ name, type }, index) => `${sourceValue(quoteName(name), type)} AS ${keyName(index)}`);
  const values = spec.columns.map(
    ({ name, type }, index) => `${sourceValue(quoteName(name), type)} AS ${valueName(index)}`,
  );
  const names = spec.keys.map((_, index) => keyName(index));
  const present = [...names, 't'].map((name) => `${name} IS NOT NULL`).join(' AND ');
  const items = [...names, 't', ...spec.columns.map((_, index) => valueName(index))].join(', ');
  const rows = `SELECT ${[...keys, `${sourceValue(quoteName(spec.time), 'timestamp')} AS t`, ...values].join(', ')}, row_number() OVER () AS __came FROM ${relation}`;
  return `SELECT ${items} FROM (${rows}) WHERE ${present} QUALIFY row_number() OVER (PARTITION BY ${[...names, 't'].join(', ')} ORDER BY __came DESC) = 1`;
}

/** Tables of the right sides, from files of the datasets. @throws DataProblem */
export async function createRightSides(
  session: Session,
  joins: readonly JoinInput[],
  relationOf: Reading = fitting,
): Promise<void> {
  for (const [index, join] of joins.entries()) {
    try {
      await session.run(
        `CREATE TEMP TABLE ${tableName(index)} AS ${await rightSide(session, lookupSpec(join), join.files, relationOf)}`,
      );
    } catch (error) {
      throw new DataProblem('join', `dataset ${join.dataset} cannot be joined: ${messageOf(error)}`);
    }
  }
}

/** The same tables from keyed stores. */
export async function createRightSidesOfLookups(session: Session, files: readonly string[]): Promise<void> {
  for (const [index, file] of files.entries())
    await session.run(`CREATE TEMP TABLE ${tableName(index)} AS SELECT * FROM ${parquetOf([file])}`);
}

/**
 * A select over `left`, whose columns are in `items` and which has `__row`: the columns, those that the joins add, and `__found_N`, in the
 * order of `__row`.
 */
export function joinText(joins: readonly ResolvedJoin[], left: string, items: readonly string[]): string {
  const added: string[] = [];
  const clauses: string[] = [];
  for (const [index, join] of joins.entries()) {
    const right = `r${index}`;
    const time = sourceValue(`l.${quoteName(join.leftTime)}`, 'timestamp');
    // The newest row may be too old; an older one then is, too.
    const fresh = `${right}.t >= ${time} - ${milliseconds(join.maxAgeMs)}`;
    join.columns.forEach(({ as }, place) => {
      added.push(`CASE WHEN ${fresh} THEN ${right}.${valueName(place)} END AS ${quoteName(as)}`);
    });
    added.push(`coalesce(${fresh}, false) AS ${foundName(index)}`);
    const equal = join.keys.map(
      ({ left: name, type }, place) => `${sourceValue(`l.${quoteName(name)}`, type)} = ${right}.${keyName(place)}`,
    );
    const known = `${time} - ${milliseconds(join.delayMs)} >= ${right}.t`;
    // Of a large right side a request needs next to nothing; without this the whole of it would be sorted for each.
    const own = join.keys.map(
      ({ left: name, type }, place) => `${sourceValue(quoteName(name), type)} AS ${keyName(place)}`,
    );
    const keys = join.keys.map((_, place) => `o.${keyName(place)} = a.${keyName(place)}`).join(' AND ');
    const wanted = `(SELECT a.* FROM ${tableName(index)} AS a SEMI JOIN (SELECT DISTINCT ${own.join(', ')} FROM ${left}) AS o ON ${keys})`;
    clauses.push(`ASOF LEFT JOIN ${wanted} AS ${right} ON ${[...equal, known].join(' AND ')}`);
  }
  const own = items.map((item) => `l.${item}`);
  return `SELECT ${[...own, ...added].join(', ')} FROM ${left} AS l ${clauses.join(' ')} ORDER BY l.__row`;
}

/**
 * Writes the keyed store of a join: of each key the newest row, and those before it that a request can reach whose time is at most `maxAge`
 * before what is newest. Sorted, so that the same version gives the same bytes.
 */
export function buildLookup({ spec, files, output }: LookupRequest): Promise<LookupFile> {
  return withSession(
    { files: [...files, output], folders: [output.slice(0, output.lastIndexOf('/'))] },
    async (session) => {
      try {
        await session.run(`CREATE TEMP TABLE known AS ${await rightSide(session, spec, files)}`);
      } catch (error) {
        throw new DataProblem('join', `dataset ${spec.dataset} cannot be joined: ${messageOf(error)}`);
      }
      const keys = spec.keys.map((_, index) => keyName(index)).join(', ');
      // By key, so that one row with a time far ahead does not push out those of all others.
      const since = `max(t) OVER (PARTITION BY ${keys}) - ${milliseconds(2 * spec.maxAgeMs + spec.delayMs)}`;
      await session.run(
        `COPY (SELECT * FROM known QUALIFY t >= ${since} ORDER BY ${keys}, t) TO ${quoteText(output)} (FORMAT parquet, COMPRESSION zstd)`,
      );
      const [row] = await session.rows(
        `SELECT count(*) AS rows, ${isoOf('max(t)')} AS newest FROM ${parquetOf([output])}`,
      );
      return { rows: Number(row?.rows ?? 0), maxTime: typeof row?.newest === 'string' ? row.newest : null };
    },
  );
}
