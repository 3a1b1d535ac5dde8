/**
 * Training, batch and serving give bit-equal features: 10,000 real flights and a table of what tends to differ, over real
 * files and the real inference server. What the model was given is recorded at its engine, and cross-checked by a model that answers
 * its input.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { createFeatureEngine } from '../../src/adapters/duckdb/feature-engine.ts';
import { type Cell, parquetOf, withSession } from '../../src/adapters/duckdb/session.ts';
import type { FeatureColumn, SourceColumn } from '../../src/contracts/data.ts';
import type { ColumnType } from '../../src/contracts/values.ts';
import type { FeatureEngineFactory, SnapshotRequest } from '../../src/ports/data.ts';
import { linearOnnx, onnxBytes } from '../support/onnx-files.ts';
import { createWorld, entry, type ServingWorld, until } from '../support/serving.ts';

const engine = createDataEngine();
type Columns = Readonly<Record<string, readonly Cell[]>>;
const names = (features: readonly FeatureColumn[]): string[] => features.map(({ name }) => name);

let folder: string;
let world: ServingWorld;
let made = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-equal-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

async function emptyFolder(): Promise<string> {
  made += 1;
  const path = join(folder, String(made));
  await mkdir(path);
  return path;
}
const columnsOf = (files: readonly string[], query: (from: string) => string): Promise<Columns> =>
  withSession({ files }, (session) => session.columns(query(parquetOf(files))));

/** Features by the id of their row, whatever part it is in. */
async function trained(request: SnapshotRequest, features: readonly FeatureColumn[]): Promise<Columns> {
  const parts = ['train', 'validation', 'test'].map((part) => join(request.output, `${part}.parquet`));
  const items = names(features).map((name) => `"${name}"`);
  return columnsOf(parts, (from) => `SELECT ${items.join(', ')} FROM ${from} ORDER BY __id`);
}

const JSON_TEXT: Readonly<Record<ColumnType, (column: string) => string>> = {
  float64: (column) =>
    `CASE WHEN isfinite(${column}) THEN CASE WHEN ${column} = 0 THEN '-0.0' ELSE CAST(${column} AS VARCHAR) END ELSE 'null' END`,
  int64: (column) => `CAST(${column} AS VARCHAR)`,
  bool: (column) => `CAST(${column} AS VARCHAR)`,
  string: (column) => `CAST(to_json(${column}) AS VARCHAR)`,
  // The same instant as a caller east of Greenwich says it.
  timestamp: (column) =>
    `'"' || strftime(${column} + INTERVAL '5 hours 30 minutes', '%Y-%m-%dT%H:%M:%S.%f') || '+05:30"'`,
};
const DATATYPE: Readonly<Record<ColumnType, string>> = {
  float64: 'FP64',
  int64: 'INT64',
  bool: 'BOOL',
  string: 'BYTES',
  timestamp: 'BYTES',
};

/** Each column's values as a caller writes them in JSON, in the order of the ids. */
async function asJson(
  files: readonly string[],
  source: readonly SourceColumn[],
  id: string,
): Promise<readonly (readonly string[])[]> {
  const items = source.map(({ name, type }, index) => `coalesce(${JSON_TEXT[type](`"${name}"`)}, 'null') AS c${index}`);
  const columns = await columnsOf(files, (from) => `SELECT ${items.join(', ')} FROM ${from} ORDER BY "${id}"`);
  return source.map((_, index) => (columns[`c${index}`] ?? []).map(String));
}

function bodyOf(
  source: readonly SourceColumn[],
  texts: readonly (readonly string[])[],
  from: number,
  to: number,
): string {
  const tensors = source.map(
    ({ name, type }, index) =>
      `{"name":${JSON.stringify(name)},"shape":[${to - from}],"datatype":"${DATATYPE[type]}","data":[${(texts[index] ?? []).slice(from, to).join(',')}]}`,
  );
  return `{"inputs":[${tensors.join(',')}]}`;
}

/** The real engine, with what it gave the model. */
function recording(into: Map<string, Cell[]>): FeatureEngineFactory {
  return async (text) => {
    const real = await createFeatureEngine(text);
    return {
      ...real,
      async compute(rows, count) {
        const computed = await real.compute(rows, count);
        for (const { name } of text.features) {
          const column = into.get(name) ?? [];
          for (const value of computed[name] ?? []) column.push(value);
          into.set(name, column);
        }
        return computed;
      },
    };
  };
}

/** Requests that are sent one after the other, and how many of the rest are under way together. */
const ALONE = 200;
const AT_ONCE = 50;

/** Serves the version and sends all rows, so many in a request; gives what the model was given, in the order of feature `place`. */
async function served(
  version: {
    readonly featuresSql: string;
    readonly source: readonly SourceColumn[];
    readonly features: readonly FeatureColumn[];
  },
  texts: readonly (readonly string[])[],
  size: number,
): Promise<Columns> {
  const [first] = version.features.filter(({ type }) => type === 'float64');
  const found = new Map<string, Cell[]>();
  world.addVersion(1, {
    sql: version.featuresSql,
    ...{ source: version.source, features: version.features, task: 'regression', classes: [] },
    // The answer does not matter here, and must be a number where the feature is null.
    onnxBytes: constantOnnx(first?.name ?? ''),
  });
  world.plan(size, entry(1, 'champion', 1));
  const server = await world.start({ createFeatureEngine: recording(found) });
  const count = texts[0]?.length ?? 0;
  const send = async (from: number): Promise<void> => {
    const { status, body } = await world.infer(
      server,
      bodyOf(version.source, texts, from, Math.min(count, from + size)),
    );
    if (status !== 200) throw new Error(`row ${from}: ${status} ${body.error}`);
  };
  const starts = Array.from({ length: Math.ceil(count / size) }, (_, index) => index * size);
  // Alone first, then so many at once that the server joins them to batches of its own.
  for (const from of starts.slice(0, ALONE)) await send(from);
  for (let next = ALONE; next < starts.length; next += AT_ONCE)
    await Promise.all(starts.slice(next, next + AT_ONCE).map(send));
  await server.close();
  const order = (found.get('place') ?? []).map((place, index) => [Number(place), index] as const);
  order.sort(([left], [right]) => left - right);
  return Object.fromEntries(
    [...found].map(([name, values]) => [name, order.map(([, index]) => values[index] ?? null)]),
  );
}

/** 1 wherever the feature is a number or missing. */
const constantOnnx = (feature: string): Uint8Array =>
  onnxBytes({
    inputs: [{ name: feature, type: 'float32', shape: [null, 1] }],
    outputs: [{ name: 'prediction', type: 'float32', shape: [null, 1] }],
    constants: [{ name: 'zero', shape: [1], values: [1] }],
    operations: [
      { op: 'Equal', inputs: [feature, feature], output: 'same' },
      { op: 'Cast', inputs: ['same'], output: 'known', ints: { to: 1 } },
      { op: 'Pow', inputs: ['zero', 'known'], output: 'prediction' },
    ],
  });

/** Bit by bit: 0 and -0 differ, NaN is NaN. */
function expectSame(actual: Columns, expected: Columns, features: readonly FeatureColumn[], what: string): void {
  for (const { name } of features) {
    const [left, right] = [actual[name] ?? [], expected[name] ?? []];
    expect(`${what} ${name}: ${left.length} rows`).toBe(`${what} ${name}: ${right.length} rows`);
    const row = right.findIndex((value, index) => !Object.is(value, left[index]));
    if (row >= 0)
      throw new Error(`${what}: ${name} of row ${row} is ${String(left[row])}, training had ${String(right[row])}`);
  }
}

async function expectAllEqual(request: SnapshotRequest, idColumn: string): Promise<void> {
  const { features, source, failures } = await engine.snapshot(request);
  expect(failures.filter(({ severity }) => severity === 'block')).toEqual([]);
  const expected = await trained(request, features);
  const { featuresSql, files } = request;
  const output = join(await emptyFolder(), 'batch.parquet');
  await engine.computeFeatures({
    files,
    featuresSql,
    source,
    features,
    idColumn,
    timeColumn: request.timeColumn,
    output,
  });
  const batch = await columnsOf([output], (from) => `SELECT * FROM ${from} ORDER BY __id`);
  expectSame(batch, expected, features, 'batch');
  const texts = await asJson(files, source, idColumn);
  for (const size of [1, 7, 10_000]) {
    expectSame(await served({ featuresSql, source, features }, texts, size), expected, features, `HTTP by ${size}`);
  }
}

const requestOf = async (
  change: Pick<SnapshotRequest, 'files' | 'featuresSql' | 'labelSql' | 'idColumn' | 'timeColumn'>,
): Promise<SnapshotRequest> => ({
  ...{ task: 'binary-classification', window: null, slices: [], seed: 7, output: await emptyFolder() },
  split: { type: 'random', test: 0.2, validation: 0.1 },
  ...change,
});

describe('features are bit-equal in training, batch and serving', () => {
  it('for 10,000 real flights', async () => {
    const january = new URL('../../examples/flight-delays/data/flights-2013-01.parquet', import.meta.url).pathname;
    const flights = join(await emptyFolder(), 'flights.parquet');
    await withSession({ files: [january], folders: [join(flights, '..')] }, (session) =>
      session.run(
        `COPY (SELECT *, row_number() OVER (ORDER BY flight_id) AS place FROM ${parquetOf([january])} WHERE arr_delay IS NOT NULL LIMIT 10000) TO '${flights}' (FORMAT parquet)`,
      ),
    );
    await expectAllEqual(
      await requestOf({
        files: [flights],
        featuresSql: (
          await readFile(new URL('../../examples/flight-delays/features.sql', import.meta.url), 'utf8')
        ).replace('FROM source', ', place FROM source'),
        ...{ labelSql: 'arr_delay > 15', idColumn: 'flight_id', timeColumn: 'scheduled_at' },
      }),
      'flight_id',
    );
  }, 120_000);

  it('for what tends to differ: nulls, NaN, zeros, extremes, long whole numbers, texts, micros and offsets', async () => {
    const path = join(await emptyFolder(), 'nasty.parquet');
    const floats = [
      'NULL',
      "'nan'",
      "'inf'",
      "'-inf'",
      "'-0.0'",
      '0',
      '5e-324',
      '-1.7976931348623157e308',
      '0.1',
      '123456789012345680',
    ];
    const wholes = [
      'NULL',
      '0',
      '9007199254740993',
      '-9007199254740993',
      '9223372036854775807',
      '-9223372036854775808',
      '1234567890123456789',
      '-7',
    ];
    const texts = [
      'NULL',
      "''",
      "'Ünïcode é'",
      "'e' || chr(769)",
      "'😀 👩‍👩‍👧'",
      "'a' || chr(0) || 'b'",
      "'it''s \"quoted\" \\ and / {'",
      "'1234567890123456789'",
      "repeat('long ', 5000)",
      "' 	' || chr(10)",
    ];
    const times = [
      'NULL',
      "'1969-12-31 23:59:59.999999'",
      "'2024-02-29 23:30:00.000001'",
      "'0001-01-02 00:00:00'",
      "'9999-12-30 23:59:59.999999'",
      "'2024-03-31 02:30:00'",
    ];
    const pick = (values: readonly string[], type: string, step: number): string =>
      `[${values.map((value) => `CAST(${value} AS ${type})`).join(', ')}][1 + (i * ${step}) % ${values.length}]`;
    await withSession({ folders: [join(path, '..')] }, (session) =>
      session.run(
        `COPY (SELECT i AS place, 'r' || lpad(CAST(i AS VARCHAR), 4, '0') AS id, ${pick(floats, 'DOUBLE', 1)} AS f, ${pick(floats, 'DOUBLE', 7)} AS g, ${pick(wholes, 'BIGINT', 3)} AS n, ` +
          `${pick(texts, 'VARCHAR', 3)} AS s, ${pick(times, 'TIMESTAMP', 5)} AS t, ${pick(['NULL', 'true', 'false'], 'BOOLEAN', 2)} AS b, md5(CAST(i AS VARCHAR)) < '8' AS y FROM range(480) r(i)) TO '${path}' (FORMAT parquet)`,
      ),
    );
    await expectAllEqual(
      await requestOf({
        files: [path],
        featuresSql: `SELECT place, f, n, s, b, -f AS minus, f * g AS product, 1 / f AS inverse, atan2(f, -1.0) AS angle, f > 5 AS is_large, f = 0 AS is_zero, signbit(f) AS sign,
          f IS NULL AS is_missing, greatest(f, g) AS most, n % 10 AS digit, n // 7 AS seventh, CAST(n AS VARCHAR) AS whole, n = 9007199254740993 AS exact, n / 3 AS third,
          length(s) AS length, upper(s) AS upper, md5(s) AS hash, s || '|' AS more, s < 'f' AS is_early, regexp_matches(s, '^.b?$') AS fits, CAST(f AS VARCHAR) AS text,
          epoch_us(t) % 1000000 AS micros, hour(t) AS hour, year(t) AS year, strftime(t, '%Y-%m-%d %H:%M:%S.%f') AS moment, date_diff('day', t, TIMESTAMP '2024-01-01') AS days,
          b AND f > 0 AS both, CASE WHEN b THEN f ELSE g END AS chosen, try_cast(s AS BIGINT) AS parsed FROM source`,
        ...{ labelSql: 'y', idColumn: 'id', timeColumn: null },
      }),
      'id',
    );
  }, 60_000);

  it('and the model answers from just those', async () => {
    world.addVersion(1, {
      ...{ sql: 'SELECT n % 1000 AS z FROM source', task: 'regression', classes: [], onnxBytes: linearOnnx('z', 1, 0) },
      source: [{ name: 'n', type: 'int64' }],
    });
    world.plan(1, entry(1, 'champion', 1));
    const server = await world.start();
    const { body } = await world.infer(
      server,
      '{"inputs":[{"name":"n","shape":[4],"datatype":"INT64","data":[9007199254740993,"9007199254740993",-9223372036854775808,12]}]}',
    );
    expect(body.outputs?.[0]?.data).toEqual([993, 993, -808, 12]);
    await until(() => world.published.length === 4, 'log rows');
    expect(world.published.map(({ source }) => source.n)).toEqual([
      '9007199254740993',
      '9007199254740993',
      '-9223372036854775808',
      12,
    ]);
  });
});
