/**
 * A join from the document to an answer: pinned in the snapshot, made a keyed store with each version of the joined dataset, followed by the
 * inference server, and the same values throughout. Real registries, a real store and a real server.
 */
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createEraseActivities } from '../../activities/erase.ts';
import { createEvaluateActivities } from '../../activities/evaluate.ts';
import { endedByData } from '../../activities/failures.ts';
import { createLookupActivities } from '../../activities/lookups.ts';
import type { Ports } from '../../activities/ports.ts';
import { createSnapshotActivities } from '../../activities/snapshot.ts';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { createFeatureEngine } from '../../src/adapters/duckdb/feature-engine.ts';
import { parquetOf, withSession } from '../../src/adapters/duckdb/session.ts';
import { createScorer } from '../../src/adapters/onnx/scorer.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import type { BundleManifest } from '../../src/contracts/bundle.ts';
import type { SnapshotManifest, SourceColumn } from '../../src/contracts/data.ts';
import { datasetSchema, modelSchema } from '../../src/contracts/documents.ts';
import type { Prediction } from '../../src/contracts/events.ts';
import type { TrafficPlan } from '../../src/contracts/plan.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import { resolveJoins } from '../../src/domain/joins.ts';
import { type ArtifactStore, readJson } from '../../src/ports/store.ts';
import { createInferenceServer, type InferenceServer } from '../../src/serving/server.ts';
import { linearOnnx } from '../support/onnx-files.ts';
import { BACKENDS, type BackendRegistry, freshOn } from '../support/registry-backends.ts';
import { at, digestOf, event, openRun } from '../support/registry-fixtures.ts';
import { publisherTo, tensor, until } from '../support/serving.ts';

const apiVersion = 'refit.dev/v1';
const MODEL = 'delays';
const START_MS = Date.UTC(2024, 0, 1);
const time = (minute: number): string => new Date(START_MS + minute * 60_000).toISOString();
const engine = createDataEngine();

const FLIGHTS = datasetSchema.parse({ apiVersion, kind: 'Dataset', name: 'flights', id: 'id', time: 'planned' });
const WEATHER = datasetSchema.parse({ apiVersion, kind: 'Dataset', name: 'weather', time: 'seen' });
const DOCUMENT = modelSchema.parse({
  ...{ apiVersion, kind: 'Model', name: MODEL, task: 'regression', dataset: 'flights' },
  label: { sql: 'late' },
  features: ['distance', 'w_temp'],
  joins: [{ dataset: 'weather', as: 'w', keys: { origin: 'station' }, columns: ['temp'], max_age: '3h', delay: '10m' }],
  split: { type: 'time', test: 0.3, validation: 0.2 },
  training: { trainer: 'sklearn' },
});

let folder: string;
let store: ArtifactStore;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-joins-'));
  store = await openStore(`file://${join(folder, 'artifacts')}`);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const weatherAt = (station: string, minute: number, temp: number): object => ({ station, seen: time(minute), temp });
/** Every half hour, warmer by one degree each. */
const FIRST_WEATHER = Array.from({ length: 40 }, (_, index) => [
  weatherAt('JFK', index * 30, index),
  weatherAt('EWR', index * 30, 100 + index),
]).flat();
const FLIGHT_ROWS = Array.from({ length: 200 }, (_, index) => ({
  ...{
    id: `f${index}`,
    origin: index % 2 === 0 ? 'JFK' : 'EWR',
    planned: time(index * 6),
    distance: 100 + ((index * 37) % 91),
  },
  late: (index * 7_919) % 101,
}));

describe.each(BACKENDS)('a joined dataset (registry on %s)', (backend) => {
  let opened: BackendRegistry;
  let ports: Ports;
  let servers: InferenceServer[];
  let scratch: number;

  beforeEach(async () => {
    opened = await freshOn(backend);
    servers = [];
    scratch = 0;
    // The activities of these stages use nothing else.
    ports = {
      registry: opened.registry,
      store,
      engine,
      surroundings: {
        now: () => new Date('2026-01-01T00:00:00Z'),
        async scratch<T>(work: (path: string) => Promise<T>): Promise<T> {
          scratch += 1;
          const path = await mkdtemp(join(folder, `scratch-${scratch}-`));
          return work(path);
        },
      },
    } as unknown as Ports;
    await opened.registry.apply({
      ...{
        datasets: [FLIGHTS, WEATHER],
        policies: [],
        projectDigest: digestOf('p'),
        root: '/p',
        gitCommit: null,
        actor: 'olga',
        at: at(0),
      },
      models: [{ document: DOCUMENT, definitionDigest: digestOf('definition') }],
    });
    await publish('weather', 1, FIRST_WEATHER, 'seen');
    await publish('flights', 1, FLIGHT_ROWS, 'planned');
  });
  afterEach(async () => {
    await Promise.all(servers.map((server) => server.close()));
    await opened.close();
  });

  const run = <A extends unknown[], R>(activity: (...input: A) => Promise<R>, ...input: A): Promise<R> =>
    new MockActivityEnvironment().run(activity, ...input);

  /** One more file in the next version of a dataset. */
  async function publish(dataset: string, version: number, rows: readonly object[], timeColumn: string): Promise<void> {
    const path = await mkdtemp(join(folder, 'arrival-'));
    const [source, output] = [join(path, 'rows.jsonl'), join(path, 'rows.parquet')];
    await writeFile(source, rows.map((row) => JSON.stringify(row)).join('\n'));
    const converted = await engine.convert({ path: source, format: 'jsonl', timeColumn, output });
    const { digest, bytes } = await store.putFile(output);
    const before = (await opened.registry.latestDatasetVersion(dataset))?.manifest;
    const incoming = event('data', `${dataset}-${version}`, dataset);
    await opened.registry.receive([
      {
        origin: { topic: 'refit.data', partition: dataset.length, offset: String(version) },
        at: at(1),
        publishedAt: at(0),
        event: incoming,
      },
    ]);
    const { columns, minTime, maxTime } = converted;
    const file = {
      digest,
      bytes,
      rows: converted.rows,
      partition: String(version),
      uri: 'file:///x',
      sourceDigest: digest,
      minTime,
      maxTime,
    };
    const files = [...(before?.files ?? []), file];
    const manifest = { dataset, version, columns, files, rows: files.reduce((sum, one) => sum + one.rows, 0), maxTime };
    await opened.registry.commitDatasetVersion({
      ...{
        dataset,
        version,
        manifest,
        manifestDigest: digestOf(manifest),
        eventKey: `test\u0000${incoming.id}`,
        newRows: converted.rows,
        createdAt: at(1),
        corrects: null,
      },
    });
  }

  async function snapshotOf(
    key: string,
    repeats?: string,
  ): Promise<{ readonly run: string; readonly digest: string; readonly manifest: SnapshotManifest }> {
    const id = repeats === undefined ? (await openRun(opened.registry, MODEL, key)).run : await repeatOf(key, repeats);
    const request = { model: MODEL, run: id, definitionDigest: digestOf('definition') };
    const built = await run(createSnapshotActivities(ports).buildSnapshot, request);
    if (built.status !== 'ready') throw new Error(built.reason);
    return { run: id, digest: built.snapshot, manifest: await readJson<SnapshotManifest>(store, built.snapshot) };
  }
  async function repeatOf(key: string, repeats: string): Promise<string> {
    const made = await opened.registry.openRun({
      ...{
        model: MODEL,
        requestKey: key,
        trigger: 'manual',
        eventKeys: [],
        requester: 'ana',
        reason: null,
        repeats,
        at: at(9),
      },
      definitionDigest: digestOf('definition'),
    });
    if (made.status !== 'opened') throw new Error(made.reason);
    return made.run.run;
  }

  /** Registers the version of a run with a model that answers the temperature. */
  async function registered(made: {
    readonly run: string;
    readonly digest: string;
  }): Promise<{ readonly version: number; readonly bundleDigest: string }> {
    const onnx = await store.putBytes(linearOnnx('w_temp', 1, 0));
    await opened.registry.updateRun(
      made.run,
      { evaluation: { rows: 1, metric: 'rmse', metrics: { rmse: 1 }, slices: [] }, metric: { name: 'rmse', value: 1 } },
      at(3),
    );
    const request = {
      model: MODEL,
      run: made.run,
      definitionDigest: digestOf('definition'),
      snapshot: made.digest,
      onnx,
    };
    return run(endedByData(createEvaluateActivities(ports).registerVersion), request);
  }

  interface Served {
    readonly server: InferenceServer;
    readonly log: Prediction[];
    readonly problems: string[];
    readonly switches: { registryAway: boolean; storeAway: boolean };
    ask(
      rows: readonly { readonly origin: string | null; readonly planned: string }[],
    ): Promise<readonly (number | null)[]>;
    lookupVersion(): Promise<number>;
  }

  async function serve(version: number, cacheFolder: string, away = false): Promise<Served> {
    const plan: TrafficPlan = {
      model: MODEL,
      deployment: 1,
      revision: 1,
      entries: [{ version, role: 'champion', weight: 1 }],
    };
    const switches = { registryAway: away, storeAway: away };
    const [log, problems]: [Prediction[], string[]] = [[], []];
    const refuse = (): void => {
      if (switches.registryAway) throw new Error('the registry is away');
    };
    const server = await createInferenceServer({
      registry: {
        async plans() {
          refuse();
          return [plan];
        },
        async version(model, number) {
          refuse();
          return opened.registry.version(model, number);
        },
        async lookup(spec) {
          refuse();
          return opened.registry.lookup(spec);
        },
        reportReplica: async () => refuse(),
      },
      store: {
        getBytes: async (digest) => {
          if (switches.storeAway) throw new Error('the store is away');
          return store.getBytes(digest);
        },
      },
      createFeatureEngine,
      createScorer,
      publisher: publisherTo((rows) => void log.push(...rows)),
      ...{ cacheFolder, host: '127.0.0.1', port: 0, replica: 'r', clock: () => new Date(), pollIntervalMs: 20 },
      onProblem: (problem) => problems.push(problem),
    });
    servers.push(server);
    return {
      server,
      log,
      problems,
      switches,
      async ask(rows) {
        const inputs = [
          tensor(
            'origin',
            'BYTES',
            rows.map(({ origin }) => origin),
          ),
          tensor(
            'planned',
            'BYTES',
            rows.map(({ planned }) => planned),
          ),
          tensor(
            'distance',
            'INT64',
            rows.map(() => 120),
          ),
        ];
        const answer = await fetch(`${server.url}/v2/models/${MODEL}/infer`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ inputs }),
        });
        const body = (await answer.json()) as {
          readonly error?: string;
          readonly outputs?: readonly { readonly data: readonly number[] }[];
        };
        if (body.outputs === undefined) throw new Error(body.error);
        return body.outputs[0]?.data ?? [];
      },
      async lookupVersion() {
        const text = await (await fetch(`${server.url}/metrics`)).text();
        return Number(/refit_serving_lookup_dataset_version\{[^}]*\} (\d+)/.exec(text)?.[1]);
      },
    };
  }

  it('is pinned, looked up, followed, and there while everything else is away', async () => {
    const first = await snapshotOf('first');
    expect(first.manifest.joins).toMatchObject([
      { dataset: 'weather', datasetVersion: 1, maxAgeMs: 10_800_000, delayMs: 600_000 },
    ]);
    expect(first.manifest.source.map(({ name }) => name)).toEqual(['distance', 'w_temp']);
    const test = await store.pathOf(first.manifest.parts.test.digest);
    const trained = await withSession({ files: [test] }, (session) =>
      session.rows(`SELECT __id AS id, w_temp FROM ${parquetOf([test])} ORDER BY __time`),
    );
    expect(trained.length).toBeGreaterThan(50);
    const version = await registered(first);
    const bundle = await readJson<BundleManifest>(store, version.bundleDigest);
    expect(bundle.joins).toHaveLength(1);

    const cacheFolder = join(folder, `serve-${backend}`);
    await mkdir(cacheFolder);
    const served = await serve(version.version, cacheFolder);
    expect(await served.lookupVersion()).toBe(1);
    const metadata = (await (await fetch(`${served.server.url}/v2/models/${MODEL}`)).json()) as Record<string, unknown>;
    expect(metadata).toMatchObject({ parameters: { lookup_weather: 1 } });
    expect((metadata.inputs as { readonly name: string }[]).map(({ name }) => name)).toEqual([
      'distance',
      'origin',
      'planned',
      'id',
    ]);

    // The rows of the test part, as callers would have asked for them.
    const rows = trained.flatMap(({ id }) => FLIGHT_ROWS.filter((row) => row.id === id));
    expect(await served.ask(rows)).toEqual(trained.map(({ w_temp }) => w_temp));
    await until(() => served.log.length === rows.length, 'log rows');
    expect(served.log[0]?.source).toMatchObject({ origin: rows[0]?.origin, w_temp: trained[0]?.w_temp, distance: 120 });

    // The newest weather is of 19:30, known from 19:40 on.
    const late = [{ origin: 'JFK', planned: time(1_230) }];
    expect(await served.ask(late)).toEqual([39]);
    await publish('weather', 2, [weatherAt('JFK', 1_200, 77), weatherAt('JFK', 1_225, 78)], 'seen');
    expect(await served.ask(late)).toEqual([39]);
    const superseded = (await opened.registry.lookup((await opened.registry.wantedLookups('weather'))[0]?.spec ?? ''))
      ?.digest;
    await run(createLookupActivities(ports).refreshLookups, { dataset: 'weather' });
    await until(async () => (await served.lookupVersion()) === 2, 'the newer store');
    // The store of version 1 is of no use to anybody, and is gone.
    const [wanted] = await opened.registry.wantedLookups('weather');
    expect(await opened.registry.supersededLookups(wanted?.spec ?? '')).toEqual([]);
    await expect(store.getBytes(superseded ?? '')).rejects.toThrow();
    // That of 20:25 is not known before 20:35.
    expect(await served.ask(late)).toEqual([77]);
    expect(await served.ask([{ origin: 'JFK', planned: time(1_235) }])).toEqual([78]);

    // Everything away, and started anew: what is on the own disk answers.
    served.switches.registryAway = true;
    served.switches.storeAway = true;
    expect(await served.ask(late)).toEqual([77]);
    await served.server.close();
    const again = await serve(version.version, cacheFolder, true);
    expect(await again.ask(late)).toEqual([77]);
    expect(await again.lookupVersion()).toBe(2);

    // A repetition joins what the first run joined.
    const second = await snapshotOf('second');
    expect(second.manifest.joins?.[0]?.datasetVersion).toBe(2);
    const repeated = await snapshotOf('third', first.run);
    expect(repeated.digest).toBe(first.digest);
  }, 60_000);

  it('that changes while a run trains ends the run by name, and no store of it is wished for', async () => {
    const made = await snapshotOf('first');
    const half = FIRST_WEATHER.map((row, index) => ({ ...row, temp: index / 2 }));
    await publish('weather', 2, half, 'seen');
    await expect(registered(made)).rejects.toMatchObject({
      nonRetryable: true,
      type: 'DataRefused',
      message: expect.stringMatching(
        /^data rejected: join in column temp: column temp is float64 in version 2 of dataset weather, models look it up as int64/,
      ),
    });
    expect(await opened.registry.wantedLookups('weather')).toEqual([]);
    // The next run takes it as it is now, and a repetition of the first one is told the same.
    await registered(await snapshotOf('second'));
    await expect(registered(await snapshotOf('third', made.run))).rejects.toMatchObject({ type: 'DataRefused' });
  }, 60_000);

  it('loses what is erased also from a store that no newer version can take the place of, and so do the servers', async () => {
    const made = await snapshotOf('first');
    const version = await registered(made);
    const [spec = ''] = (await opened.registry.wantedLookups('weather')).map((one) => one.spec);
    const before = await opened.registry.lookup(spec);
    const cacheFolder = await mkdtemp(join(folder, 'cache-'));
    const served = await serve(version.version, cacheFolder);
    const copy = (digest = ''): string => join(cacheFolder, 'files', digest);
    const late = [{ origin: 'JFK', planned: time(1_230) }];
    expect(await served.ask(late)).toEqual([39]);
    // From now on a number with decimals: no store can be made of it.
    await publish('weather', 2, [{ ...weatherAt('LGA', 1_200, 7), temp: 7.5 }], 'seen');
    await run(createLookupActivities(ports).refreshLookups, { dataset: 'weather' });
    expect(await opened.registry.lookup(spec)).toEqual(before);
    await opened.registry.apply({
      ...{ datasets: [{ ...WEATHER, id: 'station' }], models: [], policies: [], projectDigest: digestOf('p') },
      ...{ root: '/p', gitCommit: null, actor: 'olga', at: at(3) },
    });
    const asked = { dataset: 'weather', requestKey: 'r', ids: ['JFK'], actor: 'olga', reason: null, at: at(4) };
    const { erasure } = await opened.registry.requestErasure(asked);
    await run(createEraseActivities(ports).eraseRows, { dataset: 'weather', erasure });
    await run(createLookupActivities(ports).refreshLookups, { dataset: 'weather' });
    const after = await opened.registry.lookup(spec);
    expect(after).toMatchObject({ datasetVersion: 1 });
    expect(after?.rows).toBeLessThan(before?.rows ?? 0);
    expect(await store.has(before?.digest ?? '')).toBe(false);
    await until(async () => !(await isThere(copy(before?.digest))), 'the server has forgotten the store');
    expect(await isThere(copy(after?.digest))).toBe(true);
    // Made again of the same rows it is the same.
    await run(createLookupActivities(ports).refreshLookups, { dataset: 'weather' });
    expect(await opened.registry.lookup(spec)).toEqual(after);
    expect(await store.has(after?.digest ?? '')).toBe(true);
  }, 60_000);

  it('keeps the store before where a newer version cannot be joined, and says so', async () => {
    const made = await snapshotOf('first');
    await registered(made);
    const [wanted] = await opened.registry.wantedLookups('weather');
    const before = await opened.registry.lookup(wanted?.spec ?? '');
    expect(before).toMatchObject({ datasetVersion: 1, rows: expect.any(Number) });
    // Idempotent.
    await run(createLookupActivities(ports).refreshLookups, { dataset: 'weather' });
    expect(await opened.registry.lookup(wanted?.spec ?? '')).toEqual(before);
    await publish('weather', 2, [{ station: 'JFK', seen: time(2_000), warmth: 3 }], 'seen');
    const broken = (await opened.registry.latestDatasetVersion('weather'))?.manifest;
    const files = broken?.files.slice(-1) ?? [];
    await opened.registry.commitDatasetVersion({
      ...{
        dataset: 'weather',
        version: 3,
        manifest: { ...broken, version: 3, files } as never,
        manifestDigest: digestOf('x'),
      },
      ...{ eventKey: 'test\u0000other', newRows: 1, createdAt: at(2), corrects: null },
    });
    await run(createLookupActivities(ports).refreshLookups, { dataset: 'weather' });
    expect(await opened.registry.lookup(wanted?.spec ?? '')).toEqual(before);
    expect(await opened.registry.audit('dataset/weather', 5)).toContainEqual(
      expect.objectContaining({
        action: 'lookup.failed',
        body: expect.objectContaining({ problem: expect.stringContaining('temp') }),
      }),
    );
    const { run: next } = await openRun(opened.registry, MODEL, 'second');
    expect(
      await run(createSnapshotActivities(ports).buildSnapshot, {
        model: MODEL,
        run: next,
        definitionDigest: digestOf('definition'),
      }),
    ).toMatchObject({ status: 'data_rejected', reason: expect.stringContaining('dataset weather has no column temp') });
  }, 60_000);
});

describe('a join in a document', () => {
  const left: readonly SourceColumn[] = [
    { name: 'origin', type: 'string' },
    { name: 'gate', type: 'int64' },
    { name: 'planned', type: 'timestamp' },
    { name: 'W_temp', type: 'float64' },
  ];
  const right: readonly SourceColumn[] = [
    { name: 'station', type: 'string' },
    { name: 'seen', type: 'timestamp' },
    { name: 'temp', type: 'float64' },
  ];
  const base = { dataset: 'weather', as: 'x', keys: { origin: 'station' }, columns: ['temp'], max_age: '3h' };
  const problemsOf = (change: object): readonly string[] => {
    const { joins } = modelSchema.parse({ ...JSON.parse(canonicalJson(DOCUMENT)), joins: [{ ...base, ...change }] });
    return resolveJoins(joins ?? [], { document: { name: 'flights', time: 'planned' }, columns: left }, (name) =>
      name === 'weather'
        ? { document: { name, time: 'seen' }, columns: right }
        : name === 'flights'
          ? { document: { name, time: 'planned' }, columns: left }
          : undefined,
    ).problems.map(({ path, detail }) => `${path.join('.')}: ${detail}`);
  };

  it('that fits has no problem', () => expect(problemsOf({})).toEqual([]));
  it.each([
    [
      'an unknown dataset',
      { dataset: 'wheather' },
      /joins\.0\.dataset: dataset wheather is neither in this project nor registered/,
    ],
    [
      'its own dataset',
      { dataset: 'flights', keys: { origin: 'origin' }, columns: ['gate'] },
      /cannot be joined to itself/,
    ],
    [
      'an unknown column',
      { columns: ['temperature'] },
      /joins\.0\.columns\.0: dataset weather has no column temperature; it has station, seen, temp/,
    ],
    ['an unknown key', { keys: { orgin: 'station' } }, /dataset flights has no column orgin/],
    ['an unknown key of the other', { keys: { origin: 'place' } }, /dataset weather has no column place/],
    ['keys of other types', { keys: { gate: 'station' } }, /gate is int64 and station of weather is string/],
    ['a key that is no key', { keys: { W_temp: 'temp' } }, /W_temp is float64/],
    ['a name that is taken', { as: 'w' }, /w_temp is a column of dataset flights already/],
    ['a delay beyond its age', { delay: '4h' }, /nothing is both known and younger than 3h/],
  ] as const)('with %s is refused where it stands', (_, change, message) => {
    expect(problemsOf(change).join('\n')).toMatch(message);
  });
  it('needs a time on both sides', () => {
    expect(
      resolveJoins(
        [modelSchema.parse(DOCUMENT).joins?.[0] as never],
        { document: { name: 'flights' }, columns: left },
        () => ({ document: { name: 'weather' }, columns: right }),
      ).problems,
    ).toHaveLength(3);
  });
});
