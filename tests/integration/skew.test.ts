/**
 * Training-serving skew: predictions that were logged as they are, beside raw data that comes later. What agrees is silent, what was planted is
 * found with its rows, and a sweep records it, tells of it and forgets who was erased.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Ports } from '../../activities/ports.ts';
import { createSweepActivities } from '../../activities/sweep.ts';
import { createDriftDetector } from '../../src/adapters/drift.ts';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { writePredictions } from '../../src/adapters/duckdb/prediction-log.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import type { BundleManifest } from '../../src/contracts/bundle.ts';
import type { DatasetManifest, SnapshotManifest, SourceColumn } from '../../src/contracts/data.ts';
import { datasetSchema, modelSchema } from '../../src/contracts/documents.ts';
import type { Prediction } from '../../src/contracts/events.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import type { SkewReport } from '../../src/ports/data.ts';
import { BACKENDS, freshOn } from '../support/registry-backends.ts';
import { at, digestOf, event, openRun, project, ship } from '../support/registry-fixtures.ts';

const engine = createDataEngine();
const detector = createDriftDetector();
const MODEL = 'm';
const SERVED_MS = Date.UTC(2026, 0, 2);
const HOUR_MS = 3_600_000;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-skew-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const SOURCE: readonly SourceColumn[] = [
  { name: 'planned', type: 'timestamp' },
  { name: 'distance', type: 'float64' },
  { name: 'seats', type: 'int64' },
  { name: 'carrier', type: 'string' },
];
const SQL =
  "SELECT hour(planned) AS hour, distance / 3 AS third, seats % 7 AS seats, carrier || '!' AS carrier, seats IS NULL AS is_small FROM source";

interface Flight {
  readonly id: string;
  readonly planned: string;
  readonly distance: number;
  readonly seats: number | string | null;
  readonly carrier: string | null;
}
const flightOf = (index: number): Flight => ({
  id: `f${index}`,
  planned: new Date(SERVED_MS + index * 61_000).toISOString(),
  distance: index * 1.1 + 0.1,
  seats: index % 3 === 0 ? null : index % 5 === 0 ? '9007199254740993' : index,
  carrier: index % 4 === 0 ? null : `c${index % 9}`,
});
const FLIGHTS = Array.from({ length: 1_000 }, (_, index) => flightOf(index));
const answer = {
  output: [1],
  latencyMs: 1,
  model: MODEL,
  version: 1,
  deployment: 1,
  role: 'champion',
  requestId: 'r',
} as const;
const logged = ({ id, ...source }: Flight, row: number, change: Partial<Flight> = {}): Prediction => ({
  ...answer,
  output: [1],
  ...{ row, id, time: new Date(SERVED_MS + row).toISOString(), source: { ...source, ...change } },
});

async function data(rows: readonly object[], timeColumn = 'planned'): Promise<string> {
  const path = await mkdtemp(join(folder, 'data-'));
  await writeFile(
    join(path, 'rows.jsonl'),
    // A whole number beyond 2^53 is a number in the data.
    rows.map((row) => JSON.stringify(row).replace('"9007199254740993"', '9007199254740993')).join('\n'),
  );
  await engine.convert({
    path: join(path, 'rows.jsonl'),
    format: 'jsonl',
    timeColumn,
    output: join(path, 'rows.parquet'),
  });
  return join(path, 'rows.parquet');
}
const log = async (predictions: readonly Prediction[]): Promise<string> =>
  writePredictions(predictions, await mkdtemp(join(folder, 'log-')));

async function featuresOf(file: string) {
  const checked = await engine.checkFeatures(SQL, await engine.columns(file), []);
  expect(checked.problems).toEqual([]);
  return checked.features;
}
async function skewOf(predictions: readonly Prediction[], files: readonly string[]): Promise<SkewReport> {
  const [first = ''] = files;
  return detector.skew({
    ...{
      files: [await log(predictions)],
      model: MODEL,
      version: 1,
      featuresSql: SQL,
      source: SOURCE,
      features: await featuresOf(first),
    },
    ...{
      windowStart: '2026-01-01T00:00:00Z',
      windowEnd: '2026-01-09T00:00:00Z',
      data: files,
      idColumn: 'id',
      joins: [],
    },
  });
}

describe('skew of features', () => {
  it('is none where callers send what the data has, however it is written', async () => {
    const file = await data(FLIGHTS);
    const predictions = FLIGHTS.map((flight, row) =>
      // The same instant and the same number in other words; FP32 for a double.
      logged(
        flight,
        row,
        row % 2 === 0 ? { planned: flight.planned.replace('Z', '+00:00') } : { distance: Math.fround(flight.distance) },
      ),
    );
    const report = await skewOf(predictions, [file]);
    expect(report).toMatchObject({ rows: 1_000, differing: 0 });
    expect(report.features.every(({ differing, examples }) => differing === 0 && examples.length === 0)).toBe(true);
  });

  it('is found where a publisher sends local time, with rows, share and examples', async () => {
    const file = await data(FLIGHTS);
    const predictions = FLIGHTS.map((flight, row) =>
      logged(
        flight,
        row,
        row % 20 === 0 ? { planned: new Date(Date.parse(flight.planned) - 5 * HOUR_MS).toISOString() } : {},
      ),
    );
    const { rows, differing, features } = await skewOf(predictions, [file]);
    expect({ rows, differing }).toEqual({ rows: 1_000, differing: 50 });
    expect(features.filter((one) => one.differing > 0).map(({ name }) => name)).toEqual(['hour']);
    const [hour] = features;
    expect(hour).toMatchObject({ name: 'hour', rows: 1_000, differing: 50, largest: 19 });
    expect(hour?.examples).toHaveLength(3);
    for (const { id, served, recomputed } of hour?.examples ?? []) {
      const planned = FLIGHTS.find((flight) => flight.id === id)?.planned ?? '';
      expect(Number(recomputed)).toBe(new Date(planned).getUTCHours());
      expect((Number(recomputed) - Number(served) + 24) % 24).toBe(5);
    }
  });

  it.each([
    ['a null that the data does not have', { carrier: null }, 'carrier'],
    ['a text in other letters', { carrier: 'C1' }, 'carrier'],
    ['a missing number', { seats: null }, 'is_small'],
    ['a whole number that was rounded', { seats: 9_007_199_254_740_992 }, 'seats'],
    ['a number of another unit', { distance: 1 }, 'third'],
  ])('is found for %s', async (_, change, feature) => {
    const file = await data(FLIGHTS);
    // Number 5 has what each of these changes.
    const { differing, features } = await skewOf(
      FLIGHTS.map((flight, row) => logged(flight, row, row === 5 ? change : {})),
      [file],
    );
    expect(differing).toBe(1);
    expect(features.find(({ name }) => name === feature)).toMatchObject({ differing: 1, examples: [{ id: 'f5' }] });
  });

  it('compares what has arrived, with its newest row, of this version and window', async () => {
    const [first, second] = [
      await data(FLIGHTS.slice(0, 100).map((flight) => ({ ...flight, distance: -1 }))),
      await data(FLIGHTS.slice(0, 100)),
    ];
    const strangers = [
      { ...logged(flightOf(1), 1, { distance: 7 }), version: 2 },
      { ...logged(flightOf(2), 2, { distance: 7 }), time: '2025-01-01T00:00:00Z' },
      { ...logged(flightOf(3), 3, { distance: 7 }), error: 'broken', output: [] },
      { ...logged(flightOf(4), 4, { distance: 7 }), role: 'shadow' as const },
    ];
    const report = await skewOf([...FLIGHTS.map((flight, row) => logged(flight, row)), ...strangers], [first, second]);
    expect(report).toMatchObject({ rows: 100, differing: 0 });
    expect(
      await skewOf(
        FLIGHTS.slice(500).map((flight, row) => logged(flight, row)),
        [first],
      ),
    ).toMatchObject({ rows: 0 });
  });

  it('refuses data that the model no longer takes, instead of rounding it', async () => {
    const some = FLIGHTS.filter(({ seats }) => typeof seats !== 'string').slice(0, 100);
    const predictions = some.map((flight, row) => logged(flight, row));
    const first = await data(some);
    const widened = await data(some.map((flight) => ({ ...flight, seats: Number(flight.seats ?? 0) + 0.5 })));
    await expect(skewOf(predictions, [first, widened])).rejects.toMatchObject({
      name: 'DataProblem',
      message: 'the data has column seats as float64, and 100 of its values are no int64, as which the model takes it',
    });
    const cast = {
      ...{
        files: [await log(some.map((flight, row) => logged(flight, row, { carrier: '12' })))],
        model: MODEL,
        version: 1,
      },
      ...{ featuresSql: 'SELECT CAST(carrier AS INTEGER) AS carrier FROM source', idColumn: 'id', joins: [] },
      ...{ source: SOURCE.slice(3), features: [{ name: 'carrier', type: 'float64' as const }], data: [first] },
      ...{ windowStart: '2026-01-01T00:00:00Z', windowEnd: '2026-01-09T00:00:00Z' },
    };
    await expect(detector.skew(cast)).rejects.toMatchObject({ name: 'DataProblem' });
  });

  it('of joins is found where what was looked up was not what is known by now', async () => {
    const flights = await data(FLIGHTS.slice(0, 50));
    const weather = await data(
      [
        { carrier: 'c1', seen: new Date(SERVED_MS - 2 * HOUR_MS).toISOString(), temp: 3 },
        // Came late: it was not there when it was asked for.
        { carrier: 'c1', seen: new Date(SERVED_MS - HOUR_MS).toISOString(), temp: 5 },
      ],
      'seen',
    );
    const predictions = FLIGHTS.slice(0, 50).map((flight, row) => {
      const prediction = logged(flight, row);
      return { ...prediction, source: { ...prediction.source, w_temp: flight.carrier === 'c1' ? 3 : null } };
    });
    const report = await detector.skew({
      ...{ files: [await log(predictions)], model: MODEL, version: 1, featuresSql: 'SELECT w_temp FROM source' },
      ...{ source: [{ name: 'w_temp', type: 'float64' }], features: [{ name: 'w_temp', type: 'float64' }] },
      ...{ windowStart: '2026-01-01T00:00:00Z', windowEnd: '2026-01-09T00:00:00Z', data: [flights], idColumn: 'id' },
      joins: [
        {
          ...{
            dataset: 'weather',
            keys: [{ left: 'carrier', right: 'carrier', type: 'string' }],
            leftTime: 'planned',
            rightTime: 'seen',
          },
          ...{
            columns: [{ name: 'temp', as: 'w_temp', type: 'float64' }],
            maxAgeMs: 12 * HOUR_MS,
            delayMs: 0,
            files: [weather],
          },
        },
      ],
    });
    const asked = FLIGHTS.slice(0, 50).filter(({ carrier }) => carrier === 'c1').length;
    expect(report).toMatchObject({ rows: 50, differing: asked, features: [{ name: 'w_temp', largest: 2 }] });
    expect(report.features[0]?.examples[0]).toMatchObject({ served: '3', recomputed: '5' });
  });
});

describe.each(BACKENDS)('a sweep (registry on %s)', (backend) => {
  it('records skew, tells of it, and forgets who was erased', async () => {
    const opened = await freshOn(backend);
    const { registry } = opened;
    try {
      const store = await openStore(`file://${join(folder, `artifacts-${backend}`)}`);
      const told: string[] = [];
      const ports = {
        ...{ registry, store, engine, drift: detector },
        notifier: { notify: async ({ text }: { readonly text: string }) => void told.push(text) },
        surroundings: {
          now: () => new Date('2026-01-03T00:00:00Z'),
          scratch: async <T>(work: (path: string) => Promise<T>): Promise<T> =>
            work(await mkdtemp(join(folder, 'scratch-'))),
        },
      } as unknown as Ports;
      const base = project();
      const [model] = base.models;
      const document = modelSchema.parse({
        ...JSON.parse(canonicalJson(model?.document)),
        monitoring: { window: '1h', min_rows: 10, skew: { max_share: 0.01, lookback: '3d' } },
      });
      await registry.apply({
        ...base,
        datasets: [
          datasetSchema.parse({ apiVersion: 'refit.dev/v1', kind: 'Dataset', name: 'd', id: 'id', time: 'planned' }),
        ],
        models: [{ document, definitionDigest: model?.definitionDigest ?? '' }],
      });
      const file = await data(FLIGHTS);
      const stored = await store.putFile(file);
      const arrived = event('data', 'first', 'd');
      await registry.receive([
        { origin: { topic: 'refit.data', partition: 0, offset: '1' }, at: at(1), publishedAt: at(0), event: arrived },
      ]);
      const times = { minTime: FLIGHTS[0]?.planned ?? '', maxTime: FLIGHTS.at(-1)?.planned ?? '' };
      const manifest = {
        ...{ dataset: 'd', version: 1, columns: await engine.columns(file), rows: 1_000, maxTime: times.maxTime },
        files: [{ ...stored, rows: 1_000, partition: 'p', uri: 'file:///x', sourceDigest: stored.digest, ...times }],
      };
      await registry.commitDatasetVersion({
        ...{
          dataset: 'd',
          version: 1,
          manifest,
          manifestDigest: digestOf(manifest),
          eventKey: `test\u0000${arrived.id}`,
        },
        ...{ newRows: 1_000, createdAt: at(1), corrects: null },
      });
      const features = await featuresOf(file);
      const bundle: BundleManifest = {
        ...{
          model: MODEL,
          task: 'regression',
          onnx: digestOf('onnx'),
          featuresSql: await store.putBytes(Buffer.from(SQL)),
          labelSql: 'y',
        },
        ...{ features, source: SOURCE, classes: [], idColumn: 'id' },
      };
      const reference = (await store.putFile(file)).digest;
      const snapshot = { model: MODEL, dataset: 'd', datasetVersion: 1, reference } as unknown as SnapshotManifest;
      const { run } = await openRun(registry, MODEL, 'one');
      const version = await registry.registerVersion({
        ...{ model: MODEL, run, bundleDigest: await store.putBytes(Buffer.from(canonicalJson(bundle))) },
        snapshot: await store.putBytes(Buffer.from(canonicalJson(snapshot))),
        ...{
          metric: { name: 'rmse', value: 1 },
          evaluation: { rows: 10, metric: 'rmse', metrics: { rmse: 1 }, slices: [] },
          source: SOURCE,
          createdAt: at(3),
        },
      });
      await registry.requestApproval({
        ...{
          run,
          model: MODEL,
          version: version.version,
          bundleDigest: version.bundleDigest,
          required: 1,
          requestedAt: at(4),
          expiresAt: at(1_000),
        },
      });
      await ship(registry, version);
      const predictions = FLIGHTS.map((flight, row) => logged(flight, row, row < 20 ? { distance: -5 } : {}));
      const sink = await store.putFile(await log(predictions));
      await registry.commitSinkFile({
        ...{
          topic: 'refit.predictions',
          partition: 0,
          startOffset: '0',
          nextOffset: '1000',
          digest: sink.digest,
          rows: 1_000,
        },
        ...{ models: [MODEL], minTime: predictions[0]?.time ?? '', maxTime: predictions.at(-1)?.time ?? '' },
      });

      const windowEndMs = SERVED_MS + 30 * HOUR_MS;
      await new MockActivityEnvironment().run(createSweepActivities(ports).sweepWindow, { model: MODEL, windowEndMs });
      const [sweep] = await registry.sweeps(MODEL, 1);
      // Nothing was asked for in the last hour; skew looks further back.
      expect(sweep?.rows).toBe(0);
      expect(sweep?.skew).toMatchObject({
        rows: 1_000,
        differing: 20,
        skewed: true,
        maxShare: 0.01,
        datasetVersion: 1,
        problem: null,
      });
      expect(sweep?.skew?.features).toMatchObject([{ name: 'third', differing: 20 }]);
      expect(told.join('\n')).toMatch(/20 of 1000 predictions \(2\.0 %\), most of all third \(20\)/);
      const alerts = (await registry.outbox(100)).filter(({ event: one }) => one.includes('alert.raised'));
      expect(alerts).toHaveLength(1);

      // Data that no longer fits is a finding of the next sweep, which judges drift all the same.
      const other = await data(FLIGHTS.map((flight) => ({ ...flight, seats: 'many' })));
      const next = {
        ...{ ...manifest, version: 2, columns: await engine.columns(other) },
        files: [{ ...manifest.files[0], ...(await store.putFile(other)) }],
      } as DatasetManifest;
      await registry.commitDatasetVersion({
        ...{ dataset: 'd', version: 2, manifest: next, manifestDigest: digestOf(next), eventKey: 'test\u0000second' },
        ...{ newRows: 0, createdAt: at(2), corrects: null },
      });
      const judged = await new MockActivityEnvironment().run(createSweepActivities(ports).sweepWindow, {
        ...{ model: MODEL, windowEndMs: windowEndMs + HOUR_MS },
      });
      expect(judged).toMatchObject({ reason: expect.any(String) });
      expect((await registry.sweeps(MODEL, 1))[0]?.skew).toMatchObject({
        ...{ datasetVersion: 2, rows: 0, skewed: false },
        problem:
          'the data has column seats as string, and 1000 of its values are no int64, as which the model takes it',
      });

      // An outcome whose square is beyond a double: the sweep ends, and says that the metric cannot be told.
      const labels = FLIGHTS.slice(0, 300).map(({ id }) => ({ id, label: '1e200', time: at(1) }));
      const outcomes = { ...event('labels', 'outcomes', MODEL), labels };
      const origin = { topic: 'refit.labels', partition: 0, offset: '1' };
      await registry.receive([{ origin, at: at(1), publishedAt: at(0), event: outcomes }]);
      await new MockActivityEnvironment().run(createSweepActivities(ports).sweepWindow, {
        ...{ model: MODEL, windowEndMs: SERVED_MS + HOUR_MS / 2 },
      });
      const ofOutcomes = (await registry.sweeps(MODEL, 3)).find(({ labelled }) => labelled > 0);
      expect(ofOutcomes).toMatchObject({ rows: 1_000, labelled: 300, verdict: 'stable', performance: null });
      expect(ofOutcomes?.reason).toContain('rmse is undefined on 300 known outcomes');

      const named = sweep?.skew?.features[0]?.examples.map(({ id }) => id) ?? [];
      expect(named).toHaveLength(3);
      await registry.redact('d', [MODEL], [named[1] ?? '']);
      const after = (await registry.sweeps(MODEL, 3)).find(({ windowEnd }) => windowEnd === sweep?.windowEnd);
      expect(after?.skew?.features[0]?.examples.map(({ id }) => id)).toEqual([named[0], named[2]]);
      // What cannot be taken back never had an id.
      expect(JSON.stringify(await registry.audit(MODEL, 50))).not.toContain(`"${named[0]}"`);
      expect(alerts[0]?.event).not.toContain(`"${named[0]}"`);
    } finally {
      await opened.close();
    }
  }, 60_000);
});
