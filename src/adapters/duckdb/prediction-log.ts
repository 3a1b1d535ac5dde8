/** Writes logged predictions as Parquet, in the columns that the drift detector reads. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import type { Prediction } from '../../contracts/events.ts';

const COLUMNS = {
  model: 'VARCHAR',
  version: 'BIGINT',
  deployment: 'BIGINT',
  role: 'VARCHAR',
  requestId: 'VARCHAR',
  row: 'BIGINT',
  id: 'VARCHAR',
  time: 'TIMESTAMP',
  source: 'VARCHAR',
  output: 'DOUBLE[]',
  latencyMs: 'DOUBLE',
  error: 'VARCHAR',
} as const;

const quote = (path: string): string => `'${path.replaceAll("'", "''")}'`;

/** JSON may say what no reader of it takes: halves of surrogate pairs, which become U+FFFD, and NUL, which becomes its symbol. */
const keepable = (text: string): string => Buffer.from(text, 'utf8').toString('utf8').replaceAll('\0', '\u2400');

export type PredictionWriter = (predictions: readonly Prediction[], folder: string) => Promise<string>;

/** Returns the path of the file, in the folder that it is given. */
export async function writePredictions(predictions: readonly Prediction[], folder: string): Promise<string> {
  const lines = join(folder, 'predictions.jsonl');
  const output = join(folder, 'predictions.parquet');
  await writeFile(
    lines,
    predictions
      .map((one) =>
        JSON.stringify(
          { ...one, time: new Date(one.time).toISOString(), source: JSON.stringify(one.source) },
          (_name, value: unknown) => (typeof value === 'string' ? keepable(value) : value),
        ),
      )
      .join('\n'),
  );
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
  const connection = await instance.connect();
  try {
    const columns = Object.entries(COLUMNS).map(([name, type]) => `'${name}': '${type}'`);
    await connection.run(
      `COPY (SELECT * FROM read_json(${quote(lines)}, format = 'newline_delimited', columns = {${columns.join(', ')}})) TO ${quote(output)} (FORMAT parquet, COMPRESSION zstd)`,
    );
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
  return output;
}
