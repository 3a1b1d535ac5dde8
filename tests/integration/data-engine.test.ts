/** The data engine on real DuckDB: conversion, expectations, the rules of features.sql, snapshots and their checks. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endedByData } from '../../activities/failures.ts';
import type { Ports } from '../../activities/ports.ts';
import { createSweepActivities } from '../../activities/sweep.ts';
import { createDriftDetector } from '../../src/adapters/drift.ts';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { createFeatureEngine } from '../../src/adapters/duckdb/feature-engine.ts';
import { parquetOf, withSession } from '../../src/adapters/duckdb/session.ts';
import type { SourceColumn } from '../../src/contracts/data.ts';
import { selectColumns } from '../../src/domain/features.ts';
import { DataProblem, type Rows, type SnapshotRequest } from '../../src/ports/data.ts';

const engine = createDataEngine();
const flights = (month: number): string =>
  new URL(`../../examples/flight-delays/data/flights-2013-0${month}.parquet`, import.meta.url).pathname;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-data-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let made = 0;
const nextPath = (ending: string): string => {
  made += 1;
  return join(folder, `file-${made}.${ending}`);
};
async function parquet(query: string): Promise<string> {
  const path = nextPath('parquet');
  await withSession({ folders: [folder] }, (session) => session.run(`COPY (${query}) TO '${path}' (FORMAT parquet)`));
  return path;
}
async function text(content: string | Uint8Array, ending: string): Promise<string> {
  const path = nextPath(ending);
  await writeFile(path, content);
  return path;
}
const read = (path: string, items = '*'): Promise<readonly Readonly<Record<string, unknown>>[]> =>
  withSession({ files: [path] }, (session) => session.rows(`SELECT ${items} FROM ${parquetOf([path])}`));
const digestOf = async (path: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

describe('convert', () => {
  const convert = (path: string, format: 'parquet' | 'csv' | 'jsonl', timeColumn: string | null = null) => {
    const output = nextPath('out.parquet');
    return engine.convert({ path, format, timeColumn, output }).then((file) => ({ ...file, output }));
  };

  it('gives Parquet of any width the types of Refit', async () => {
    const path = await parquet(
      "SELECT 1::TINYINT AS small, 2::UINTEGER AS whole, 3::UBIGINT AS big, 1.5::DECIMAL(9,2) AS price, 2.5::FLOAT AS ratio, 'a'::VARCHAR AS name, " +
        "'x'::ENUM('x','y') AS kind, true AS flag, DATE '2024-02-29' AS day, TIMESTAMPTZ '2024-01-01 00:00:00+02' AS moment",
    );
    const { columns, rows, output } = await convert(path, 'parquet', 'moment');
    expect(rows).toBe(1);
    expect(columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'small int64',
      'whole int64',
      'big float64',
      'price float64',
      'ratio float64',
      'name string',
      'kind string',
      'flag bool',
      'day timestamp',
      'moment timestamp',
    ]);
    expect(await engine.columns(output)).toEqual(columns);
    expect(await read(output, 'CAST(moment AS VARCHAR) AS moment, typeof(moment) AS type')).toEqual([
      { moment: '2023-12-31 22:00:00', type: 'TIMESTAMP' },
    ]);
  });

  it('reads CSV and JSON lines, with the range of time', async () => {
    const csv = await convert(
      await text('id,at,value\na,2024-01-02T00:00:00Z,1\nb,2024-01-01 12:30:00.250,2.5\n', 'csv'),
      'csv',
      'at',
    );
    expect(csv).toMatchObject({ rows: 2, minTime: '2024-01-01T12:30:00.250Z', maxTime: '2024-01-02T00:00:00Z' });
    const zoned = await convert(await text('at\n2024-01-02T00:00:00+02:00\n', 'csv'), 'csv', 'at');
    expect(zoned.minTime).toBe('2024-01-01T22:00:00Z');
    const jsonl = await convert(
      await text(
        '{"id":"a","at":"2024-01-02T00:00:00Z","n":null}\n{"id":"b","at":"2024-01-03T00:00:00Z","n":null}\n',
        'jsonl',
      ),
      'jsonl',
      'at',
    );
    expect(jsonl.columns).toEqual([
      { name: 'id', type: 'string' },
      { name: 'at', type: 'timestamp' },
      { name: 'n', type: 'string' },
    ]);
  });

  it('keeps the order of rows', async () => {
    const { output } = await convert(
      await parquet('SELECT (i * 7919) % 300007 AS i FROM range(300000) t(i)'),
      'parquet',
    );
    const rows = await read(output);
    expect(rows.every(({ i }, index) => i === (index * 7919) % 300007)).toBe(true);
  });

  it.each([
    [
      'truncated Parquet',
      async () => text((await readFile(flights(1))).subarray(0, 90_000), 'parquet'),
      'parquet',
      'unreadable',
    ],
    ['garbage', () => text('\u0000\u0001garbage', 'parquet'), 'parquet', 'format'],
    ['an empty file', () => text('', 'jsonl'), 'parquet', 'empty'],
    ['broken JSON', () => text('{"a": 1}\n{"a": \n', 'jsonl'), 'jsonl', 'unreadable'],
    ['CSV of uneven width', () => text(`a,b\n${'1,2\n'.repeat(30_000)}1,2,3,4\n`, 'csv'), 'csv', 'unreadable'],
    ['nested values', () => parquet('SELECT [1, 2] AS list'), 'parquet', 'type'],
    ['a struct', () => text('{"a": {"b": 1}}\n', 'jsonl'), 'jsonl', 'type'],
    ['names of our own', () => parquet('SELECT 1 AS __label'), 'parquet', 'column_name'],
  ] as const)('refuses %s by name', async (_, make, format, check) => {
    const path = await make();
    const refused = convert(path, format);
    await expect(refused).rejects.toMatchObject({ name: 'DataProblem', check });
    await expect(refused).rejects.toThrow(path.slice(folder.length + 1));
    await expect(refused).rejects.not.toThrow(folder);
  });

  it('needs the time column to be there, and a time', async () => {
    await expect(convert(await parquet('SELECT 1 AS a'), 'parquet', 'at')).rejects.toMatchObject({
      check: 'missing_column',
      column: 'at',
    });
    await expect(convert(await parquet("SELECT 'soon' AS at"), 'parquet', 'at')).rejects.toMatchObject({
      check: 'type',
      column: 'at',
    });
  });
});

describe('what DuckDB says', () => {
  const profile = async (query: string, type: SourceColumn['type']) => {
    const path = await parquet(query);
    return engine.profile([path], [{ name: 'gate', type }]);
  };

  it('of the data is a problem of the data, and names no value', async () => {
    const wrong: readonly (readonly [string, SourceColumn['type'], RegExp])[] = [
      ["SELECT 'Ann O''Neil' AS gate", 'int64', /Conversion Error: Could not convert string '…' to INT64/],
      ["SELECT 'Ann' AS gate", 'timestamp', /invalid timestamp field format: "…", expected format is/],
      ['SELECT 2e300 AS gate', 'int64', /Type DOUBLE with value … can't be cast/],
    ];
    for (const [query, type, said] of wrong) {
      const error = await profile(query, type).catch((found: unknown) => found);
      expect(error).toBeInstanceOf(DataProblem);
      expect(String(error)).toMatch(said);
      expect(String(error)).not.toMatch(/Ann|Neil|2e\+?300/);
    }
    const name = withSession({}, (session) => session.rows('SELECT gate FROM (SELECT 1 AS other)'));
    await expect(name).rejects.toMatchObject({ name: 'DataProblem', message: expect.stringContaining('"gate"') });
  });

  it('of the machine stays an error that is tried again', async () => {
    const gone = await engine.profile([join(folder, 'gone.parquet')], []).catch((found: unknown) => found);
    expect(gone).toBeInstanceOf(Error);
    expect(gone).not.toBeInstanceOf(DataProblem);
  });

  it('ends an activity that makes no result of it', async () => {
    const ended = endedByData(() => profile("SELECT 'A1' AS gate", 'int64'));
    await expect(ended()).rejects.toMatchObject({ type: 'DataRefused', nonRetryable: true });
    await expect(endedByData(() => Promise.reject(new Error('away')))()).rejects.toThrow('away');
  });
});

describe('features.sql', () => {
  const columns: SourceColumn[] = [
    { name: 'a', type: 'float64' },
    { name: 'n', type: 'int64' },
    { name: 's', type: 'string' },
    { name: 'b', type: 'bool' },
    { name: 't', type: 'timestamp' },
    { name: 'outcome', type: 'int64' },
  ];

  it.each([
    'SELECT sum(a) AS x FROM source',
    'SELECT a - avg(a) OVER () AS x FROM source',
    'SELECT lag(a) OVER (ORDER BY t) AS x FROM source',
    'SELECT row_number() OVER () AS x FROM source',
    'SELECT count(*) AS x FROM source',
    'SELECT (SELECT max(a) FROM source) AS x FROM source',
    'SELECT a IN (SELECT a FROM source) AS x FROM source',
    'SELECT EXISTS (SELECT 1) AS x, a FROM source',
    'SELECT a FROM source, source AS other',
    'SELECT source.a FROM source JOIN source AS o ON true',
    'SELECT a FROM (SELECT a FROM source)',
    'WITH w AS (SELECT 1) SELECT a FROM source',
    'SELECT a FROM other',
    'SELECT a FROM main.source',
    "SELECT a FROM 'other.parquet'",
    "SELECT a FROM read_parquet('x.parquet')",
    "SELECT content AS x FROM read_text('/etc/passwd')",
    'SELECT a FROM range(3) t(a)',
    'SELECT DISTINCT a FROM source',
    'SELECT a FROM source WHERE a > 1',
    'SELECT a FROM source ORDER BY a',
    'SELECT a FROM source LIMIT 1',
    'SELECT a FROM source OFFSET 1',
    'SELECT a FROM source GROUP BY a',
    'SELECT a FROM source GROUP BY ALL',
    'SELECT max(a) AS x FROM source HAVING true',
    'SELECT a FROM source QUALIFY true',
    'SELECT a FROM source TABLESAMPLE 10%',
    'SELECT a FROM source USING SAMPLE 1',
    'SELECT unnest([a, a]) AS x FROM source',
    'SELECT a + random() AS x FROM source',
    'SELECT a, now() AS x FROM source',
    'SELECT a, current_date AS x FROM source',
    'SELECT a, current_timestamp AS x FROM source',
    'SELECT a, current_localtimestamp() AS x FROM source',
    'SELECT a, today() AS x FROM source',
    'SELECT age(t)::VARCHAR AS x FROM source',
    'SELECT a, uuid() AS x FROM source',
    "SELECT a, getenv('HOME') AS x FROM source",
    "SELECT a, nextval('q') AS x FROM source",
    "SELECT a, current_setting('threads') AS x FROM source",
    'SELECT a, version() AS x FROM source',
    'SELECT a, current_user AS x FROM source',
    'SELECT a, rowid AS x FROM source',
    'SELECT hash(s) AS x FROM source',
    'SELECT * FROM source',
    'SELECT source.* FROM source',
    'SELECT COLUMNS(*) FROM source',
    'SELECT source FROM source',
    'SELECT list_transform([a], lambda v: v + 1)[1] AS x FROM source',
    'SELECT a + 1 FROM source',
    'SELECT a, a FROM source',
    'SELECT a, n AS A FROM source',
    'SELECT a AS __id FROM source',
    'SELECT outcome FROM source',
    'SELECT n + "OUTCOME" AS x FROM source',
    'SELECT source.outcome AS x FROM source',
    'SELECT t FROM source',
    'SELECT [a] AS x FROM source',
    'SELECT nowhere FROM source',
    'SELECT s + 1 AS x, frobnicate(s) AS y FROM source',
    'SELECT a FROM source UNION ALL SELECT a FROM source',
    'SELECT a FROM source; SELECT a FROM source',
    'DROP TABLE source',
    "COPY source TO 'x'",
    "ATTACH 'x.db'",
    'SELECT ? AS x, a FROM source',
    'SELECT $1 AS x, a FROM source',
    'VALUES (1)',
    'SELEC a FROM source',
    '',
    '-- nothing',
    'INSTALL httpfs',
    'SET threads = 1',
    'SELECT 1 AS x FROM source',
    'SELECT sum(a) FILTER (WHERE a > 1) AS x FROM source',
    'SELECT s COLLATE NOCASE FROM source) AS q, (SELECT 1',
  ])('refuses %s', async (sql) => {
    const { problems, features } = await engine.checkFeatures(sql, columns, ['outcome']);
    expect(problems).not.toEqual([]);
    expect(problems.every(({ detail }) => detail.length > 10)).toBe(true);
    expect(features).toEqual([]);
  });

  it('refuses most of it before any data is known', async () => {
    for (const sql of [
      'SELECT a, current_date AS x FROM source',
      'SELECT sum(a) AS x FROM source',
      'SELECT outcome FROM source',
      'SELECT rowid AS x, a FROM source',
    ]) {
      expect((await engine.checkFeatures(sql, [], ['outcome'])).problems).toHaveLength(1);
    }
    expect(await engine.checkFeatures('SELECT a, n * 2 AS twice FROM source', [], ['outcome'])).toEqual({
      problems: [],
      features: [],
      source: ['a', 'n'],
    });
  });

  it('takes row-wise text, says what it reads and makes of it', async () => {
    const sql = `-- a comment; with a semicolon
      SELECT a, n / 2 AS half, upper(s) AS "S", coalesce(b, true) AS b, hour(t) AS hour, CASE WHEN n BETWEEN 1 AND 3 THEN 'few;--' ELSE s END AS amount, half + 1 AS more,
        date_part('dow', t) IN (0, 6) AS weekend, try_cast(s AS DOUBLE) AS number FROM source; -- the end`;
    const { problems, features, source } = await engine.checkFeatures(sql, columns, ['outcome']);
    expect(problems).toEqual([]);
    expect(features.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'a float64',
      'half float64',
      'S string',
      'b bool',
      'hour float64',
      'amount string',
      'more float64',
      'weekend bool',
      'number float64',
    ]);
    expect([...source].sort()).toEqual(['a', 'b', 'n', 's', 't']);
  });

  it('makes text of a list of columns', async () => {
    const sql = selectColumns(['a', 's']);
    expect((await engine.checkFeatures(sql, columns, [])).features).toEqual([
      { name: 'a', type: 'float64' },
      { name: 's', type: 'string' },
    ]);
  });

  it('knows what a label reads, under the same rules', async () => {
    expect(await engine.columnsOfExpression('outcome > 15 -- late', columns)).toEqual(['outcome']);
    for (const sql of [
      'sum(outcome) > 1',
      'outcome) AS x, (a',
      '(SELECT 1)',
      'nowhere',
      'outcome; DROP TABLE source',
      "read_text('/etc/passwd')",
    ]) {
      await expect(engine.columnsOfExpression(sql, columns)).rejects.toMatchObject({
        name: 'DataProblem',
        check: 'label',
      });
    }
  });
});

const FEATURES = new URL('../../examples/flight-delays/features.sql', import.meta.url);
async function flightsRequest(change: Partial<SnapshotRequest> = {}): Promise<SnapshotRequest> {
  const output = nextPath('snapshot');
  await mkdir(output);
  return {
    files: [flights(1), flights(2)],
    featuresSql: await readFile(FEATURES, 'utf8'),
    labelSql: 'arr_delay > 15',
    task: 'binary-classification',
    idColumn: 'flight_id',
    timeColumn: 'scheduled_at',
    window: { start: '2013-01-10T00:00:00Z', end: '2013-02-20T00:00:00Z' },
    split: { type: 'time', test: 0.2, validation: 0.1 },
    slices: ['origin'],
    seed: 7,
    output,
    ...change,
  };
}

describe('snapshot of the flights', () => {
  it('splits by time at a boundary, inside the window', async () => {
    const request = await flightsRequest();
    const { rows, testStart, failures, classes, source } = await engine.snapshot(request);
    expect(failures).toEqual([]);
    expect(classes).toEqual(['false', 'true']);
    expect(source.map(({ name }) => name)).not.toContain('arr_delay');
    const total = rows.train + rows.validation + rows.test;
    expect(rows.test / total).toBeCloseTo(0.2, 2);
    expect(rows.validation / total).toBeCloseTo(0.1, 2);
    const ranges = await Promise.all(
      ['train', 'validation', 'test'].map(
        async (part) =>
          (
            await read(
              join(request.output, `${part}.parquet`),
              'min(epoch_ms(__time)) AS low, max(epoch_ms(__time)) AS high, count(*) AS rows',
            )
          )[0],
      ),
    );
    expect(ranges.map((range) => range?.rows)).toEqual([rows.train, rows.validation, rows.test]);
    expect(Number(ranges[0]?.low)).toBeGreaterThanOrEqual(Date.parse('2013-01-10T00:00:00Z'));
    expect(Number(ranges[0]?.high)).toBeLessThan(Number(ranges[1]?.low));
    expect(Number(ranges[1]?.high)).toBeLessThan(Number(ranges[2]?.low));
    expect(ranges[2]?.low).toBe(Date.parse(testStart ?? ''));
    expect(Number(ranges[2]?.high)).toBeLessThan(Date.parse('2013-02-20T00:00:00Z'));
  });

  it('gives the same bytes twice', async () => {
    const [first, second] = [await flightsRequest(), await flightsRequest()];
    await engine.snapshot(first);
    await engine.snapshot(second);
    for (const name of ['train', 'validation', 'test', 'reference', 'test_source']) {
      expect(await digestOf(join(second.output, `${name}.parquet`))).toBe(
        await digestOf(join(first.output, `${name}.parquet`)),
      );
    }
  });

  it('keeps reference and test source beside the parts, without the label', async () => {
    const request = await flightsRequest();
    const { rows, source } = await engine.snapshot(request);
    const reference = await engine.columns(join(request.output, 'reference.parquet'));
    expect(reference.map(({ name }) => name).sort()).toEqual(['flight_id', ...source.map(({ name }) => name)].sort());
    const own = await read(join(request.output, 'test.parquet'), '__id');
    const beside = await read(join(request.output, 'test_source.parquet'));
    expect(beside.map(({ flight_id }) => flight_id)).toEqual(own.map(({ __id }) => __id));
    expect(beside).toHaveLength(rows.test);
    expect(Object.keys(beside[0] ?? {})).not.toContain('arr_delay');
  });

  it('keeps a row in its part when rows are added, with a random split', async () => {
    const split = { type: 'random', test: 0.2, validation: 0.1 } as const;
    const small = await flightsRequest({ split, files: [flights(1)], window: null });
    const large = await flightsRequest({ split, files: [flights(2), flights(1)], window: null });
    const { rows } = await engine.snapshot(small);
    await engine.snapshot(large);
    expect(rows.test / (rows.train + rows.validation + rows.test)).toBeCloseTo(0.2, 1);
    const before = new Set((await read(join(small.output, 'test.parquet'), '__id')).map(({ __id }) => __id));
    const after = new Set((await read(join(large.output, 'test.parquet'), '__id')).map(({ __id }) => __id));
    expect([...before].every((id) => after.has(id))).toBe(true);
  });
});

describe('serving features', () => {
  it('understands nulls, zones and concurrent batches', async () => {
    const serving = await createFeatureEngine({
      featuresSql: 'SELECT hour(t) AS hour, s, b, n / 0 AS quotient FROM source -- last',
      source: [
        { name: 't', type: 'timestamp' },
        { name: 's', type: 'string' },
        { name: 'b', type: 'bool' },
        { name: 'n', type: 'int64' },
      ],
      features: [
        { name: 'hour', type: 'float64' },
        { name: 's', type: 'string' },
        { name: 'b', type: 'bool' },
        { name: 'quotient', type: 'float64' },
      ],
    });
    const batch = (at: string | null): Rows => ({ t: [at], s: [null], b: [null], n: [3] });
    const hours = await Promise.all(
      ['2024-01-01T05:00:00Z', '2024-01-01T05:00:00+02:00', null].map((at) => serving.compute(batch(at), 1)),
    );
    expect(hours.map(({ hour }) => hour?.[0])).toEqual([5, 3, null]);
    expect(hours[0]).toMatchObject({ s: [''], b: [false], quotient: [null] });
    await expect(serving.compute({ t: [], s: [], b: [] }, 0)).rejects.toMatchObject({ name: 'DataProblem' });
    serving.close();
  });
});

describe('always-on checks', () => {
  async function checked(query: string, change: Partial<SnapshotRequest> = {}) {
    const file = await parquet(query);
    const request = await flightsRequest({
      files: [file],
      featuresSql: 'SELECT x, y FROM source',
      labelSql: 'label',
      idColumn: null,
      timeColumn: null,
      window: null,
      slices: [],
      split: { type: 'random', test: 0.2, validation: 0.1 },
      ...change,
    });
    return (await engine.snapshot(request)).failures.map(
      ({ check, column, severity }) => `${severity} ${check} ${column}`,
    );
  }
  const base = (x: string, y: string, label: string, more = ''): string =>
    `SELECT ${x} AS x, ${y} AS y, ${label} AS label ${more} FROM range(1000) t(i)`;
  const noise = '((i * 7919) % 101)::DOUBLE';
  /** Another one, so that no two columns and no two rows are the same. */
  const other = '((i * 104723) % 9973)::DOUBLE';
  const late = '(i * 104729) % 7 < 2';

  it.each([
    ['nothing wrong', base(noise, other, late), {}, []],
    ['no row', base(noise, other, 'NULL::BOOLEAN'), {}, ['block empty null']],
    [
      'no row in the window',
      base(noise, other, late, ", TIMESTAMP '2024-01-01' AS at"),
      { timeColumn: 'at', window: { start: '2025-01-01T00:00:00Z', end: '2025-02-01T00:00:00Z' } },
      ['block empty null'],
    ],
    [
      'all at one time',
      base(noise, other, late, ", TIMESTAMP '2024-01-01' AS at"),
      { timeColumn: 'at', split: { type: 'time', test: 0.2, validation: 0.1 } },
      ['block empty null', 'block empty null'],
    ],
    ['one class', base(noise, other, 'true'), {}, ['block one_class null']],
    ['three classes for a binary task', base(noise, other, 'i % 3'), {}, ['block classes null']],
    ['a feature without a value', base('NULL::DOUBLE', other, late), {}, ['block all_null x']],
    ['a constant feature', base('5', other, late), {}, ['warn constant_feature x']],
    ['a number that tells', base(`(${late})::INT * 100 + ${noise} / 101`, other, late), {}, ['block label_leak x']],
    [
      'a text that tells',
      base(`CASE WHEN ${late} THEN 'late' ELSE 'not' END`, other, late),
      {},
      ['block label_leak x'],
    ],
    ['the label in other units', base('i * 2.5 + 1', other, 'i'), { task: 'regression' }, ['block label_leak x']],
    [
      'a text that tells one of three classes',
      base("'k' || (i * 104729) % 3", other, "'c' || (i * 104729) % 3"),
      { task: 'multiclass-classification' },
      ['block label_leak x'],
    ],
    [
      'a number that the label is the square of',
      base('i', other, 'i * i * i'),
      { task: 'regression' },
      ['block label_leak x'],
    ],
    [
      'a text that holds the label as a number',
      base('CAST(i * 3 AS VARCHAR)', other, 'i'),
      { task: 'regression' },
      ['block label_leak x'],
    ],
    [
      'a category that tells a number',
      base("'k' || i % 7", other, '(i % 7) * 1.5'),
      { task: 'regression' },
      ['block label_leak x'],
    ],
    [
      'a number of many values that tells three classes',
      base('(i % 3) * 1000 + i / 2.0', other, "'c' || (i % 3)"),
      { task: 'multiclass-classification' },
      ['block label_leak x'],
    ],
    ['two features of one content', base(other, other, late), {}, ['warn duplicate_features y']],
    [
      'rows of one content in train and test',
      base('(i // 2 * 7919) % 1009', '(i // 2 * 104729) % 997', '(i // 2 * 104729) % 7 < 2'),
      {},
      ['block train_test_overlap null'],
    ],
    [
      'rows of one content under other ids',
      base('(i // 2 * 7919) % 1009', '(i // 2 * 104729) % 997', '(i // 2 * 104729) % 7 < 2', ', i AS id'),
      { idColumn: 'id' },
      ['warn train_test_overlap null'],
    ],
    [
      'rows of few values, of which many are the same by chance',
      base('(i * 7919) % 101 % 5', '(i * 104723) % 9973 % 7', late),
      {},
      ['warn train_test_overlap null'],
    ],
    [
      'numbers that are not finite, of the data and of a feature',
      base("CASE WHEN i = 3 THEN 'nan'::DOUBLE ELSE i * 0.37 END", other, late),
      { featuresSql: 'SELECT x, y, ln(y + 1) / (y - y) AS z, exp(y * 1000) AS huge FROM source' },
      ['block all_null z', 'warn not_finite x', 'warn not_finite z', 'warn not_finite huge'],
    ],
    ['repeated ids', base(noise, other, late, ', i // 2 AS id'), { idColumn: 'id' }, ['block repeated_ids id']],
    [
      'the same id in train and test',
      base(noise, other, late, ", i % 500 AS id, TIMESTAMP '2024-01-01' + to_hours(i) AS at"),
      { idColumn: 'id', timeColumn: 'at', split: { type: 'time', test: 0.2, validation: 0.1 } },
      ['block repeated_ids id', 'block train_test_overlap id'],
    ],
    [
      'rows without time',
      base(noise, other, late, ", CASE WHEN i > 2 THEN TIMESTAMP '2024-01-01' + to_hours(i) END AS at"),
      { timeColumn: 'at', split: { type: 'time', test: 0.2, validation: 0.1 } },
      ['warn null_time at'],
    ],
    [
      'rows without id',
      base(noise, other, late, ', CASE WHEN i > 2 THEN i END AS id'),
      { idColumn: 'id' },
      ['warn null_id id'],
    ],
  ] satisfies readonly (readonly [string, string, Partial<SnapshotRequest>, string[]])[])(
    '%s',
    async (_, query, change, expected) => {
      expect(await checked(query, change)).toEqual(expected);
    },
  );

  it.each([
    [
      'a label that features read',
      { featuresSql: 'SELECT x, label AS z FROM source' },
      'features',
      'belongs to the label',
    ],
    ['a column that is missing', { slices: ['nowhere'] }, 'missing_column', 'nowhere'],
    [
      'a cast that fails',
      { featuresSql: 'SELECT x, CAST(s AS INT) AS z FROM source' },
      'features',
      'cannot be computed',
    ],
    ['a text label for a regression', { labelSql: 's', task: 'regression' }, 'label', 'needs a number'],
  ] satisfies readonly (readonly [string, Partial<SnapshotRequest>, string, string])[])(
    'refuses %s',
    async (_, change, check, message) => {
      const refused = checked(base(noise, other, late, ", 'text' AS s"), change);
      await expect(refused).rejects.toMatchObject({
        name: 'DataProblem',
        check,
        message: expect.stringContaining(message),
      });
    },
  );

  it('orders classes of numbers and texts', async () => {
    const classesOf = async (label: string): Promise<readonly string[]> => {
      const file = await parquet(base(noise, other, label));
      const request = await flightsRequest({
        files: [file],
        featuresSql: 'SELECT x, y FROM source',
        labelSql: 'label',
        task: 'multiclass-classification',
        idColumn: null,
        timeColumn: null,
        window: null,
        slices: [],
        split: { type: 'random', test: 0.2, validation: 0.1 },
      });
      const { classes } = await engine.snapshot(request);
      const truth = await read(
        join(request.output, 'test.parquet'),
        'min(__label) AS low, max(__label) AS high, typeof(any_value(__label)) AS type',
      );
      expect(truth).toEqual([{ low: 0, high: classes.length - 1, type: 'BIGINT' }]);
      return classes;
    };
    expect(await classesOf('(i * 104729) % 11')).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10']);
    expect(await classesOf("['b', 'a', 'C'][(i * 104729) % 3 + 1]")).toEqual(['C', 'a', 'b']);
    expect(await classesOf('[0.5, 1.0, -2.5][(i * 104729) % 3 + 1]')).toEqual(['-2.5', '0.5', '1']);
  });
});

describe('drift', () => {
  const detector = createDriftDetector();

  it('compares two files column by column', async () => {
    const months = (month: number) => detector.compare(flights(1), flights(month), 0.1);
    expect((await months(1)).every(({ score, drifted }) => score === 0 && !drifted)).toBe(true);
    const july = await months(7);
    expect(july.find(({ name }) => name === 'temp')).toMatchObject({ drifted: true, test: 'jensenshannon' });
    expect(july.find(({ name }) => name === 'minute')).toMatchObject({ drifted: false });
  });

  it('sees categories that the reference does not have, and nulls', async () => {
    const reference = await parquet("SELECT 'a' AS k, 1.0 AS v FROM range(100)");
    const current = await parquet(
      "SELECT CASE WHEN i < 50 THEN 'a' ELSE 'new' END AS k, CASE WHEN i < 50 THEN 1.0 END AS v FROM range(100) t(i)",
    );
    expect((await detector.compare(reference, current, 0.1)).map(({ name, drifted }) => `${name} ${drifted}`)).toEqual([
      'k true',
      'v true',
    ]);
  });

  it('makes features of the log again, and joins outcomes', async () => {
    const reference = await parquet('SELECT i AS raw FROM range(1000) t(i)');
    const log = await parquet(
      "SELECT 'm' AS model, CASE WHEN i < 1200 THEN 2 ELSE 1 END AS version, CASE WHEN i % 5 = 0 THEN 'shadow' ELSE 'champion' END AS role, TIMESTAMP '2024-01-01' + to_minutes(i) AS time, " +
        "'id' || i AS id, CASE WHEN i = 1 THEN [] ELSE [1 - (i % 2) * 0.9, (i % 2) * 0.9] END AS output, CASE WHEN i = 1 THEN 'broken' END AS error, json_object('raw', i + 2000) AS source FROM range(2000) t(i)",
    );
    const labels = await parquet(
      "SELECT 'id' || i AS id, CASE WHEN i % 2 = 1 THEN 'true' ELSE 'false' END AS label FROM range(0, 700) t(i)",
    );
    const report = await detector.detect({
      reference,
      files: [log],
      model: 'm',
      version: 2,
      windowStart: '2024-01-01T00:00:00Z',
      windowEnd: '2024-01-01T16:40:00Z',
      featuresSql: 'SELECT raw / 10 AS tenth FROM source',
      source: [{ name: 'raw', type: 'int64' }],
      features: [{ name: 'tenth', type: 'float64' }],
      task: 'binary-classification',
      classes: ['false', 'true'],
      threshold: 0.1,
      metric: 'roc_auc',
      labels,
    });
    expect(report).toMatchObject({ rows: 799, labelled: 559, performance: 1 });
    expect(report.features).toMatchObject([{ name: 'tenth', drifted: true }]);
    expect(report.features[0]?.score).toBeGreaterThan(0.8);
  });

  it('has outcomes under the ids that were logged, whatever they look like', async () => {
    const outcomes = [
      ['0042', '1'],
      ['2013-01-01', 'true'],
      ['A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '"late"'],
    ] as const;
    for (const given of [outcomes, outcomes.slice(1, 2), outcomes.slice(2)]) {
      let known: unknown;
      const empty = new TextEncoder().encode('{}');
      const { sweepWindow } = createSweepActivities({
        engine,
        registry: {
          model: async () => ({ document: { monitoring: { window: '1h', performance: {} }, retraining: {} } }),
          champion: async () => ({ model: 'm', metric: { name: 'rmse' } }),
          labels: async () => given.map(([id, label]) => ({ id, label })),
          ...{ sinkFiles: async () => [], sweeps: async () => [], recordSweep: async (sweep: unknown) => sweep },
        },
        store: { getBytes: async () => empty, pathOf: async () => '' },
        drift: {
          async detect({ labels }: { labels: string }) {
            known = await read(labels);
            return { rows: 0, labelled: 0, features: [], performance: null };
          },
        },
        surroundings: { now: () => new Date(), scratch: (work: (into: string) => unknown) => work(folder) },
      } as unknown as Ports);
      await new MockActivityEnvironment().run(sweepWindow, { model: 'm', windowEndMs: 7_200_000 });
      expect(known).toEqual(given.map(([id, label]) => ({ id, label })));
    }
  });
});
