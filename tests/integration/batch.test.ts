/**
 * Batch scoring on a real Temporal server, registry, store, data engine and ONNX runtime: the same bits as the inference server answers,
 * each file scored once however often a worker is cut off, and no file where it must not be.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger, NativeConnection, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createBatchActivities } from '../../activities/batch.ts';
import type { Ports } from '../../activities/ports.ts';
import { createBatchScorer } from '../../src/adapters/batch-scorer.ts';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { createScorer } from '../../src/adapters/onnx/scorer.ts';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import { createSurroundings } from '../../src/adapters/surroundings.ts';
import { createMessenger } from '../../src/adapters/temporal/messenger.ts';
import type { BundleManifest } from '../../src/contracts/bundle.ts';
import type { DataFile, SourceColumn } from '../../src/contracts/data.ts';
import { datasetSchema } from '../../src/contracts/documents.ts';
import type { BatchEnd } from '../../src/contracts/messages.ts';
import { QUEUES } from '../../src/contracts/values.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import { batchWorkflowId } from '../../src/domain/ids.ts';
import type { BatchRecord } from '../../src/ports/registry/batches.ts';
import type { Registry } from '../../src/ports/registry.ts';
import type { ArtifactStore } from '../../src/ports/store.ts';
import { newNamespace } from '../support/namespace.ts';
import { logarithmOnnx, logisticOnnx } from '../support/onnx-files.ts';
import { BACKENDS, freshOn } from '../support/registry-backends.ts';
import { at, digestOf, openRun, project } from '../support/registry-fixtures.ts';
import { createWorld, entry, MODEL, tensor } from '../support/serving.ts';
import { query } from '../support/trainer.ts';
import { workflowBundle } from '../support/workflow-bundle.ts';
import { quietRuntime } from '../support/workflow-runtime.ts';

const ROWS = 21_000;
const FILES = 3;
const COLUMNS: readonly SourceColumn[] = [
  { name: 'id', type: 'int64' },
  { name: 'at', type: 'timestamp' },
  { name: 'x', type: 'float64' },
  { name: 'k', type: 'string' },
];
const SOURCE = COLUMNS.slice(2);
const SQL = "SELECT coalesce(x, 7) / 3 + CASE WHEN k = 'b' THEN 1 ELSE 0 END AS z, coalesce(x, -1) AS w FROM source";
const FEATURES = [
  { name: 'z', type: 'float64' },
  { name: 'w', type: 'float64' },
] as const;
const ONNX = logisticOnnx({ w: 0.37, z: -0.11 }, 0.2);

let folder: string;
let registry: Registry;
let store: ArtifactStore;
let client: Client;
let native: NativeConnection;
let namespace: string;
let scored: string[] = [];
/** Called with the file after it was scored; what it throws is that of the activity. */
let cut: (file: number) => void = () => undefined;
const closing: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  quietRuntime();
  folder = mkdtempSync(join(tmpdir(), 'refit-batch-'));
  registry = await openRegistry(`file:${join(folder, 'refit.db')}`);
  store = await openStore(`file:${join(folder, 'artifacts')}`);
  const address = inject('temporalAddress');
  namespace = await newNamespace(address);
  const connection = await Connection.connect({ address });
  native = await NativeConnection.connect({ address });
  closing.push(
    () => native.close(),
    () => connection.close(),
    () => registry.close(),
  );
  client = new Client({ connection, namespace });
  await prepare();
  closing.push(await startWorker());
}, 60_000);
afterAll(async () => {
  for (const close of closing.reverse()) await close();
  rmSync(folder, { recursive: true });
});

/** Versions of a model: 1 answers, 2 is broken for rows without x. Three files, of which the first lacks the column k. */
async function prepare(): Promise<void> {
  const dataset = datasetSchema.parse({ apiVersion: 'refit.dev/v1', kind: 'Dataset', name: 'd', id: 'id', time: 'at' });
  await registry.apply({ ...project([MODEL]), datasets: [dataset] });
  const files: DataFile[] = [];
  for (let index = 0; index < FILES; index += 1) {
    const path = join(folder, `${index}.parquet`);
    const k = index === 0 ? '' : ", CASE WHEN i % 3 = 0 THEN 'b' WHEN i % 7 = 0 THEN NULL ELSE 'a' END AS k";
    await query(
      `COPY (SELECT i AS id, TIMESTAMP '2026-01-01' + INTERVAL (i) MINUTE AS at, CASE WHEN i % 11 = 0 THEN NULL ELSE sin(i) * 20 END AS x${k}
        FROM range(${index * ROWS}, ${(index + 1) * ROWS}) t(i) ORDER BY hash(i)) TO '${path}' (FORMAT parquet)`,
    );
    const stored = await store.putFile(path);
    files.push({
      ...{ ...stored, rows: ROWS, partition: `p${index}`, uri: 'file:///x', sourceDigest: stored.digest },
      ...{ minTime: at(0), maxTime: at(1) },
    });
  }
  const manifest = { dataset: 'd', version: 1, columns: COLUMNS, rows: FILES * ROWS, maxTime: at(1), files };
  await registry.commitDatasetVersion({
    ...{ dataset: 'd', version: 1, manifest, manifestDigest: digestOf(manifest), eventKey: 'test one' },
    ...{ newRows: FILES * ROWS, createdAt: at(1), corrects: null },
  });
  await addVersion('one', { onnx: await store.putBytes(ONNX) });
  await addVersion('two', { onnx: await store.putBytes(logarithmOnnx('w')), task: 'regression', classes: [] });
}

async function addVersion(key: string, change: Partial<BundleManifest>): Promise<void> {
  const bundle = {
    ...{ model: MODEL, task: 'binary-classification', classes: ['false', 'true'], labelSql: 'y', idColumn: 'id' },
    ...{ featuresSql: await store.putBytes(Buffer.from(SQL)), features: FEATURES, source: SOURCE },
    ...change,
  };
  const { run } = await openRun(registry, MODEL, key);
  await registry.registerVersion({
    ...{ model: MODEL, run, bundleDigest: await store.putBytes(Buffer.from(canonicalJson(bundle))) },
    ...{ snapshot: digestOf('snapshot'), metric: { name: 'rmse', value: 1 }, source: SOURCE, createdAt: at(3) },
    evaluation: { rows: 10, metric: 'rmse', metrics: { rmse: 1 }, slices: [] },
  });
}

async function startWorker(): Promise<() => Promise<void>> {
  const real = createBatchActivities({
    ...{ registry, store, engine: createDataEngine(), batchScorer: createBatchScorer(createScorer) },
    surroundings: createSurroundings({ scratchRoot: join(folder, 'scratch'), dataRoots: [] }),
  } as unknown as Ports);
  const activities: typeof real = {
    ...real,
    async scoreBatchFile(request) {
      const part = await real.scoreBatchFile(request);
      scored.push(`${request.batch}/${request.file}`);
      cut(request.file);
      return part;
    },
  };
  const shared = { connection: native, namespace, activities };
  const workers = await Promise.all([
    Worker.create({ ...shared, taskQueue: QUEUES.control, workflowBundle: await workflowBundle() }),
    Worker.create({ ...shared, taskQueue: QUEUES.data }),
  ]);
  const done = Promise.all(workers.map((worker) => worker.run()));
  return async () => {
    for (const worker of workers) worker.shutdown();
    await done;
  };
}

const request = (requestKey: string, version = 1, dataset = 'd'): Promise<BatchRecord> =>
  registry.requestBatch({
    ...{ model: MODEL, version, dataset, datasetVersion: 1, joined: {}, actor: 'olga', requestKey },
    at: new Date().toISOString(),
  });

async function ended({ batch }: BatchRecord): Promise<BatchEnd> {
  await createMessenger(client).batchRequested(MODEL, batch);
  return client.workflow.getHandle(batchWorkflowId(MODEL, batch)).result();
}

const outputOf = async (batch: number): Promise<string> =>
  store.pathOf((await registry.batch(MODEL, batch))?.output ?? 'none');

/** Artifacts with this key in their Parquet metadata. */
async function holding(key: string): Promise<number> {
  const root = join(folder, 'artifacts', 'sha256');
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((one) => one.isFile());
  const found = await Promise.all(
    files.map(async (one) => (await readFile(join(one.parentPath, one.name))).includes(key)),
  );
  return found.filter(Boolean).length;
}

describe('a batch', () => {
  it('has the rows of all files in their order, with the bits that the inference server answers', async () => {
    const asked = await request('bits');
    expect(await ended(asked)).toMatchObject({ status: 'done', rows: FILES * ROWS });
    const rows = await query(`SELECT *, epoch_us("time") AS us FROM read_parquet('${await outputOf(asked.batch)}')`);
    const data: Record<string, unknown>[] = [];
    for (let index = 0; index < FILES; index += 1)
      data.push(...(await query(`SELECT *, epoch_us("at") AS us FROM '${join(folder, `${index}.parquet`)}'`)));
    expect(rows.length).toBe(data.length);
    expect(rows.map((row) => row.id)).toEqual(data.map((row) => String(row.id)));
    expect(rows.every((row, index) => row.us === data[index]?.us && row.model_version === 1)).toBe(true);

    const world = await createWorld();
    try {
      world.addVersion(1, { onnxBytes: ONNX, sql: SQL, features: FEATURES, source: SOURCE });
      world.plan(1, entry(1, 'champion', 1));
      const server = await world.start();
      for (let from = 0; from < data.length; from += 7_000) {
        const part = data.slice(from, from + 7_000);
        const { status, body } = await world.infer(server, {
          inputs: [
            tensor(
              'x',
              'FP64',
              part.map(({ x }) => x),
            ),
            tensor(
              'k',
              'BYTES',
              part.map(({ k }) => k ?? null),
            ),
          ],
        });
        expect(body.error ?? status).toBe(200);
        const answered = body.outputs?.find(({ shape }) => shape[1] === 2)?.data ?? [];
        const own = rows.slice(from, from + 7_000).flatMap(({ p0, p1 }) => [p0, p1]);
        expect(own.length).toBe(answered.length);
        expect(own.findIndex((value, index) => !Object.is(value, answered[index]))).toBe(-1);
      }
    } finally {
      await world.close();
    }
  }, 60_000);

  it('cut off in the middle goes on with the files that are left, asked for again is the same, and leaves no parts', async () => {
    const whole = await outputOf(1);
    scored = [];
    let cuts = 2;
    cut = (file) => {
      if (file === 1 && cuts-- > 0) throw new Error('cut off');
    };
    const asked = await request('cut');
    expect((await request('cut')).batch).toBe(asked.batch);
    const end = await ended(asked);
    expect(end).toMatchObject({ status: 'done', rows: FILES * ROWS });
    const own = (file: number): string => `${asked.batch}/${file}`;
    expect(scored).toEqual([own(0), own(1), own(1), own(1), own(2)]);
    // Once more, as a gateway does that does not know whether it has started it.
    expect(await ended(asked)).toEqual(end);
    expect(scored).toHaveLength(5);
    const [differing] = await query(
      `SELECT count(*) AS n FROM read_parquet('${whole}') AS a POSITIONAL JOIN read_parquet('${await outputOf(asked.batch)}') AS b WHERE a IS DISTINCT FROM b`,
    );
    expect(Number(differing?.n)).toBe(0);
    expect(await holding('refit_batch')).toBe(2);
    expect(await holding('refit_part')).toBe(0);
    expect(await registry.verifyAudit(MODEL)).toMatchObject({ ok: true });
    const audit = await registry.audit(MODEL, 20);
    expect(audit.filter(({ action, body }) => action === 'batch.done' && body.batch === asked.batch)).toHaveLength(1);
  }, 60_000);

  it('ends without a file, and says why, where the model answers no number', async () => {
    const asked = await request('broken', 2);
    const end = await ended(asked);
    expect(end).toMatchObject({ status: 'failed' });
    expect(await registry.batch(MODEL, asked.batch)).toMatchObject({
      output: null,
      failure: expect.stringMatching(/^version 2 answers -?(Infinity|NaN) for row \d+ of a file$/),
    });
  }, 60_000);
});

describe('a batch of a model that takes whole numbers', () => {
  const dataset = (name: string) => datasetSchema.parse({ apiVersion: 'refit.dev/v1', kind: 'Dataset', name });
  /** A dataset whose column n is this, a file each. */
  async function publish(name: string, type: SourceColumn['type'], values: readonly string[]): Promise<void> {
    const columns: readonly SourceColumn[] = [{ name: 'n', type }];
    const files: DataFile[] = [];
    for (const [index, value] of values.entries()) {
      const path = join(folder, `${name}-${index}.parquet`);
      await query(`COPY (SELECT unnest([${value}]) AS n) TO '${path}' (FORMAT parquet)`);
      const stored = await store.putFile(path);
      files.push({
        ...{ ...stored, rows: 1, partition: String(index), uri: 'file:///x', sourceDigest: stored.digest },
        ...{ minTime: null, maxTime: null },
      });
    }
    const manifest = { dataset: name, version: 1, columns, rows: files.length, maxTime: null, files };
    await registry.commitDatasetVersion({
      ...{ dataset: name, version: 1, manifest, manifestDigest: digestOf(manifest), eventKey: `test ${name}` },
      ...{ newRows: files.length, createdAt: at(1), corrects: null },
    });
  }
  beforeAll(async () => {
    const names = ['widened', 'decimals', 'texts'];
    await registry.apply({ ...project([MODEL]), datasets: ['d', ...names].map(dataset) });
    await addVersion('whole', {
      ...{ onnx: await store.putBytes(ONNX), source: [{ name: 'n', type: 'int64' }], idColumn: null },
      featuresSql: await store.putBytes(
        Buffer.from('SELECT coalesce(n % 1000, -1) AS z, coalesce(n * 0, 0) AS w FROM source'),
      ),
    });
  });

  it('takes whole numbers whatever their type is by now, and no number for none', async () => {
    await publish('widened', 'float64', [
      '9007199254740993, 2',
      "3.0::DOUBLE, 'nan'::DOUBLE, 'inf'::DOUBLE, NULL",
      'NULL::VARCHAR',
    ]);
    const asked = await request('widened', 3, 'widened');
    expect(await ended(asked)).toEqual({ status: 'done', rows: 7, output: expect.any(String) });
    const scores = await query(`SELECT p1 FROM read_parquet('${await outputOf(asked.batch)}')`);
    const expected = [993, 2, 3, -1, -1, -1, -1].map((z) => 1 / (1 + Math.exp(-(0.2 - 0.11 * z))));
    scores.forEach(({ p1 }, row) => {
      expect(p1).toBeCloseTo(expected[row] ?? Number.NaN, 5);
    });
  }, 60_000);

  it.each([
    [
      'decimals',
      'float64',
      '1.7::DOUBLE, 2, 2.5',
      /^the data has column n as float64, and 2 of its values are no int64/,
    ],
    ['texts', 'string', "'12', 'X'", /^the data has column n as string, and 2 of its values are no int64/],
  ] as const)(
    'ends by name where it has %s',
    async (name, type, values, reason) => {
      await publish(name, type, [values]);
      const end = await ended(await request(name, 3, name));
      expect(end).toMatchObject({ status: 'failed', reason: expect.stringMatching(reason) });
    },
    60_000,
  );
});

describe('a batch whose data is erased meanwhile', () => {
  it('leaves no file behind, also where it is cut off between the refusal and the deletion', async () => {
    const kept = await holding('refit_batch');
    const asked = await request('erased');
    const activities = (of: ArtifactStore) =>
      createBatchActivities({
        ...{ registry, store: of, engine: createDataEngine(), batchScorer: createBatchScorer(createScorer) },
        surroundings: createSurroundings({ scratchRoot: join(folder, 'scratch'), dataRoots: [] }),
      } as unknown as Ports);
    const environment = () => new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
    const own = { model: MODEL, batch: asked.batch };
    const part = String(await environment().run(activities(store).scoreBatchFile, { ...own, file: 2 }));
    const before = [await holding('refit_part'), await holding('refit_batch')];
    await registry.requestErasure({
      ...{ dataset: 'd', requestKey: 'e', ids: ['7'], actor: 'olga', reason: null, at: new Date().toISOString() },
    });
    const broken = new Proxy(store, {
      get(target, name) {
        if (name === 'remove') return () => Promise.reject(new Error('cut off'));
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const parts = { ...own, parts: [part] };
    await expect(environment().run(activities(broken).joinBatch, parts)).rejects.toThrow('cut off');
    expect(await environment().run(activities(store).joinBatch, parts)).toMatchObject({
      ...{ status: 'failed', reason: expect.stringMatching(/^rows of dataset d were erased .*\(erasure 1\)/) },
    });
    expect(before).toEqual([1, kept + 1]);
    expect([await holding('refit_part'), await holding('refit_batch')]).toEqual([0, kept]);
  }, 60_000);
});

describe.each(BACKENDS)('the registry on %s', (backend) => {
  it('ends a batch without a file where rows of its dataset are erased meanwhile; the first end stays', async () => {
    const { registry: fresh, close } = await freshOn(backend);
    try {
      await fresh.apply(project(['m']));
      const ask = (requestKey: string, minute: number) =>
        fresh.requestBatch({
          ...{
            model: 'm',
            version: 1,
            dataset: 'd',
            datasetVersion: 1,
            joined: { other: 4 },
            actor: 'olga',
            requestKey,
          },
          at: at(minute),
        });
      const first = await ask('a', 1);
      expect([first.batch, (await ask('b', 1)).batch, (await ask('a', 2)).batch]).toEqual([1, 2, 1]);
      expect(first.joined).toEqual({ other: 4 });
      expect((await fresh.openBatches()).map(({ batch }) => batch)).toEqual([1, 2]);
      const made = { rows: 3, output: digestOf('output') };
      expect(await fresh.finishBatch('m', 1, made, at(3))).toMatchObject(made);
      expect(await fresh.finishBatch('m', 1, { failure: 'late' }, at(4))).toMatchObject({ ...made, failure: null });
      const erasure = { dataset: 'd', requestKey: 'e', ids: ['one'], actor: 'olga', reason: null, at: at(5) };
      await fresh.requestErasure(erasure);
      const refused = await fresh.finishBatch('m', 2, made, at(6));
      expect(refused).toMatchObject({ rows: null, output: null, failure: expect.stringContaining('(erasure 1)') });
      expect((await fresh.batchesOfDataset('d')).map(({ batch }) => batch)).toEqual([1]);
      await fresh.replaceBatchOutput('m', 1, digestOf('less'), 2);
      expect(await fresh.batch('m', 1)).toMatchObject({ rows: 2, output: digestOf('less') });
      const report = {
        ...{ rows: { data: 1, snapshots: 0, predictions: 0, labels: 0, batches: 1 }, version: null },
        ...{ lostVersions: [], unrepeatable: [], heldElsewhere: 0 },
      };
      await fresh.finishErasure('d', 1, report, at(7));
      // What is asked for after it is over reads data without them.
      const last = await ask('c', 8);
      expect(await fresh.finishBatch('m', last.batch, made, at(9))).toMatchObject(made);
      expect((await fresh.batches('m', 10)).map(({ batch }) => batch)).toEqual([3, 2, 1]);
      expect(await fresh.verifyAudit('m')).toMatchObject({ ok: true });
    } finally {
      await close();
    }
  });
});
