/** Rows of the prediction log, with their source columns back in their types. */
import type { ColumnType } from '../../contracts/values.ts';
import type { DriftRequest } from '../../ports/data.ts';
import { parquetOf, quoteName, quoteText, type Session } from './session.ts';
import { castText } from './types.ts';

/** How a value stands in the log's JSON. */
const JSON_TYPES: Readonly<Record<ColumnType, string>> = {
  float64: 'DOUBLE',
  int64: 'BIGINT',
  string: 'VARCHAR',
  bool: 'BOOLEAN',
  timestamp: 'VARCHAR',
};

export type LogRequest = Pick<DriftRequest, 'files' | 'model' | 'version' | 'windowStart' | 'windowEnd' | 'source'>;

/** Table `log`: answers of this version in the window, those that `sample` leaves (the end of its WHERE, over the log's own columns); how many they are. */
export async function readLog(session: Session, request: LogRequest, sample = ''): Promise<number> {
  const shape = JSON.stringify(Object.fromEntries(request.source.map(({ name, type }) => [name, JSON_TYPES[type]])));
  const fields = request.source.map(
    ({ name, type }) => `${castText(`struct_extract(parsed, ${quoteText(name)})`, type)} AS ${quoteName(name)}`,
  );
  await session.run(`
    CREATE TEMP TABLE log AS SELECT __id, __output, ${fields.join(', ')} FROM (
      SELECT id AS __id, output AS __output, json_transform(CAST(source AS JSON), ${quoteText(shape)}) AS parsed
      FROM ${parquetOf(request.files)}
      WHERE model = ${quoteText(request.model)} AND version = ${request.version} AND role IN ('champion', 'canary') AND error IS NULL
        AND CAST(time AS TIMESTAMP) >= CAST(${quoteText(request.windowStart)} AS TIMESTAMP)
        AND CAST(time AS TIMESTAMP) < CAST(${quoteText(request.windowEnd)} AS TIMESTAMP)
        ${sample}
    )`);
  const [row] = await session.rows('SELECT count(*) AS rows FROM log');
  return Number(row?.rows ?? 0);
}
