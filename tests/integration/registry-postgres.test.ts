/** The registry on a Postgres of its own: restarts under load, locks, answers that get lost, and addresses that lead nowhere. */
import { connect as connectTo, createServer, type Server } from 'node:net';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { eventKey } from '../../src/domain/ids.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { quietPorts } from '../support/e2e-refit.ts';
import { type PostgresServer, startPostgres } from '../support/postgres.ts';
import { newPostgresUrl, split } from '../support/registry-backends.ts';
import { at, delivery, event, openRun, project } from '../support/registry-fixtures.ts';
import { temporaryHome } from '../support/stack.ts';

let server: PostgresServer;
let url: string;
let registry: Registry;

beforeAll(async () => {
  const [port = 0] = await quietPorts(1);
  server = await startPostgres(await temporaryHome('own-postgres'), port);
});
afterAll(() => server.stop());
beforeEach(async () => {
  url = newPostgresUrl(server.url);
  registry = await openRegistry(url);
  await registry.apply(project());
});
afterEach(() => registry.close());

/** A connection of an operator, in the registry's schema. */
async function shell(): Promise<pg.Client> {
  const { connectionString, schema } = split(url);
  const client = new pg.Client({ connectionString });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(`SET search_path = ${schema}`);
  return client;
}
const LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('refit registry ' || current_schema(), 0))";
const pause = (by: string) => registry.setPaused('m', { by, reason: null }, at(1));

it('restarts under load: what was acknowledged is there once, and nobody saw a failure', async () => {
  const writers = await Promise.all(Array.from({ length: 3 }, () => openRegistry(url)));
  let stopped = false;
  const acknowledged: string[] = [];
  const load = Promise.all(
    writers.map(async (writer, index) => {
      for (let count = 0; !stopped; count += 1) {
        const id = `${index}-${count}`;
        await writer.receive([delivery(index * 1_000_000 + count, event('drift', id, 'm'))]);
        const { run } = await openRun(writer, 'm', id, [eventKey('test', id)]);
        await writer.recordAudit({ model: 'd', action: 'test', actor: null, body: { id }, at: at(1) });
        acknowledged.push(`${eventKey('test', id)} ${run}`);
      }
    }),
  );
  for (let restart = 1; restart <= 3; restart += 1) {
    const before = acknowledged.length;
    await expect.poll(() => acknowledged.length, { timeout: 30_000 }).toBeGreaterThan(before + 10);
    await server.restart();
  }
  stopped = true;
  await load;
  for (const writer of writers) await writer.close();
  const runs = await registry.runs({ model: 'm', limit: 1_000_000 });
  expect(runs.map(({ run, eventKeys }) => `${eventKeys[0]} ${run}`).sort()).toEqual(acknowledged.sort());
  // Audit rows that have no key of their own show best whether a commit was carried out twice.
  expect((await registry.verifyAudit('d')).rows).toBe(acknowledged.length);
  expect(await registry.verifyAudit('m')).toMatchObject({ ok: true });
  expect((await registry.deliveryCounts()).counts).toMatchObject({ acted_on: runs.length, received: 0 });
}, 120_000);

describe('a writer that holds the lock', () => {
  it('and dies in the middle has changed nothing, and the next one writes', async () => {
    const writer = await shell();
    await writer.query('BEGIN');
    await writer.query(LOCK);
    await writer.query("INSERT INTO pauses (model, paused_by, at) VALUES ('m', 'eve', '')");
    const pending = pause('ana');
    const operator = await shell();
    await expect
      .poll(
        async () =>
          (await operator.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")).rowCount,
      )
      .toBe(1);
    await operator.query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted");
    await pending;
    expect(await registry.paused('m')).toMatchObject({ by: 'ana' });
    await operator.end();
  });

  it('for a minute: writers are told after 30 s, readers wait for nobody, and a server that is away is named without the password', async () => {
    const writer = await shell();
    await writer.query('BEGIN');
    await writer.query(LOCK);
    const [port = 0] = await quietPorts(1);
    const away = new URL(url);
    away.port = String(port);
    const outage = openRegistry(away.href).then(
      () => 'opened',
      (error: unknown) => String(error),
    );
    const answer = pause('ana').then(
      () => 'written',
      (error: unknown) => String(error),
    );
    expect(await registry.paused('m')).toBeNull();
    expect(await answer).toMatch(
      /RegistryLocked: the registry postgres:\/\/127\.0\.0\.1:\d+\/refit\S* has been locked .* for 30 s/,
    );
    await writer.query('ROLLBACK');
    await writer.end();
    expect(await registry.paused('m')).toBeNull();
    await pause('ben');
    expect(await registry.paused('m')).toMatchObject({ by: 'ben' });
    expect(await outage).toMatch(
      new RegExp(`RegistryError: the registry postgres://127.0.0.1:${port}/refit\\S* .*ECONNREFUSED`),
    );
    expect(await outage).not.toContain(away.password);
  }, 90_000);
});

/** Passes everything on, but cuts the connection at the next COMMIT once it is armed: before the server has it, or before the client has its answer. */
async function cuttingProxy(to: URL, when: 'before' | 'after'): Promise<{ server: Server; url: string; arm(): void }> {
  let isArmed = false;
  const proxy = createServer((client) => {
    const upstream = connectTo(Number(to.port), to.hostname);
    let cut = false;
    client.on('data', (chunk: Buffer) => {
      // The statement alone: 'READ COMMITTED' begins a transaction.
      if (isArmed && chunk.includes('COMMIT\0')) {
        isArmed = false;
        cut = true;
        if (when === 'before') {
          upstream.destroy();
          client.destroy();
          return;
        }
      }
      upstream.write(chunk);
    });
    upstream.on('data', (chunk: Buffer) => {
      if (!cut) client.write(chunk);
      else client.destroy();
    });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => undefined);
      one.on('close', () => other.destroy());
    }
  });
  const [port = 0] = await quietPorts(1);
  await new Promise<void>((resolve) => {
    proxy.listen(port, '127.0.0.1', resolve);
  });
  const url = new URL(to);
  url.port = String(port);
  return { server: proxy, url: url.href, arm: () => (isArmed = true) };
}

describe('a connection that breaks', () => {
  it.each(['before', 'after'] as const)('%s the commit: what has no key of its own is written once', async (when) => {
    const proxy = await cuttingProxy(new URL(url), when);
    const through = await openRegistry(proxy.url);
    proxy.arm();
    await through.recordAudit({ model: 'x', action: 'once', actor: null, body: {}, at: at(1) });
    expect(await registry.verifyAudit('x')).toMatchObject({ ok: true, rows: 1 });
    proxy.arm();
    expect(await through.apply(project(['m', 'later']))).toMatchObject([
      {},
      {},
      { name: 'later', status: 'created' },
      {},
    ]);
    await through.close();
    proxy.server.close();
  });
});

describe('an address', () => {
  const opening = (address: string) => openRegistry(address).then(String, String);

  it('that leads to nobody, or is none, is an error with host and database, and never with the password', async () => {
    const wrong = new URL(url);
    wrong.password = 'hunter2';
    expect(await opening(wrong.href)).toMatch(
      /RegistryError: the registry postgres:.*\/refit.*password authentication failed/,
    );
    const missing = new URL(url);
    missing.pathname = '/nowhere';
    expect(await opening(missing.href)).toMatch(/RegistryError: .*\/nowhere.* database "nowhere" does not exist/);
    for (const [address, problem] of [
      ['postgres://me:hunter2@x', /none that can be read/],
      ['postgres://me:hunter2@x/db?sslmode=perhaps', /sslmode=perhaps; it must be/],
      ['postgres://me:hunter2@x/db?schema=A-b', /schema=A-b; it must be/],
      ['postgres://me:hunter2@x/db?timeout=1', /unknown parameter timeout/],
    ] as const)
      expect(await opening(address)).toMatch(problem);
    for (const address of [wrong.href, 'postgres://me:hunter2@x', 'postgres://me:hunter2@x/db?schema=A-b'])
      expect(await opening(address)).not.toContain('hunter2');
  });

  it('may set the schema by options, and TLS that the server does not offer is not done without', async () => {
    const { schema } = split(url);
    const byOptions = new URL(url);
    byOptions.search = `?options=${encodeURIComponent(`-c search_path=${schema}`)}`;
    const other = await openRegistry(byOptions.href);
    expect((await other.models()).map((one) => one.name)).toEqual(['m']);
    await other.close();
    expect(await opening(`${url}&sslmode=require`)).toMatch(/does not support SSL/);
  }, 60_000);
});

it('text with a NUL, which Postgres has no place for, is kept with its symbol', async () => {
  await registry.receive([
    {
      origin: { topic: 'refit.data', partition: 0, offset: '1' },
      at: at(1),
      publishedAt: null,
      malformed: { reason: 'data', detail: 'a\0b' },
    },
  ]);
  expect(await registry.deadLetters(1)).toMatchObject([{ detail: 'a\u2400b' }]);
});
