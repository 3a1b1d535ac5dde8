/**
 * Two gateways and two workers on one registry in Postgres and one artifact store on S3, with real Kafka and Temporal: publishers' events come to a champion, and whatever gateway
 * took a delivery, each event has one fate.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { type PartProcess, quietPorts, runRefit, startPart, until } from '../support/e2e-refit.ts';
import { copyProject, type Run, writeGarden } from '../support/e2e-stack.ts';
import { newNamespace } from '../support/namespace.ts';
import { newPostgresUrl, postgresSql, split } from '../support/registry-backends.ts';
import { newBucket } from '../support/s3.ts';

// How long it takes is not what is proven here, and the machine may be busy.
const MINUTES_MS = 60_000;
const FILES = 4;

let folder: string;
let shared: NodeJS.ProcessEnv;
let databaseUrl: string;
let gateways: readonly number[];
const parts: PartProcess[] = [];

/** A home of its own for each, as on a host of its own. */
const placeOf = (name: string, env: NodeJS.ProcessEnv = {}) => ({
  cwd: folder,
  env: { ...shared, REFIT_HOME: join(folder, name), ...env },
});
/** Asks one gateway or the other. */
async function json<T>(gateway: number, ...args: string[]): Promise<T> {
  const place = placeOf('operator', { REFIT_URL: `http://127.0.0.1:${gateways[gateway]}` });
  const ended = await runRefit([...args, '--json'], place);
  if (ended.code !== 0) throw new Error(`refit ${args.join(' ')} exited with ${ended.code}: ${ended.stderr}`);
  return JSON.parse(ended.stdout) as T;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-postgres-'));
  gateways = await quietPorts(2);
  databaseUrl = newPostgresUrl();
  shared = {
    REFIT_URL: `http://127.0.0.1:${gateways[0]}`,
    REFIT_DATABASE_URL: databaseUrl,
    REFIT_ARTIFACTS_URL: `s3://${(await newBucket(inject('s3Url'))).bucket}/refit`,
    AWS_ENDPOINT_URL_S3: inject('s3Url'),
    AWS_ACCESS_KEY_ID: 'tests',
    AWS_SECRET_ACCESS_KEY: 'of-the-tests',
    REFIT_DATA_ROOTS: join(folder, 'lake'),
    REFIT_TOPIC_PREFIX: `postgres-${process.pid}-${Date.now()}.`,
    REFIT_PYTHON: inject('pythonPath'),
    KAFKA_BROKERS: inject('kafkaBrokers'),
    TEMPORAL_ADDRESS: inject('temporalAddress'),
    TEMPORAL_NAMESPACE: await newNamespace(inject('temporalAddress')),
  };
  await mkdir(join(folder, 'lake'));
  // All at once: of those that come to an empty database, one makes the tables.
  const [serve] = await quietPorts(1);
  parts.push(
    ...(await Promise.all([
      ...gateways.map((port, index) =>
        startPart('gateway', placeOf(`gateway-${index}`, { REFIT_GATEWAY_PORT: String(port) })),
      ),
      ...[0, 1].map((index) => startPart('worker', placeOf(`worker-${index}`))),
      startPart('serve', placeOf('serve', { REFIT_SERVE_PORT: String(serve) })),
    ])),
  );
}, 10 * MINUTES_MS);

afterAll(async () => {
  await Promise.all(parts.map((part) => part.end()));
  await postgresSql(databaseUrl, `DROP SCHEMA ${split(databaseUrl).schema} CASCADE`);
  await rm(folder, { recursive: true, force: true });
}, 10 * MINUTES_MS);

it(
  'two gateways and two workers bring events to a champion, each event with one fate',
  async () => {
    const project = await copyProject('gardens', folder);
    expect((await runRefit(['apply', project, '--as', 'dev'], placeOf('developer'))).code).toBe(0);
    expect((await runRefit(['pause', 'blooms', '--as', 'dev'], placeOf('developer'))).code).toBe(0);
    for (let file = 0; file < FILES; file += 1) {
      const path = join(folder, 'lake', `beds-${file}.parquet`);
      await writeGarden(path, file * 500, 500);
      const published = await runRefit(
        ['publish', 'data', 'beds', path, '--partition', `p${file}`, '--id', `file-${file}`],
        placeOf('publisher', { REFIT_URL: `http://127.0.0.1:${gateways[file % 2]}` }),
      );
      expect(published.code, published.stderr).toBe(0);
    }
    // All of them are held before the first may act: one run takes them all, however slow the machine.
    await until('all events are held for blooms', async () => {
      const held = await json<unknown[]>(1, 'events', 'list', '--model', 'blooms', '--fate', 'held', '--limit', '100');
      return held.length === FILES || null;
    });
    expect((await runRefit(['resume', 'blooms', '--as', 'dev'], placeOf('developer'))).code).toBe(0);
    await until('blooms waits for its decision', async () => {
      const [run] = await json<Run[]>(0, 'runs', 'list', 'blooms');
      return run?.stage === 'decide' || run?.outcome != null ? run : null;
    });
    expect((await runRefit(['approve', 'blooms-000001', '--as', 'ana'], placeOf('approver'))).code).toBe(0);
    await until('blooms has a champion', async () => {
      const versions = await json<{ readonly role: string }[]>(1, 'versions', 'blooms');
      return versions.find((version) => version.role === 'champion') ?? null;
    });

    const events = await until('each event has come to its fate', async () => {
      const found = await json<{ id: string; settled: boolean; fates: { model: string; fate: string }[] }[]>(
        1,
        ...['events', 'list', '--limit', '100'],
      );
      const files = found.filter((event) => event.id.startsWith('file-'));
      return files.length === FILES && files.every((event) => event.settled) ? files : null;
    });
    const ofBlooms = events.flatMap((event) =>
      event.fates.filter((one) => one.model === 'blooms').map((one) => one.fate),
    );
    expect(ofBlooms.sort()).toEqual(['acted_on', ...Array.from({ length: FILES - 1 }, () => 'coalesced')]);
    expect(await json(0, 'audit', 'verify', 'blooms')).toMatchObject({ ok: true });
    for (const part of parts) expect(part.said()).not.toContain(new URL(databaseUrl).password);
  },
  10 * MINUTES_MS,
);
