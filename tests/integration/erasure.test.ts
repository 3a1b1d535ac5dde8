/**
 * Erasure, step by step on a real registry, store and data engine: cut off at any of its effects and tried again, it comes to the same end.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CancelledFailure } from '@temporalio/activity';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { presentPath } from '../../activities/artifacts.ts';
import { createDatasetActivities } from '../../activities/dataset.ts';
import { createEraseActivities } from '../../activities/erase.ts';
import type { Ports } from '../../activities/ports.ts';
import { createSnapshotActivities } from '../../activities/snapshot.ts';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { writePredictions } from '../../src/adapters/duckdb/prediction-log.ts';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import { createSurroundings } from '../../src/adapters/surroundings.ts';
import type { SnapshotManifest } from '../../src/contracts/data.ts';
import { datasetSchema, modelSchema } from '../../src/contracts/documents.ts';
import { EVENT_TYPES } from '../../src/contracts/events.ts';
import type { ErasedData, ErasureProgress, ErasureSlice } from '../../src/contracts/messages.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import { advanced, begun } from '../../src/domain/erasure.ts';
import { erasureReason, eventKey } from '../../src/domain/ids.ts';
import type { FindIdsRequest } from '../../src/ports/data.ts';
import type { ErasureRecord } from '../../src/ports/registry/erasures.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { type ArtifactStore, readJson } from '../../src/ports/store.ts';
import { BACKENDS, freshOn } from '../support/registry-backends.ts';
import { at, digestOf, openRun, origin, project } from '../support/registry-fixtures.ts';
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

async function arrive(
  id: string,
  partition: string,
  sql: string,
  offset: number,
  { dataset = 'people', compression = 'snappy' } = {},
): Promise<void> {
  const path = join(folder, `${id}.parquet`);
  await query(`copy (${sql}) to '${path}' (format parquet, compression ${compression})`);
  const data = { dataset, uris: [pathToFileURL(path).href], partition };
  const type = EVENT_TYPES.dataArrived;
  await registry.receive([
    {
      origin: origin(offset),
      at: at(offset),
      publishedAt: null,
      event: {
        ...{ source: 'test', id, type, subject: dataset, time: null },
        digest: digestOf({ type, subject: dataset, data }),
        body: canonicalJson({ specversion: '1.0', id, source: 'test', type, data }),
        target: { kind: 'dataset', name: dataset },
      },
    },
  ]);
  const { ingest } = createDatasetActivities(ports());
  const result = await environment().run(ingest, { dataset, key: eventKey('test', id) });
  expect(result).toMatchObject({ status: 'version' });
}

const people = (from: number, to: number, id = 'who') =>
  `select 'person-' || i as ${id}, i::double as x, (i * 37 % 11)::double as y from range(${from}, ${to}) t(i)`;

const MODEL = modelSchema.parse({
  ...{ apiVersion, kind: 'Model', name: 'm', task: 'regression', dataset: 'people', label: { sql: 'y' } },
  ...{ features: ['x'], training: { trainer: 'sklearn' } },
});

/** Datasets with their id, and the model on the first of them. */
const applied = (datasets: Readonly<Record<string, string | undefined>>, model = MODEL) =>
  registry.apply({
    datasets: Object.entries(datasets).map(([name, id]) =>
      datasetSchema.parse({ apiVersion, kind: 'Dataset', name, ...(id === undefined ? {} : { id }) }),
    ),
    models: [{ document: model, definitionDigest: digestOf(model) }],
    ...{ policies: [], projectDigest: digestOf('p'), root: folder, gitCommit: null, actor: 'dev', at: at(0) },
  });

const asked = (dataset: string, requestKey: string, ids: readonly string[]) =>
  registry.requestErasure({ dataset, requestKey, ids, actor: 'olga', reason: null, at: at(5) });

async function opened(requestKey: string, repeats: string | null = null): Promise<string> {
  const run = await registry.openRun({
    ...{ model: 'm', requestKey, trigger: 'manual', eventKeys: [], requester: 'dev', reason: null, repeats },
    ...{ definitionDigest: digestOf(MODEL), at: at(3) },
  });
  if (run.status !== 'opened') throw new Error(run.reason);
  return run.run.run;
}

const build = (run: string, of = ports()) =>
  environment().run(createSnapshotActivities(of).buildSnapshot, {
    ...{ model: 'm', run, definitionDigest: digestOf(MODEL) },
  });

async function manifestOf(run: string): Promise<SnapshotManifest> {
  return readJson<SnapshotManifest>(store, (await registry.run(run))?.snapshot ?? '');
}

/** Rows of all Parquet files in the store that have the text in any column. */
async function filesNaming(text: string): Promise<readonly string[]> {
  const files = readdirSync(join(folder, 'artifacts'), { recursive: true, withFileTypes: true });
  const naming: string[] = [];
  for (const file of files.filter((one) => one.isFile())) {
    const path = join(file.parentPath, file.name);
    const rows = await query(`select * from read_parquet('${path}')`).catch(() => []);
    if (rows.some((row) => Object.values(row).includes(text))) naming.push(path);
  }
  return naming;
}
const rowsOf = async (digest: string): Promise<number> =>
  (await query(`select * from read_parquet('${await presentPath(ports(), digest)}')`)).length;

/** One more file of the log of predictions. */
async function logged(offset: number, ids: readonly string[]): Promise<void> {
  const prediction = (id: string) => ({
    ...{ model: 'm', version: 1, deployment: 1, role: 'champion' as const, requestId: id, row: 0, id, time: at(3) },
    ...{ source: { x: 1 }, output: [1], latencyMs: 1 },
  });
  const { digest } = await store.putFile(await writePredictions(ids.map(prediction), folder));
  const [startOffset, nextOffset] = [String(offset), String(offset + ids.length)];
  await registry.commitSinkFile({
    ...{ topic: 'refit.predictions', partition: 0, startOffset, nextOffset, digest, rows: ids.length, models: ['m'] },
    ...{ minTime: at(3), maxTime: at(3) },
  });
}

/** Two versions of a dataset, predictions and an outcome of a model on it. */
async function world(): Promise<ErasureRecord> {
  await applied({ people: 'who' });
  await arrive('one', 'a', people(0, 10), 1);
  await arrive('two', 'b', people(10, 20), 2);
  await logged(0, [PERSON, 'person-8']);
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
  return asked('people', 'r', [PERSON]);
}

/** What must hold at the end, however it came there. */
async function expectErased(): Promise<void> {
  const latest = await registry.latestDatasetVersion('people');
  expect(latest).toMatchObject({ version: 3, eventKey: 'refit/erasure 1', manifest: { rows: 19 } });
  expect(latest?.manifest.files.map((file) => [file.partition, file.rows])).toEqual([
    ['a', 9],
    ['b', 10],
  ]);
  expect(await filesNaming(PERSON)).toEqual([]);
  const [{ file: log } = {}] = await registry.sinkFilesAfter(0, 10);
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

const erase = (of: Ports, dataset = 'people', erasure = 1) =>
  environment().run(createEraseActivities(of).eraseRows, { dataset, erasure });

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

  it('goes slice by slice over a long log, and each slice can be done again', async () => {
    await world();
    for (let offset = 2; offset < 10; offset += 2)
      await logged(offset, ['person-8', offset === 6 ? PERSON : 'person-9']);
    const activities = createEraseActivities(ports(), { sliceMs: 0, page: 2 });
    const request = { dataset: 'people', erasure: 1 };
    const data: ErasedData | null = await environment().run(activities.eraseData, request);
    const slices: string[] = [];
    let progress: ErasureProgress | null = data && begun(1, data);
    while (progress !== null && progress.step !== 'finish') {
      const { step, idColumn, after } = progress;
      slices.push(step);
      const input = { ...request, idColumn, after };
      const work = {
        ...{ snapshots: activities.eraseSnapshots, bytes: activities.deleteErasedBytes },
        ...{ predictions: activities.erasePredictions, batches: activities.eraseBatches },
      }[step];
      const slice: ErasureSlice | null = await environment().run(work, input);
      // An answer that was lost.
      expect(await environment().run(work, input)).toMatchObject({ rows: 0, after: slice?.after });
      progress = slice && advanced({ ...progress, step }, slice);
    }
    expect(slices).toEqual(['snapshots', 'bytes', 'predictions', 'predictions', 'predictions', 'batches']);
    expect(progress?.tally.rows).toEqual({ data: 1, snapshots: 0, predictions: 2, batches: 1 });
    // Of the log nothing is left until the end.
    expect(await filesNaming(PERSON)).toHaveLength(1);
    if (progress) await environment().run(activities.finishErasure, { ...request, tally: progress.tally });
    await expectErased();
    expect((await registry.sinkFilesAfter(0, 10)).map(({ file }) => file.rows)).toEqual([1, 2, 2, 1, 2]);
    // Over is over.
    expect(await environment().run(activities.eraseData, request)).toBeNull();
  });

  it('stops where Temporal has given the attempt up, for another one does its work', async () => {
    await world();
    const cancelled = environment();
    const given = {
      ...ports(),
      engine: {
        ...engine,
        async findIds(request: FindIdsRequest) {
          cancelled.cancel();
          return engine.findIds(request);
        },
      },
    };
    const request = { dataset: 'people', erasure: 1 };
    await expect(cancelled.run(createEraseActivities(given).eraseData, request)).rejects.toThrow(CancelledFailure);
    expect((await registry.latestDatasetVersion('people'))?.version).toBe(2);
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

  it('leaves what another dataset has too, which goes on from there, until it is erased there as well', async () => {
    await applied({ people: 'who', copies: 'who' });
    await arrive('one', 'a', people(0, 10), 1);
    await arrive('copied', 'a', people(0, 10), 2, { dataset: 'copies' });
    await asked('people', 'r', [PERSON]);
    // The file and its profile.
    expect(await erase(ports())).toMatchObject({ lostVersions: [1], heldElsewhere: 2 });
    expect(await filesNaming(PERSON)).toHaveLength(1);
    await arrive('more', 'b', people(10, 20), 3, { dataset: 'copies' });
    await asked('copies', 'r', [PERSON]);
    expect(await erase(ports(), 'copies')).toMatchObject({ version: 3, lostVersions: [1, 2], heldElsewhere: 0 });
    expect(await filesNaming(PERSON)).toEqual([]);
    // The copy without the person is a file of both: an erasure in one takes nothing from the other.
    await asked('people', 's', ['person-8']);
    await erase(ports(), 'people', 2);
    const copies = (await registry.latestDatasetVersion('copies'))?.manifest;
    for (const { digest } of copies?.files ?? []) await store.pathOf(digest);
    // A release before this one took the profile, too: then there is none to compare with.
    const profile = copies?.profile ?? '';
    await registry.deleteArtifact({
      digest: profile,
      replacement: null,
      reason: erasureReason('people', 2),
      at: at(6),
    });
    await store.remove(profile);
    await arrive('yet-more', 'c', people(20, 30), 4, { dataset: 'copies' });
  });

  it('takes out again what came back in other bytes', async () => {
    await applied({ people: 'who' });
    await arrive('one', 'a', people(0, 10), 1);
    await asked('people', 'r', [PERSON]);
    await erase(ports());
    await arrive('back', 'a', people(0, 10), 2, { compression: 'zstd' });
    expect(await filesNaming(PERSON)).toHaveLength(1);
    await asked('people', 's', [PERSON]);
    expect(await erase(ports(), 'people', 2)).toMatchObject({ version: 4, lostVersions: [1, 3] });
    expect(await filesNaming(PERSON)).toEqual([]);
  });

  it('finds rows where the name of the id differs in case, also in snapshots, and in bytes that were deleted and made again', async () => {
    await applied({ people: 'who' });
    await arrive('one', 'a', people(0, 40, 'WHO'), 1);
    await arrive('two', 'b', people(40, 60, 'Who'), 2);
    const run = await opened('first');
    expect(await build(run)).toMatchObject({ status: 'ready' });
    const { parts, reference } = await manifestOf(run);
    const [row] = await query(`select __id from read_parquet('${await store.pathOf(parts.train.digest)}')`);
    const person = String(Object.values(row ?? {})[0]);
    await registry.deleteArtifact({
      ...{ digest: parts.train.digest, replacement: null, reason: 'retention of runs: once', at: at(4) },
    });
    await asked('people', 'r', [person]);
    expect(await erase(ports())).toMatchObject({
      rows: { data: 1, snapshots: 2 },
      unrepeatable: [{ model: 'm', run }],
    });
    expect(await filesNaming(person)).toEqual([]);
    expect([await rowsOf(parts.train.digest), await rowsOf(reference)]).toEqual([
      parts.train.rows - 1,
      parts.train.rows - 1,
    ]);
  });

  it('says why where nobody can be told apart, and does nothing', async () => {
    await applied({ people: 'who' });
    await arrive('one', 'a', people(0, 10), 1);
    await applied({ people: 'nobody' });
    await asked('people', 'r', [PERSON]);
    expect(await erase(ports())).toMatchObject({
      ...{ rows: { data: 0 }, failure: expect.stringMatching(/version 1 of dataset people has no column nobody/) },
    });
    await applied({ people: undefined });
    await asked('people', 's', [PERSON]);
    expect(await erase(ports(), 'people', 2)).toMatchObject({ failure: expect.stringMatching(/names no id/) });
    expect(await registry.openErasures()).toEqual([]);
    expect(await registry.audit('dataset/people', 100)).toContainEqual(
      expect.objectContaining({ action: 'erasure.failed' }),
    );
  });

  it('takes out what trainers wrote where it names the id, and leaves the rest', async () => {
    await applied({ people: 'who' });
    await arrive('one', 'a', people(0, 40), 1);
    const [trained, failed] = [await opened('trained'), await opened('failed')];
    await build(trained);
    const [naming, other] = [
      await store.putBytes(Buffer.from(`dropped ${PERSON}`)),
      await store.putBytes(Buffer.from('12 rounds')),
    ];
    const training = {
      ...{
        onnx: digestOf('onnx'),
        predictions: (await manifestOf(trained)).parts.validation.digest,
        seconds: 1,
        attempt: 1,
      },
      ...{ trainer: 'mine', environment: {}, metrics: {} },
    };
    const notCompared = `the champion's features cannot be computed on this data, for example '${PERSON}' is no number`;
    const evaluation = { rows: 1, metric: 'rmse' as const, metrics: {}, slices: [], notCompared };
    await registry.updateRun(trained, { training: { ...training, log: naming }, evaluation }, at(4));
    await registry.registerVersion({
      ...{ model: 'm', run: trained, bundleDigest: digestOf('b'), snapshot: digestOf('s'), evaluation, source: [] },
      ...{ metric: { name: 'rmse', value: 1 }, createdAt: at(4) },
    });
    await registry.keepReason(failed, `the trainer exited with 1; its last lines:\nKeyError: '${PERSON}'`);
    const { outcomeReason } = (await registry.run(failed)) ?? {};
    await registry.finishRun(failed, 'failed', outcomeReason ?? null, at(4));
    const repeated = await opened('repeated');
    await build(repeated);
    await registry.updateRun(repeated, { training: { ...training, log: other } }, at(4));
    await asked('people', 'r', [PERSON]);
    await erase(ports());
    expect(await store.has(naming)).toBe(false);
    expect((await registry.deletedArtifact(naming))?.reason).toBe('erasure 1 of dataset people');
    expect(await store.has(other)).toBe(true);
    expect((await registry.run(failed))?.outcomeReason).toBe('the trainer exited with 1');
    const left = "the champion's features cannot be computed on this data";
    expect((await registry.run(trained))?.evaluation?.notCompared).toBe(left);
    expect((await registry.version('m', 1))?.evaluation.notCompared).toBe(left);
    expect(JSON.stringify(await registry.audit('m', 100))).not.toContain(PERSON);
  });

  it('reaches predictions and outcomes of a model that has moved to another dataset', async () => {
    await world();
    await applied({ others: 'who' }, { ...MODEL, dataset: 'others' });
    await erase(ports());
    await expectErased();
  });

  it('leaves no snapshot that was read before and is ready after', async () => {
    await applied({ people: 'who' });
    await arrive('one', 'a', people(0, 40), 1);
    await asked('people', 'r', [PERSON]);
    const [first, run] = [await opened('first'), await opened('second')];
    expect(await build(first)).toMatchObject({ status: 'ready' });
    const before = await manifestOf(first);
    const late: Ports = {
      ...ports(),
      engine: {
        ...engine,
        async snapshot(request) {
          const files = await engine.snapshot(request);
          await erase(ports());
          return files;
        },
      },
    };
    await expect(build(run, late)).rejects.toThrow(/were erased while the snapshot of m-000002 was built/);
    expect((await registry.run(run))?.snapshot).toBeNull();
    expect(await filesNaming(PERSON)).toEqual([]);
    for (const { digest } of Object.values(before.parts)) await presentPath(ports(), digest);
    expect(await build(run)).toMatchObject({ status: 'ready' });
    expect((await manifestOf(run)).datasetVersion).toBe(2);
    // Also where its bytes are still there, for another dataset.
    const [file] = (await registry.datasetVersion('people', 1))?.manifest.files ?? [];
    await query(`copy (${people(0, 40)}) to '${join(folder, 'held.parquet')}' (format parquet)`);
    const again = await build(await opened('third', first), {
      ...ports(),
      store: new Proxy(store, {
        get: (object, name, receiver) =>
          name === 'pathOf'
            ? (digest: string) => (digest === file?.digest ? join(folder, 'held.parquet') : object.pathOf(digest))
            : Reflect.get(object, name, receiver),
      }),
    });
    expect(again).toMatchObject({
      ...{ status: 'data_rejected', reason: expect.stringMatching(/version 1 .* erasure 1 of dataset people/) },
    });
  });

  describe('of runs that share a part', () => {
    const put = async (sql: string): Promise<string> => {
      const path = join(folder, 'part.parquet');
      await query(`copy (${sql}) to '${path}' (format parquet)`);
      return (await store.putFile(path)).digest;
    };
    const part = (from: number, to: number) =>
      put(`select 'person-' || i as __id, i::double as x from range(${from}, ${to}) t(i)`);

    /** Two runs with one snapshot, each with predictions for its ten validation rows. */
    async function twoRuns(reference?: string): Promise<readonly string[]> {
      await applied({ people: 'who' });
      await arrive('one', 'a', people(0, 30), 1);
      const [train, validation, test] = [await part(10, 20), await part(0, 10), await part(20, 30)];
      const predictions: string[] = [];
      for (const [index, key] of ['first', 'second'].entries()) {
        const run = await opened(key);
        const manifest: SnapshotManifest = {
          ...{ model: 'm', dataset: 'people', datasetVersion: 1, definitionDigest: digestOf(MODEL), window: null },
          ...{ testStart: null, features: [], source: [], classes: [] },
          parts: {
            // The person is in both where the reference is to lose a row, too.
            train: { digest: reference === undefined ? train : validation, rows: 10 },
            ...{ validation: { digest: validation, rows: 10 }, test: { digest: test, rows: 10 } },
          },
          ...{ reference: reference ?? train, testSource: test },
        };
        const snapshot = await store.putBytes(Buffer.from(canonicalJson(manifest)));
        const own = await put(`select i + ${index}.5 as prediction from range(0, 10) t(i)`);
        predictions.push(own);
        const training = { onnx: own, predictions: own, log: own, seconds: 1, attempt: 1, trainer: 't' };
        await registry.updateRun(run, { snapshot, training: { ...training, environment: {}, metrics: {} } }, at(4));
      }
      await asked('people', 'r', [PERSON]);
      return predictions;
    }
    async function expectAligned(predictions: readonly string[]): Promise<void> {
      for (const [index, digest] of predictions.entries()) {
        const rows = await query(`select prediction from read_parquet('${await presentPath(ports(), digest)}')`);
        expect(rows.map(({ prediction }) => Number(prediction))).toEqual(
          [0, 1, 2, 3, 4, 5, 6, 8, 9].map((i) => i + index + 0.5),
        );
        expect(await store.has(digest)).toBe(false);
      }
    }

    it('takes the predictions for the rows out of each', async () => {
      const predictions = await twoRuns();
      const unrepeatable = ['m-000001', 'm-000002'].map((run) => ({ model: 'm', run }));
      expect(await erase(ports())).toMatchObject({ unrepeatable });
      await expectAligned(predictions);
    });

    it('takes them by their place out of a reference without ids, of a release before this one', async () => {
      const reference = await put('select i::double as x from range(0, 10) t(i)');
      await twoRuns(reference);
      await erase(ports());
      const rows = await query(`select x from read_parquet('${await presentPath(ports(), reference)}')`);
      expect(rows.map(({ x }) => Number(x))).toEqual([0, 1, 2, 3, 4, 5, 6, 8, 9]);
      expect(await store.has(reference)).toBe(false);
    });

    // After data and profile: the predictions of the first run, the part of both, the predictions of the second.
    it.each([2, 3, 4])('cut off after replacement %d and tried again, comes to the same end', async (left) => {
      const predictions = await twoRuns();
      const cut = failing(registry, 'deleteArtifact', 'after', { left });
      await expect(erase({ ...ports(), registry: cut })).rejects.toThrow('cut off');
      await erase(ports());
      await expectAligned(predictions);
    });

    it.each([0, 1, 2, 3])('cut off after removal %d of five and tried again, comes to the same end', async (left) => {
      const predictions = await twoRuns();
      const cut = failing(store, 'remove', 'after', { left });
      await expect(erase({ ...ports(), store: cut })).rejects.toThrow('cut off');
      await erase(ports());
      await expectAligned(predictions);
    });
  });
});

describe.each(BACKENDS)('what the registry keeps of an erasure, on %s', (backend) => {
  it('an artifact is deleted for each reason, and a snapshot counts only what was read after the last list of runs', async () => {
    const { registry: fresh, close } = await freshOn(backend);
    try {
      await fresh.apply(project(['m']));
      const [one, other] = [digestOf('one'), digestOf('other')];
      const request = { dataset: 'd', requestKey: 'r', ids: ['7'], actor: 'olga', reason: null, at: at(1) };
      const { erasure } = await fresh.requestErasure(request);
      const byErasure = erasureReason('d', erasure);
      await fresh.deleteArtifact({ digest: one, replacement: null, reason: 'retention of data', at: at(2) });
      await fresh.deleteArtifact({ digest: one, replacement: other, reason: byErasure, at: at(3) });
      await fresh.deleteArtifact({ digest: one, replacement: null, reason: byErasure, at: at(4) });
      await fresh.deleteArtifact({ digest: one, replacement: null, reason: 'retention of runs', at: at(5) });
      expect(await fresh.deletedArtifact(one)).toEqual({
        digest: one,
        replacement: other,
        reason: byErasure,
        at: at(3),
      });
      expect(await fresh.deletedFor(byErasure)).toEqual([one]);
      expect(await fresh.erasedFrom('d', [other, one])).toBe(byErasure);
      expect(await fresh.erasedFrom('e', [other, one])).toBeUndefined();

      const { run } = await openRun(fresh, 'm', 'first');
      const snapshot = digestOf('snapshot');
      const erasures = await fresh.erasuresListed('d');
      await fresh.listRuns('d', erasure);
      expect(await fresh.recordSnapshot(run, { snapshot, dataset: 'd', erasures }, at(6))).toBe('erased');
      expect((await fresh.run(run))?.snapshot).toBeNull();
      const made = { snapshot, dataset: 'd', erasures: erasures + 1 };
      expect(await fresh.recordSnapshot(run, made, at(7))).toBe('recorded');
      expect(await fresh.run(run)).toMatchObject({ snapshot, stage: 'train' });

      const version = (dataset: string, number: number, digest: string, profile: string) =>
        fresh.commitDatasetVersion({
          ...{ dataset, version: number, manifestDigest: digestOf(`${dataset}${number}`), eventKey: `e${number}` },
          ...{ newRows: 1, createdAt: at(8), corrects: null },
          manifest: {
            ...{ dataset, version: number, columns: [], rows: 1, maxTime: null, profile },
            files: [
              {
                ...{ digest, bytes: 1, rows: 1, partition: 'p', uri: 'u', sourceDigest: digest },
                ...{ minTime: null, maxTime: null },
              },
            ],
          },
        });
      await version('d', 1, one, 'profile');
      const held = async (dataset: string) => [...(await fresh.heldElsewhere(dataset, [one, other, 'profile']))].sort();
      expect(await held('d')).toEqual([]);
      // The newest holds what it names; once it is followed, only what no erasure took out of it.
      expect(await held('e')).toEqual([one, 'profile'].sort());
      await version('d', 2, other, 'next');
      expect(await held('e')).toEqual([other, 'profile'].sort());
      expect(await fresh.modelsEverOf('d')).toEqual(['m']);
    } finally {
      await close();
    }
  });
});
