/** Features of whole files, as a snapshot and a request have them. Rows keep the order of the files. */
import { dirname } from 'node:path';
import { requestColumns } from '../../domain/joins.ts';
import { DataProblem, type FeaturesRequest } from '../../ports/data.ts';
import { modelFeaturesFrom } from './features.ts';
import { fittingRelation } from './fit.ts';
import { createRightSides, joinText } from './joins.ts';
import { messageOf, quoteText, withSession } from './session.ts';
import { sourceItems } from './source.ts';
import { relationOf } from './sql-text.ts';

export async function computeFeatures(request: FeaturesRequest): Promise<{ readonly rows: number }> {
  const { files, featuresSql, source, features, idColumn, timeColumn, output } = request;
  const id = idColumn === null ? 'NULL::VARCHAR' : 'CAST(__id AS VARCHAR)';
  const time = timeColumn === null ? 'NULL::TIMESTAMP' : '__time';
  const joins = request.joins ?? [];
  const own = requestColumns(source, joins);
  const named = { __id: idColumn, __time: timeColumn };
  const { columns: known = [] } = request;
  const read = [...files, ...joins.flatMap((join) => join.files)];
  return withSession({ files: [...read, output], folders: [dirname(output)] }, async (session) => {
    await session.run(
      `CREATE TEMP TABLE kept AS SELECT ${sourceItems(own)}, ${id} AS __id, ${time} AS __time, row_number() OVER () - 1 AS __row FROM ${await fittingRelation(session, files, own, { known, named })}`,
    );
    await createRightSides(session, joins);
    if (joins.length > 0) {
      await session.run(`CREATE TEMP TABLE wider AS ${joinText(joins, 'kept', ['*'])}`);
      await session.run('DROP TABLE kept; ALTER TABLE wider RENAME TO kept');
    }
    await session.run(`CREATE TEMP VIEW source AS SELECT ${sourceItems(source)} FROM kept`);
    try {
      await session.run(`CREATE TEMP TABLE features AS ${modelFeaturesFrom(features, relationOf(featuresSql))}`);
    } catch (error) {
      throw new DataProblem('features', `features cannot be computed on this data: ${messageOf(error)}`);
    }
    // Both tables have one row for each row of the files, in their order.
    await session.run(
      `COPY (SELECT kept.__id, kept.__time, features.* FROM kept POSITIONAL JOIN features) TO ${quoteText(output)} (FORMAT parquet, COMPRESSION zstd)`,
    );
    const [row] = await session.rows('SELECT count(*) AS rows FROM kept');
    return { rows: Number(row?.rows ?? 0) };
  });
}
