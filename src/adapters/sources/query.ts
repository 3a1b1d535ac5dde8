/**
 * A table or a query of Postgres as a file of data: JSON Lines with the types that Postgres has. The query stands in the Dataset document, never in
 * an event; of the event there is only its partition, as a parameter. The address stands in a variable of the worker, and is shown nowhere.
 */

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import type { SourceColumn } from '../../contracts/data.ts';
import type { DatasetQuery } from '../../contracts/documents.ts';
import type { ColumnType } from '../../contracts/values.ts';
import { DataProblem } from '../../ports/data.ts';
import { fileSink } from '../file-sink.ts';

const FETCH_ROWS = 2_000;
const CONNECT_MS = 15_000;
const STATEMENT_MS = 1_800_000;

/** By the number of Postgres's type. Whatever else is a plain value becomes its text. */
const TYPES: Readonly<Record<number, ColumnType>> = {
  ...{ 16: 'bool', 20: 'int64', 21: 'int64', 23: 'int64', 26: 'int64' },
  ...{ 700: 'float64', 701: 'float64', 1700: 'float64' },
  ...{ 1082: 'timestamp', 1114: 'timestamp', 1184: 'timestamp' },
};
/** json, jsonb, bytea, xml, composite and array types have no column type. */
const NESTED = new Set([17, 114, 142, 2249, 3802]);
const isArray = (type: number): boolean => ARRAYS.has(type);
const ARRAYS = new Set([1000, 1001, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1115, 1182, 1185, 1231, 2951]);

/** SQLSTATE classes of outages: connection, resources, shutdown, conflicts, and who may connect. */
const OUTAGE = /^(?:08|28|40|53|55|57P|58)/;

export interface QuerySource {
  readonly columns: readonly SourceColumn[];
}

function urlOf(query: DatasetQuery, environment: NodeJS.ProcessEnv): string {
  const name = query.url.slice(2, -1);
  const url = environment[name];
  // An outage, not a fault of the data: the arrival waits until the worker has it.
  if (url === undefined || url === '')
    throw new Error(`query ${query.name} needs the variable ${name}, which this worker does not have`);
  if (!/^postgres(ql)?:\/\//.test(url)) throw new Error(`${name} must be postgres://USER:PASSWORD@HOST:PORT/DATABASE`);
  return url;
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const sqlOf = (query: DatasetQuery): string =>
  query.sql ?? `SELECT * FROM ${(query.table ?? '').split('.').map(quoted).join('.')}`;

function columnsOf(fields: readonly pg.FieldDef[], name: string): readonly SourceColumn[] {
  return fields.map((field) => {
    if (NESTED.has(field.dataTypeID) || isArray(field.dataTypeID))
      throw new DataProblem(
        'type',
        `column ${field.name} of query ${name} is nested or binary; a column holds numbers, texts, booleans, dates or timestamps, so flatten or drop it`,
        field.name,
      );
    return { name: field.name, type: TYPES[field.dataTypeID] ?? 'string' };
  });
}

/** Runs the query and writes its rows. @throws DataProblem for what Postgres says of the query itself */
export async function runQuery(
  query: DatasetQuery,
  partition: string | null,
  environment: NodeJS.ProcessEnv,
  target: string,
  onBytes: (chunk: Buffer) => void,
): Promise<QuerySource> {
  const sql = sqlOf(query);
  const wantsPartition = query.sql !== undefined && /\$1(?!\d)/.test(query.sql);
  if (wantsPartition && partition === null)
    throw new DataProblem('query', `query ${query.name} has the partition as $1, and the event names none`);
  const client = new pg.Client({
    connectionString: urlOf(query, environment),
    connectionTimeoutMillis: CONNECT_MS,
    application_name: 'refit',
    // Texts as Postgres writes them: what JavaScript would make of a bigint or a timestamp loses digits.
    types: { getTypeParser: () => (text: unknown) => text },
  });
  // An end of the connection shows in the statement under way.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await client.query(
      `SET LOCAL statement_timeout = ${STATEMENT_MS}; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'`,
    );
    // Extended also without a parameter: the simple protocol would take several statements for one, an end of the transaction among them.
    const declare = { text: `DECLARE refit NO SCROLL CURSOR FOR ${sql}`, queryMode: 'extended' };
    await client.query({ ...declare, values: wantsPartition ? [partition] : [] } as pg.QueryConfig);
    const fetch = { text: `FETCH ${FETCH_ROWS} FROM refit`, rowMode: 'array' as const };
    let batch = await client.query<(string | null)[]>(fetch);
    const columns = columnsOf(batch.fields, query.name);
    const names = columns.map(({ name }) => JSON.stringify(name));
    if (new Set(names).size < names.length)
      throw new DataProblem('column_name', `query ${query.name} has a column twice (${names.join(', ')}); name each`);
    async function* lines(): AsyncGenerator<Buffer> {
      for (; batch.rows.length > 0; batch = await client.query<(string | null)[]>(fetch)) {
        const text = batch.rows.map(
          (row) => `{${row.map((value, index) => `${names[index]}:${JSON.stringify(value)}`).join(',')}}\n`,
        );
        const bytes = Buffer.from(text.join(''));
        onBytes(bytes);
        yield bytes;
      }
    }
    await pipeline(Readable.from(lines(), { objectMode: false }), await fileSink(target));
    await client.query('COMMIT');
    return { columns };
  } catch (error) {
    const code = error instanceof pg.DatabaseError ? (error.code ?? '') : '';
    if (code === '' || OUTAGE.test(code)) throw error;
    throw new DataProblem('query', `query ${query.name} fails: ${(error as Error).message} (${code})`);
  } finally {
    await client.end().catch(() => undefined);
  }
}
