/** Rows taken out of Parquet files by their id. The rest keeps its order and its types. */
import { dirname } from 'node:path';
import type { ErasedRows, ErasureRequest } from '../../ports/data.ts';
import { parquetOf, quoteName, quoteText, type Session, withSession } from './session.ts';
import { isoOf } from './types.ts';

async function loadIds(session: Session, ids: readonly string[]): Promise<void> {
  await session.run('CREATE TEMP TABLE erased (id VARCHAR PRIMARY KEY)');
  for (let at = 0; at < ids.length; at += 1_000) {
    const values = ids.slice(at, at + 1_000).map((id) => `(${quoteText(id)})`);
    await session.run(`INSERT INTO erased VALUES ${values.join(', ')} ON CONFLICT DO NOTHING`);
  }
}

export function withoutIds({
  path,
  ids,
  column,
  idsFrom,
  models,
  timeColumn,
  output,
}: ErasureRequest): Promise<ErasedRows | null> {
  const files = [path, ...(idsFrom === undefined ? [] : [idsFrom])];
  return withSession({ files: [...files, output], folders: [dirname(output)] }, async (session) => {
    const described = await session.rows(`DESCRIBE SELECT * FROM ${parquetOf([idsFrom ?? path])}`);
    if (!described.some((row) => row.column_name === column)) return null;
    await loadIds(session, ids);
    const source =
      idsFrom === undefined
        ? `SELECT *, CAST(${quoteName(column)} AS VARCHAR) AS __erase FROM ${parquetOf([path])}`
        : `SELECT own.*, keys.__erase FROM ${parquetOf([path])} AS own POSITIONAL JOIN
           (SELECT CAST(${quoteName(column)} AS VARCHAR) AS __erase FROM ${parquetOf([idsFrom])}) AS keys`;
    const ofModels = models === undefined ? '' : ` AND model IN (${models.map(quoteText).join(', ')})`;
    const gone = `coalesce(__erase IN (SELECT id FROM erased)${ofModels}, false)`;
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
