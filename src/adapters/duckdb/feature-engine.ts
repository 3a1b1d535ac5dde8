/**
 * features.sql over rows in memory, for serving: one prepared statement whose parameters are the columns, so that a batch
 * costs one query. The expressions are those of the snapshot, and so are the values, bit for bit.
 */
import { BIGINT, BOOLEAN, DOUBLE, type DuckDBValue, LIST, listValue, VARCHAR } from '@duckdb/node-api';
import type { SourceColumn } from '../../contracts/data.ts';
import type { ColumnType } from '../../contracts/values.ts';
import { joinedColumns, requestColumns } from '../../domain/joins.ts';
import { DataProblem, type FeatureEngine, type FeatureEngineFactory, LOOKED_UP, type Rows } from '../../ports/data.ts';
import { modelFeaturesFrom } from './features.ts';
import { createRightSidesOfLookups, joinText } from './joins.ts';
import { type Cell, cellOf, openSession, quoteName } from './session.ts';
import { sourceValue } from './source.ts';
import { relationOf } from './sql-text.ts';
import { castText, isoOf } from './types.ts';

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

/** The rows of a request, as a select with `__row`. */
function requestRelation(columns: readonly SourceColumn[]): string {
  const unnested = columns.map(
    ({ type }, index) => `unnest(CAST($${index + 1} AS ${WIRE_TYPES[type].toString()}[])) AS c${index}`,
  );
  const cast = columns.map(
    ({ name, type }, index) => `${sourceValue(castText(`c${index}`, type), type)} AS ${quoteName(name)}`,
  );
  return `SELECT ${cast.join(', ')}, row_number() OVER () - 1 AS __row FROM (SELECT ${unnested.join(', ')})`;
}

/** What was looked up, as a request would have said it: the log keeps it so. */
const lookedUpItem = ({ name, type }: SourceColumn): string => {
  const column = `wider.${quoteName(name)}`;
  const value = type === 'timestamp' ? isoOf(column) : type === 'int64' ? `CAST(${column} AS VARCHAR)` : column;
  return `${value} AS ${quoteName(`${LOOKED_UP}${name}`)}`;
};

/** A whole number's text as a number, where that is exact. */
const wholeCell = (cell: Cell): Cell =>
  typeof cell === 'string' && Number.isSafeInteger(Number(cell)) ? Number(cell) : cell;

export const createFeatureEngine: FeatureEngineFactory = async ({ featuresSql, source, features, joins = [] }) => {
  const resolved = joins.map(({ join }) => join);
  const request = requestColumns(source, resolved);
  if (request.length === 0) throw new DataProblem('features', 'features read no column of source');
  const lookups = joins.map(({ lookup }) => lookup);
  const lookedUp = joinedColumns(resolved).filter(({ name }) => source.some((column) => column.name === name));
  const outputs = [...features.map(({ name }) => name), ...lookedUp.map(({ name }) => `${LOOKED_UP}${name}`)];
  const wholes = new Set(lookedUp.filter(({ type }) => type === 'int64').map(({ name }) => `${LOOKED_UP}${name}`));
  const session = await openSession({ threads: 1, files: lookups });
  try {
    await createRightSidesOfLookups(session, lookups);
    const own = request.map(({ name }) => quoteName(name));
    const names = source.map(({ name }) => quoteName(name)).join(', ');
    const statement = await session.prepare(
      resolved.length === 0
        ? `WITH source AS (${requestRelation(request)}) ${modelFeaturesFrom(features, relationOf(featuresSql))}`
        : `WITH request AS MATERIALIZED (${requestRelation(request)}), wider AS MATERIALIZED (${joinText(resolved, 'request', [...own, '__row'])}), ` +
            `source AS (SELECT ${names} FROM wider) SELECT f.*${lookedUp.map((column) => `, ${lookedUpItem(column)}`).join('')} ` +
            `FROM (${modelFeaturesFrom(features, relationOf(featuresSql))}) AS f POSITIONAL JOIN wider`,
    );
    const compute = async (rows: Rows, count: number): Promise<Rows> => {
      request.forEach(({ name, type }, index) => {
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
      const columns = outputs.map((): Cell[] => []);
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
        outputs.map((name, index): [string, readonly Cell[]] => [
          name,
          wholes.has(name) ? (columns[index] ?? []).map(wholeCell) : (columns[index] ?? []),
        ]),
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
