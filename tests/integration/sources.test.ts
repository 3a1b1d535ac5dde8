/** Where data may come from: each place against a real server, and each way out of what is allowed. */
import { createHash, randomUUID } from 'node:crypto';
import type { lookup } from 'node:dns';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { parquetOf, withSession } from '../../src/adapters/duckdb/session.ts';
import { isBlocked, lookupWith } from '../../src/adapters/sources/http.ts';
import { createSources } from '../../src/adapters/sources/index.ts';
import type { DatasetQuery } from '../../src/contracts/documents.ts';
import type { DataPlace } from '../../src/ports/surroundings.ts';
import { newBucket, type TestBucket } from '../support/s3.ts';

let folder: string;
let target: string;
let lake: TestBucket;
let web: Server;
let site: string;
const answers = new Map<string, { status: number; headers?: Record<string, string>; body?: string }>();
const asked: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-sources-'));
  target = join(folder, 'target');
  await mkdir(join(folder, 'data', 'deep'), { recursive: true });
  await mkdir(join(folder, 'outside'));
  for (const name of ['data/b.csv', 'data/a.csv', 'data/deep/c.csv', 'outside/secret.csv'])
    await writeFile(join(folder, name), `name\n${name}\n`);
  await symlink(join(folder, 'outside', 'secret.csv'), join(folder, 'data', 'link.csv'));
  await symlink(join(folder, 'outside'), join(folder, 'data', 'linked'));
  lake = await newBucket(inject('s3Url'));
  for (const key of ['sales/day=2/b c.csv', 'sales/day=1/a.csv', 'sales/day=1/a.txt', 'sales-secret/x.csv'])
    await lake.client.putBytes(lake.bucket, key, Buffer.from(key), false);
  web = createServer((request, response) => {
    asked.push(request.url ?? '');
    const { status = 404, headers = {}, body = '' } = answers.get(request.url ?? '') ?? {};
    response.writeHead(status, headers).end(body);
  });
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  site = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
});
afterAll(async () => {
  web.close();
  await rm(folder, { recursive: true });
});

const sources = (dataRoots: readonly string[], environment: NodeJS.ProcessEnv = {}, maxBytes = 1_000_000) =>
  createSources({ dataRoots, maxBytes, s3: lake.settings, environment });
const NOWHERE: DataPlace = { roots: [], queries: [], partition: null };
const uriOf = (path: string): string => pathToFileURL(join(folder, path)).href;
async function read(from: ReturnType<typeof sources>, uri: string, place = NOWHERE): Promise<string> {
  const { sha256, bytes } = await from.fetch(uri, place, target);
  const text = await readFile(target);
  expect({ sha256, bytes }).toEqual({ sha256: createHash('sha256').update(text).digest('hex'), bytes: text.length });
  return text.toString();
}
const refused = { name: 'DataProblem' };

describe('files of this host', () => {
  it('are read from the roots, else from the folder of the project', async () => {
    expect(await read(sources([join(folder, 'data')]), uriOf('data/a.csv'))).toBe('name\ndata/a.csv\n');
    expect(await read(sources([]), uriOf('data/a.csv'), { ...NOWHERE, roots: [join(folder, 'data')] })).toContain(
      'a.csv',
    );
    await expect(read(sources([join(folder, 'outside')]), uriOf('data/a.csv'))).rejects.toThrow(/outside the allowed/);
  });

  it('by a pattern, sorted, without what lies behind linked folders', async () => {
    const from = sources([join(folder, 'data')]);
    const names = async (uri: string) =>
      (await from.expand(uri, NOWHERE)).map((one) => one.slice(uriOf('data').length));
    expect(await names(uriOf('data/*.csv'))).toEqual(['/a.csv', '/b.csv', '/link.csv']);
    expect(await names(uriOf('data/**/*.csv'))).toEqual(['/a.csv', '/b.csv', '/deep/c.csv', '/link.csv']);
    expect(await names(uriOf('data/*/c.csv'))).toEqual(['/deep/c.csv']);
    await expect(names(uriOf('data/*.parquet'))).rejects.toThrow(/no file matches/);
    await expect(names(uriOf('*/secret.csv'))).rejects.toThrow(/outside the allowed/);
    await expect(read(from, uriOf('data/link.csv'))).rejects.toThrow(/outside the allowed/);
  });

  it.each([
    ['another scheme', () => 'ftp://host/a.csv'],
    ['a bare path', () => join(folder, 'data/a.csv')],
    ['dots', () => `file://${folder}/data/../outside/secret.csv`],
    ['escaped dots', () => `file://${folder}/data/%2e%2e/outside/secret.csv`],
    ['an escaped separator', () => `file://${folder}/data%2foutside`],
    ['NUL', () => `file://${folder}/data/a.csv%00.parquet`],
    ['a backslash', () => `file://${folder}/data/..\\outside`],
    ['another host', () => `file://elsewhere${folder}/data/a.csv`],
    ['a folder', () => uriOf('data/deep')],
    ['nothing there', () => uriOf('data/none.csv')],
  ])('refuses %s', async (_name, uri) => {
    await expect(read(sources([join(folder, 'data')]), uri())).rejects.toMatchObject(refused);
  });
});

describe('objects of S3', () => {
  it('are read below a root, by whole segments', async () => {
    const from = sources([`s3://${lake.bucket}/sales`]);
    expect(await read(from, `s3://${lake.bucket}/sales/day=2/b c.csv`)).toBe('sales/day=2/b c.csv');
    await expect(read(from, `s3://${lake.bucket}/sales-secret/x.csv`)).rejects.toThrow(/outside of where/);
    await expect(read(from, `s3://${lake.bucket}/sales/../sales-secret/x.csv`)).rejects.toThrow(/dots/);
    await expect(read(from, `s3://${lake.bucket}x/sales/a.csv`)).rejects.toThrow(/outside of where/);
    await expect(read(from, uriOf('data/a.csv'))).rejects.toThrow(/outside the allowed/);
  });
  it('by a pattern', async () => {
    const from = sources([`s3://${lake.bucket}/sales`]);
    const found = await from.expand(`s3://${lake.bucket}/sales/*/*.csv`, NOWHERE);
    expect(found).toEqual([`s3://${lake.bucket}/sales/day=1/a.csv`, `s3://${lake.bucket}/sales/day=2/b c.csv`]);
    await expect(from.expand(`s3://${lake.bucket}/*/x.csv`, NOWHERE)).rejects.toThrow(/outside of where/);
    await expect(from.expand(`s3://${lake.bucket}/sales*/x.csv`, NOWHERE)).rejects.toThrow(/outside of where/);
  });
  it('what is not there is refused, an outage is none of the data', async () => {
    const missing = read(sources([`s3://${lake.bucket}`]), `s3://${lake.bucket}/none.csv`);
    await expect(missing).rejects.toThrow(/404/);
    await expect(missing).rejects.toMatchObject(refused);
    const s3 = { ...lake.settings, endpoint: 'http://127.0.0.1:9' };
    const away = createSources({ dataRoots: ['s3://lake'], maxBytes: 1, s3, environment: {} });
    await expect(read(away, 's3://lake/a.csv')).rejects.toThrow(/ECONNREFUSED/);
    await expect(read(away, 's3://lake/a.csv')).rejects.not.toMatchObject(refused);
  });
});

describe('files over HTTP', () => {
  it('are read below a root, also by redirects within it', async () => {
    answers.set('/data/a.csv', { status: 200, body: 'a\n1\n' });
    answers.set('/data/old.csv?x=1', { status: 302, headers: { location: 'a.csv' } });
    const from = sources([`${site}/data`]);
    expect(await read(from, `${site}/data/a.csv`)).toBe('a\n1\n');
    expect(await read(from, `${site}/data/old.csv?x=1`)).toBe('a\n1\n');
  });

  it('what lies outside is not even asked for', async () => {
    const from = sources([`${site}/data`]);
    asked.length = 0;
    const other = new URL(site);
    for (const uri of [
      `${site}/admin`,
      `${site}/database`,
      `http://user:key@${other.host}/data/a.csv`,
      'https://127.0.0.1/data/a.csv',
      `http://localhost:${other.port}/data/a.csv`,
    ])
      await expect(read(from, uri)).rejects.toMatchObject(refused);
    expect(asked).toEqual([]);
    for (const [path, location] of [
      ['/data/out', '/admin'],
      ['/data/meta', 'http://169.254.169.254/latest'],
      ['/data/file', `file://${folder}/data/a.csv`],
      ['/data/round', 'round'],
    ] as const) {
      answers.set(path, { status: 302, headers: { location } });
      await expect(read(from, `${site}${path}`)).rejects.toMatchObject(refused);
    }
    expect(new Set(asked)).toEqual(new Set(['/data/out', '/data/meta', '/data/file', '/data/round']));
  });

  it('a name that resolves to this host is not connected to, an address that a root names is', async () => {
    const port = new URL(site).port;
    answers.set('/data/b.csv', { status: 200, body: 'b' });
    const resolved = (name: string, address: string): Promise<string> =>
      new Promise((resolve) => {
        const system = ((_name: string, _options: object, callback: (error: null, found: object[]) => void) =>
          callback(null, [
            { address: '93.184.216.34', family: 4 },
            { address, family: 4 },
          ])) as unknown as typeof lookup;
        lookupWith(system)(name, {}, (error, found) => resolve(error?.message ?? String(found)));
      });
    // One wrong address among others is enough: which of them is taken, the resolver decides.
    expect(await resolved('data.example', '127.0.0.1')).toMatch(
      /data\.example resolves to 127\.0\.0\.1, which is no other host/,
    );
    expect(await resolved('data.example', '169.254.169.254')).toMatch(/no other host/);
    expect(await resolved('data.example', '10.0.0.5')).toBe('93.184.216.34');
    expect(await resolved('localhost', '127.0.0.1')).toBe('93.184.216.34');
    expect(await read(sources([`http://localhost:${port}/data`]), `http://localhost:${port}/data/b.csv`)).toBe('b');
    for (const address of [
      '127.0.0.1',
      '127.9.9.9',
      '0.0.0.0',
      '169.254.169.254',
      '::1',
      '::',
      'fe80::1',
      '::ffff:127.0.0.1',
    ])
      expect([address, isBlocked(address)]).toEqual([address, true]);
    for (const address of ['10.0.0.5', '93.184.216.34', '2606:2800:220:1::1']) expect(isBlocked(address)).toBe(false);
  });

  it('too much is refused, a refusal is final, an outage is not', async () => {
    answers.set('/data/large', { status: 200, body: 'x'.repeat(2_000) });
    await expect(read(sources([`${site}/data`], {}, 1_000), `${site}/data/large`)).rejects.toThrow(
      /REFIT_DATA_MAX_BYTES/,
    );
    for (const status of [401, 403, 404, 410]) {
      answers.set('/data/no', { status });
      await expect(read(sources([`${site}/data`]), `${site}/data/no`)).rejects.toMatchObject(refused);
    }
    for (const status of [429, 500, 503]) {
      answers.set('/data/no', { status });
      await expect(read(sources([`${site}/data`]), `${site}/data/no`)).rejects.not.toMatchObject(refused);
    }
  });
});

describe('queries of Postgres', () => {
  const url = `\${WAREHOUSE_URL}`;
  const queries: readonly DatasetQuery[] = [
    { name: 'table', url, table: 'sources.sales' },
    { name: 'day', url, sql: 'SELECT * FROM sources.sales WHERE day = $1 ORDER BY id' },
    { name: 'writes', url, sql: "SELECT set_config('x.y', 'z', false), nextval('sources.counter')" },
    { name: 'ends', url, sql: 'SELECT 1 AS a; COMMIT; DROP TABLE sources.sales' },
    { name: 'nested', url, sql: "SELECT '[1]'::json AS list" },
    { name: 'wrong', url, sql: 'SELECT none FROM sources.sales' },
    { name: 'many', url, sql: 'SELECT i AS id, md5(i::text) AS text FROM generate_series(1, 5000) AS t(i)' },
  ];
  const place = { ...NOWHERE, queries };
  const environment = { WAREHOUSE_URL: '' };

  beforeAll(async () => {
    environment.WAREHOUSE_URL = inject('postgresUrl');
    const client = new pg.Client({ connectionString: environment.WAREHOUSE_URL });
    await client.connect();
    await client.query(`DROP SCHEMA IF EXISTS sources CASCADE; CREATE SCHEMA sources; CREATE SEQUENCE sources.counter;
      CREATE TABLE sources.sales (id bigint, code text, amount numeric, price float8, paid boolean, at timestamptz, day text);
      INSERT INTO sources.sales VALUES (9007199254740993, '007', 1.5, 'NaN', true, '2024-01-01 02:00:00+02', 'monday'),
        (2, NULL, NULL, 0.1, false, '2024-01-02 00:00:00.123456Z', 'tuesday')`);
    await client.end();
  });

  it('a table keeps the types of Postgres', async () => {
    const from = sources([], environment);
    const fetched = await from.fetch('query:table', place, target);
    const output = join(folder, 'table.parquet');
    const engine = createDataEngine();
    const request = {
      path: target,
      format: 'jsonl',
      timeColumn: 'at',
      output,
      columns: fetched.columns ?? [],
    } as const;
    const { columns, minTime, maxTime } = await engine.convert(request);
    expect(columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
      ...['id int64', 'code string', 'amount float64', 'price float64', 'paid bool', 'at timestamp', 'day string'],
    ]);
    expect([minTime, maxTime]).toEqual(['2024-01-01T00:00:00Z', '2024-01-02T00:00:00.123456Z']);
    const rows = await withSession({ files: [output] }, (session) =>
      session.rows(
        `SELECT id::VARCHAR AS id, code, amount, price::VARCHAR AS price, paid FROM ${parquetOf([output])} ORDER BY day`,
      ),
    );
    expect(rows).toEqual([
      { id: '9007199254740993', code: '007', amount: 1.5, price: 'nan', paid: true },
      { id: '2', code: null, amount: null, price: '0.1', paid: false },
    ]);
  });

  it('the partition of the event is a parameter, and many rows come by a cursor', async () => {
    const from = sources([], environment);
    expect(await read(from, 'query:day', { ...place, partition: "monday'; DROP TABLE sources.sales; --" })).toBe('');
    expect(await read(from, 'query:day', { ...place, partition: 'tuesday' })).toContain('"id":"2"');
    await expect(read(from, 'query:day', place)).rejects.toThrow(/names none/);
    expect((await read(from, 'query:many', place)).split('\n')).toHaveLength(5_001);
  });

  it.each([
    ['writes', /read-only transaction/],
    ['ends', /multiple commands/],
    ['nested', /nested or binary/],
    ['wrong', /column "none" does not exist/],
    ['unknown', /declares no such query \(table, day/],
  ])('refuses %s', async (name, message) => {
    const no = read(sources([], environment), `query:${name}`, place);
    await expect(no).rejects.toThrow(message);
    await expect(no).rejects.toMatchObject(refused);
  });

  it('a server that is away, or a variable that is not set, is an outage, and shows no password', async () => {
    for (const WAREHOUSE_URL of [undefined, `postgres://me:${randomUUID()}@127.0.0.1:9/x`]) {
      const no = read(sources([], { WAREHOUSE_URL }), 'query:table', place);
      await expect(no).rejects.not.toMatchObject(refused);
      await expect(no).rejects.not.toThrow(/me:/);
    }
  });
});
