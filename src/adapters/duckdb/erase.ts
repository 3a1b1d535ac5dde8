/** Rows found by their id in Parquet files, and taken out of them. The rest keeps its order and its types. */
import { dirname } from 'node:path';
import { sameName } from '../../domain/texts.ts';
import type { ErasedRows, ErasureRequest, FindIdsRequest, FoundIds } from '../../ports/data.ts';
import { literalPath, parquetOf, quoteName, quoteText, type Session, withSession } from './session.ts';
import { isoOf } from './types.ts';

/** In one session: opening one costs more than looking through a small file. */
const FILES_AT_ONCE = 500;

async function loadIds(session: Session, ids: readonly string[]): Promise<void> {
  await session.run('CREATE TEMP TABLE erased (id VARCHAR PRIMARY KEY)');
  for (let at = 0; at < ids.length; at += 1_000) {
    const values = ids.slice(at, at + 1_000).map((id) => `(${quoteText(id)})`);
    await session.run(`INSERT INTO erased VALUES ${values.join(', ')} ON CONFLICT DO NOTHING`);
  }
}

const ofModels = (models: readonly string[] | undefined): string =>
  models === undefined ? '' : ` AND model IN (${models.map(quoteText).join(', ')})`;

/** A name that none of the columns has. */
function freeName(taken: readonly string[]): string {
  const names = new Set(taken.map((name) => name.toLowerCase()));
  let name = '__file';
  while (names.has(name)) name = `_${name}`;
  return name;
}

/** Files by the type of their column: read together, whole numbers would become doubles, whose texts are others. */
async function filesByType(
  session: Session,
  { paths, column }: FindIdsRequest,
): Promise<{ readonly groups: readonly (readonly string[])[]; readonly names: readonly string[] }> {
  const list = paths.map((path) => quoteText(literalPath(path))).join(', ');
  const described = await session.rows(
    `SELECT file_name, name, concat_ws(' ', type, converted_type, logical_type) AS type FROM parquet_schema([${list}])`,
  );
  const groups = new Map<string, string[]>();
  for (const { file_name, name, type } of described)
    if (sameName(String(name), column))
      groups.set(String(type), [...(groups.get(String(type)) ?? []), String(file_name)]);
  return { groups: [...groups.values()], names: described.map(({ name }) => String(name)) };
}

async function findInPage(request: FindIdsRequest): Promise<FoundIds> {
  const { paths, ids, column, models } = request;
  return withSession({ files: paths }, async (session) => {
    const { groups, names } = await filesByType(session, request);
    await loadIds(session, ids);
    const found: string[] = [];
    const file = freeName(names);
    for (const group of groups) {
      const source = parquetOf(group).replace(/\)$/, `, filename = ${quoteText(file)})`);
      const rows = await session.rows(
        `SELECT DISTINCT ${file} AS path FROM ${source} WHERE CAST(${quoteName(column)} AS VARCHAR) IN (SELECT id FROM erased)${ofModels(models)}`,
      );
      found.push(...rows.map(({ path }) => String(path)));
    }
    const having = new Set(groups.flat());
    return { found, lacking: paths.filter((path) => !having.has(path)) };
  });
}

export async function findIds(request: FindIdsRequest): Promise<FoundIds> {
  const pages: FoundIds[] = [];
  for (let at = 0; at < request.paths.length; at += FILES_AT_ONCE)
    pages.push(await findInPage({ ...request, paths: request.paths.slice(at, at + FILES_AT_ONCE) }));
  return { found: pages.flatMap(({ found }) => found), lacking: pages.flatMap(({ lacking }) => lacking) };
}

async function rowsOf(session: Session, path: string): Promise<number> {
  const [row] = await session.rows(`SELECT count(*) AS rows FROM ${parquetOf([path])}`);
  return Number(row?.rows ?? 0);
}

export function withoutIds({
  path,
  ids,
  column,
  idsFrom,
  models,
  timeColumn,
  output,
}: ErasureRequest): Promise<ErasedRows | null | 'unaligned'> {
  const files = [path, ...(idsFrom === undefined ? [] : [idsFrom])];
  return withSession({ files: [...files, output], folders: [dirname(output)] }, async (session) => {
    const described = await session.rows(`DESCRIBE SELECT * FROM ${parquetOf([idsFrom ?? path])}`);
    // As everywhere else, upper and lower case are the same, in names that come from a document and in those of files.
    if (!described.some((row) => sameName(String(row.column_name), column))) return null;
    if (idsFrom !== undefined && (await rowsOf(session, path)) !== (await rowsOf(session, idsFrom))) return 'unaligned';
    await loadIds(session, ids);
    const source =
      idsFrom === undefined
        ? `SELECT *, CAST(${quoteName(column)} AS VARCHAR) AS __erase FROM ${parquetOf([path])}`
        : `SELECT own.*, keys.__erase FROM ${parquetOf([path])} AS own POSITIONAL JOIN
           (SELECT CAST(${quoteName(column)} AS VARCHAR) AS __erase FROM ${parquetOf([idsFrom])}) AS keys`;
    const gone = `coalesce(__erase IN (SELECT id FROM erased)${ofModels(models)}, false)`;
    const [found] = await session.rows(`SELECT count(*) FILTER (${gone}) AS removed FROM (${source})`);
    const removed = Number(found?.removed ?? 0);
    if (removed === 0) return null;
    await session.run(
      `COPY (SELECT * EXCLUDE (__erase) FROM (${source}) WHERE NOT ${gone}) TO ${quoteText(output)} (FORMAT parquet, COMPRESSION zstd)`,
    );
    const time = timeColumn === null ? 'NULL::TIMESTAMP' : quoteName(timeColumn);
    const [left] = await session.rows(
      `SELECT rows, ${isoOf('low')} AS low, ${isoOf('high')} AS high FROM ` +
        `(SELECT count(*) AS rows, min(${time}) AS low, max(${time}) AS high FROM ${parquetOf([output])})`,
    );
    const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);
    return { removed, rows: Number(left?.rows ?? 0), minTime: textOf(left?.low), maxTime: textOf(left?.high) };
  });
}
