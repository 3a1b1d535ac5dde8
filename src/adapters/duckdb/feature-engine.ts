/**
 * features.sql over rows in memory, for serving: one prepared statement whose parameters are the columns, so that a batch
 * costs one query. The expressions are those of the snapshot, and so are the values, bit for bit.
 */
import { BIGINT, BOOLEAN, DOUBLE, type DuckDBValue, LIST, listValue, VARCHAR } from '@duckdb/node-api';
import type { SourceColumn } from '../../contracts/data.ts';
import type { ColumnType } from '../../contracts/values.ts';
import { DataProblem, type FeatureEngine, type FeatureEngineFactory, type Rows } from '../../ports/data.ts';
import { modelFeaturesFrom } from './features.ts';
import { type Cell, cellOf, openSession, quoteName } from './session.ts';
import { sourceValue } from './source.ts';
import { relationOf } from './sql-text.ts';
import { castText } from './types.ts';

/** What a column travels as. Timestamps are ISO texts; the query casts them. */
const WIRE_TYPES: Readonly<Record<ColumnType, typeof DOUBLE | typeof BIGINT | typeof VARCHAR | typeof BOOLEAN>> = {
  float64: DOUBLE,
  int64: BIGINT,
  string: VARCHAR,
  bool: BOOLEAN,
  timestamp: VARCHAR,
};

/** Whole numbers are JavaScript numbers, or texts where those are not exact. */
const wireValue = (value: Cell, type: ColumnType): DuckDBValue =>
  type === 'int64' && value !== null ? BigInt(value) : value;

function sourceRelation(source: readonly SourceColumn[]): string {
  const unnested = source.map(
    ({ type }, index) => `unnest(CAST($${index + 1} AS ${WIRE_TYPES[type].toString()}[])) AS c${index}`,
  );
  const cast = source.map(
    ({ name, type }, index) => `${sourceValue(castText(`c${index}`, type), type)} AS ${quoteName(name)}`,
  );
  return `SELECT ${cast.join(', ')} FROM (SELECT ${unnested.join(', ')})`;
}

export const createFeatureEngine: FeatureEngineFactory = async ({ featuresSql, source, features }) => {
  if (source.length === 0) throw new DataProblem('features', 'features read no column of source');
  const session = await openSession({ threads: 1 });
  try {
    const statement = await session.prepare(
      `WITH source AS (${sourceRelation(source)}) ${modelFeaturesFrom(features, relationOf(featuresSql))}`,
    );
    const compute = async (rows: Rows, count: number): Promise<Rows> => {
      source.forEach(({ name, type }, index) => {
        const values = rows[name];
        if (values === undefined || values.length !== count) {
          throw new DataProblem(
            'missing_column',
            `column ${name} has ${values?.length ?? 'no'} values for ${count} rows`,
            name,
          );
        }
        statement.bindList(index + 1, listValue(values.map((value) => wireValue(value, type))), LIST(WIRE_TYPES[type]));
      });
      const result = await statement.run();
      const columns = features.map((): Cell[] => []);
      // The number of rows is known, so the empty chunk at the end need not be waited for.
      for (let read = 0; read < count; ) {
        const chunk = await result.fetchChunk();
        if (chunk === null || chunk.rowCount === 0) throw new Error(`features.sql gave ${read} rows for ${count}`);
        for (const [index, column] of columns.entries()) {
          const vector = chunk.getColumnVector(index);
          for (let row = 0; row < chunk.rowCount; row += 1) column.push(cellOf(vector.getItem(row)));
        }
        read += chunk.rowCount;
      }
      return Object.fromEntries(
        features.map(({ name }, index): [string, readonly Cell[]] => [name, columns[index] ?? []]),
      );
    };
    // The statement's parameters are shared: one batch after the other.
    let last: Promise<unknown> = Promise.resolve();
    const engine: FeatureEngine = {
      compute(rows, count) {
        const result = last.then(() => compute(rows, count));
        last = result.catch(() => undefined);
        return result;
      },
      close: () => {
        statement.destroySync();
        session.close();
      },
    };
    return engine;
  } catch (error) {
    session.close();
    throw error;
  }
};
