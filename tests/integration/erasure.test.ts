/**
 * Erasure, step by step on a real registry, store and data engine: cut off at any of its effects and tried again, it comes to the same end.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDatasetActivities } from '../../activities/dataset.ts';
import { createEraseActivities } from '../../activities/erase.ts';
import type { Ports } from '../../activities/ports.ts';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { writePredictions } from '../../src/adapters/duckdb/prediction-log.ts';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import { createSurroundings } from '../../src/adapters/surroundings.ts';
import { datasetSchema, modelSchema } from '../../src/contracts/documents.ts';
import { EVENT_TYPES } from '../../src/contracts/events.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import { eventKey } from '../../src/domain/ids.ts';
import type { ErasureRecord } from '../../src/ports/registry/erasures.ts';
import type { Registry } from '../../src/ports/registry.ts';
import type { ArtifactStore } from '../../src/ports/store.ts';
import { at, digestOf, origin } from '../support/registry-fixtures.ts';
import { query } from '../support/trainer.ts';

const apiVersion = 'refit.dev/v1';
const PERSON = 'person-7';
const EFFECTS = [
  'deleteArtifact',
  'commitDatasetVersion',
  'eraseSources',
  'replaceSinkFile',
  'replaceBatchOutput',
  'eraseLabels',
  'redact',
  'remove',
  'finishErasure',
] as const;
type Effect = (typeof EFFECTS)[number];

/** An attempt that is cut off is what these tests are about: no need to log it. */
const environment = () => new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });

const engine = createDataEngine();

let folder: string;
let registry: Registry;
let store: ArtifactStore;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'refit-erasure-'));
  registry = await openRegistry(`file:${join(folder, 'refit.db')}`);
  store = await openStore(`file:${join(folder, 'artifacts')}`);
});
afterEach(async () => {
  await registry.close();
  rmSync(folder, { recursive: true });
});

/** Fails once, before or after one effect of this name has been done. */
function failing<T extends object>(target: T, effect: Effect, when: 'before' | 'after', state: { left: number }): T {
  return new Proxy(target, {
    get(object, name, receiver) {
      const value: unknown = Reflect.get(object, name, receiver);
      if (typeof value !== 'function') return value;
      return async (...given: unknown[]) => {
        if (name === effect && when === 'before' && state.left-- === 0) throw new Error('cut off');
        const result: unknown = await (value as (...args: unknown[]) => unknown).apply(object, given);
        if (name === effect && when === 'after' && state.left-- === 0) throw new Error('cut off');
        return result;
      };
    },
  });
}

const ports = (): Ports =>
  ({
    ...{ registry, store, engine },
    surroundings: createSurroundings({ scratchRoot: join(folder, 'scratch'), dataRoots: [] }),
    messenger: { eventsArrived: async () => undefined },
  }) as unknown as Ports;

async function arrive(id: string, partition: string, sql: string, offset: number): Promise<void> {
  const path = join(folder, `${id}.parquet`);
  await query(`copy (${sql}) to '${path}' (format parquet)`);
  const data = { dataset: 'people', uris: [pathToFileURL(path).href], partition };
  const type = EVENT_TYPES.dataArrived;
  await registry.receive([
    {
      origin: origin(offset),
      at: at(offset),
      publishedAt: null,
      event: {
        ...{ source: 'test', id, type, subject: 'people', time: null },
        digest: digestOf({ type, subject: 'people', data }),
        body: canonicalJson({ specversion: '1.0', id, source: 'test', type, data }),
        target: { kind: 'dataset', name: 'people' },
      },
    },
  ]);
  const { ingest } = createDatasetActivities(ports());
  const result = await environment().run(ingest, { dataset: 'people', key: eventKey('test', id) });
  expect(result).toMatchObject({ status: 'version' });
}

/** Two versions of a dataset, predictions and an outcome of a model on it. */
async function world(): Promise<ErasureRecord> {
  const model = modelSchema.parse({
    ...{
      apiVersion,
      kind: 'Model',
      name: 'm',
      task: 'regression',
      dataset: 'people',
      label: { sql: 'y' },
      features: ['x'],
    },
    training: { trainer: 'sklearn' },
  });
  await registry.apply({
    datasets: [datasetSchema.parse({ apiVersion, kind: 'Dataset', name: 'people', id: 'who' })],
    models: [{ document: model, definitionDigest: digestOf(model) }],
    ...{ policies: [], projectDigest: digestOf('p'), root: folder, gitCommit: null, actor: 'dev', at: at(0) },
  });
  const people = (from: number, to: number) =>
    `select 'person-' || i as who, i::double as x, i * 2.0 as y from range(${from}, ${to}) t(i)`;
  await arrive('one', 'a', people(0, 10), 1);
  await arrive('two', 'b', people(10, 20), 2);
  const prediction = (id: string) => ({
    ...{ model: 'm', version: 1, deployment: 1, role: 'champion' as const, requestId: id, row: 0, id, time: at(3) },
    ...{ source: { x: 1 }, output: [1], latencyMs: 1 },
  });
  const file = await writePredictions([prediction(PERSON), prediction('person-8')], folder);
  const { digest } = await store.putFile(file);
  await registry.commitSinkFile({
    ...{ topic: 'refit.predictions', partition: 0, startOffset: '0', nextOffset: '2', digest, rows: 2, models: ['m'] },
    ...{ minTime: at(3), maxTime: at(3) },
  });
  const scores = join(folder, 'scores.parquet');
  await query(
    `copy (select 'person-' || i as id, 1.0 as prediction from range(20) t(i)) to '${scores}' (format parquet)`,
  );
  const { batch } = await registry.requestBatch({
    ...{ model: 'm', version: 1, dataset: 'people', datasetVersion: 2, joined: {}, actor: 'dev', requestKey: 'b' },
    at: at(3),
  });
  await registry.finishBatch('m', batch, { rows: 20, output: (await store.putFile(scores)).digest }, at(4));
  const labels = [PERSON, 'person-8'].map((id) => ({ id, label: 1, time: at(4) }));
  await registry.receive([
    {
      origin: origin(3, 'refit.labels'),
      at: at(4),
      publishedAt: null,
      event: {
        ...{ source: 'test', id: 'outcomes', type: EVENT_TYPES.labelsArrived, subject: 'm', time: null },
        digest: digestOf(labels),
        body: canonicalJson({ id: 'outcomes', data: { model: 'm', labels } }),
        target: { kind: 'model', name: 'm' },
        labels: labels.map((one) => ({ ...one, label: JSON.stringify(one.label) })),
      },
    },
  ]);
  return registry.requestErasure({
    ...{ dataset: 'people', requestKey: 'r', ids: [PERSON], actor: 'olga', reason: null, at: at(5) },
  });
}

/** What must hold at the end, however it came there. */
async function expectErased(): Promise<void> {
  const latest = await registry.latestDatasetVersion('people');
  expect(latest).toMatchObject({ version: 3, eventKey: 'refit/erasure 1', manifest: { rows: 19 } });
  expect(latest?.manifest.files.map((file) => [file.partition, file.rows])).toEqual([
    ['a', 9],
    ['b', 10],
  ]);
  const files = readdirSync(join(folder, 'artifacts'), { recursive: true, withFileTypes: true }).filter((one) =>
    one.isFile(),
  );
  for (const file of files) {
    const path = join(file.parentPath, file.name);
    const rows = await query(`select * from read_parquet('${path}')`).catch(() => []);
    expect(rows.flatMap((row) => Object.values(row))).not.toContain(PERSON);
  }
  const [log] = await registry.allSinkFiles('m');
  expect(log).toMatchObject({ rows: 1 });
  await store.pathOf(log?.digest ?? '');
  const batch = await registry.batch('m', 1);
  expect(batch).toMatchObject({ rows: 19 });
  await store.pathOf(batch?.output ?? '');
  expect((await registry.labels('m', '', 10)).map((one) => one.id)).toEqual(['person-8']);
  expect((await registry.event(eventKey('test', 'outcomes')))?.body).not.toContain(PERSON);
  expect(await registry.erasureIds('people', 1)).toEqual([]);
  for (const chain of ['dataset/people', 'm']) {
    expect(JSON.stringify(await registry.audit(chain, 100))).not.toContain(PERSON);
    expect(await registry.verifyAudit(chain)).toMatchObject({ ok: true });
  }
  expect(await registry.erasure('people', 1)).toMatchObject({
    report: { rows: { data: 1 }, version: 3, lostVersions: [1, 2] },
  });
}

const erase = (of: Ports) => environment().run(createEraseActivities(of).eraseRows, { dataset: 'people', erasure: 1 });

describe('erasure', () => {
  it('takes the rows out of all that is kept, and names nobody', async () => {
    await world();
    expect(await erase(ports())).toMatchObject({
      rows: { data: 1, predictions: 1, labels: 1, batches: 1 },
      heldElsewhere: 0,
    });
    await expectErased();
    // Asked again, it says the same and does nothing.
    expect(await erase(ports())).toMatchObject({ rows: { data: 1 } });
    expect((await registry.latestDatasetVersion('people'))?.version).toBe(3);
  });

  for (const effect of EFFECTS)
    for (const when of ['before', 'after'] as const)
      it(`cut off ${when} ${effect} and tried again, comes to the same end`, async () => {
        await world();
        const state = { left: 0 };
        const cut = ports();
        const broken: Ports = {
          ...cut,
          registry: failing(registry, effect, when, state),
          store: failing(store, effect, when, state),
        };
        const first = erase(broken);
        // The answer of the last effect alone may be lost without harm.
        await expect(first).rejects.toThrow('cut off');
        await erase(ports());
        await expectErased();
      });

  it('refuses the bytes that held the rows, and takes others', async () => {
    await world();
    await erase(ports());
    const data = { dataset: 'people', uris: [pathToFileURL(join(folder, 'one.parquet')).href], partition: 'a' };
    await registry.receive([
      {
        origin: origin(9),
        at: at(9),
        publishedAt: null,
        event: {
          ...{ source: 'test', id: 'back', type: EVENT_TYPES.dataArrived, subject: 'people', time: null },
          digest: digestOf(data),
          body: canonicalJson({ id: 'back', data }),
          target: { kind: 'dataset', name: 'people' },
        },
      },
    ]);
    const { ingest } = createDatasetActivities(ports());
    const result = await environment().run(ingest, {
      dataset: 'people',
      key: eventKey('test', 'back'),
    });
    expect(result).toMatchObject({ status: 'refused', reason: expect.stringMatching(/erasure 1 took rows out/) });
    await arrive('mended', 'a', "select 'person-1' as who, 1.0::double as x, 2.0 as y", 10);
  });

  it('leaves the file of another dataset that has the same bytes, and says so', async () => {
    await world();
    const [first] = (await registry.datasetVersion('people', 1))?.manifest.files ?? [];
    await registry.commitDatasetVersion({
      ...{
        dataset: 'copies',
        version: 1,
        manifestDigest: digestOf('c'),
        eventKey: 'e',
        newRows: 1,
        createdAt: at(1),
        corrects: null,
      },
      manifest: { dataset: 'copies', version: 1, columns: [], files: first ? [first] : [], rows: 10, maxTime: null },
    });
    expect(await erase(ports())).toMatchObject({ heldElsewhere: 1 });
    await store.pathOf(first?.digest ?? '');
  });
});
