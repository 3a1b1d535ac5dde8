/** A dataset of departures with every kind of check, a model on it with a champion, and the real activities over real stores. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createDatasetActivities } from '../../activities/dataset.ts';
import type { Ports } from '../../activities/ports.ts';
import { createRunActivities } from '../../activities/run.ts';
import { createSnapshotActivities } from '../../activities/snapshot.ts';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { withSession } from '../../src/adapters/duckdb/session.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import { createSurroundings } from '../../src/adapters/surroundings.ts';
import { datasetSchema, modelSchema } from '../../src/contracts/documents.ts';
import type { IngestResult, SnapshotResult } from '../../src/contracts/messages.ts';
import { eventKey } from '../../src/domain/ids.ts';
import {
  at,
  delivery,
  digestOf,
  event,
  freshRegistry,
  openRun,
  policy,
  ship,
  waitingCandidate,
} from './registry-fixtures.ts';

const apiVersion = 'refit.dev/v1';

/** Items of a row by column; each may be replaced, or be left out by null. */
export type Items = Readonly<Record<string, string | null>>;

/** 400 departures of four days from `first` on. */
export const departures = (first: number, changes: Items = {}, rows = 400): string => {
  const items: Items = {
    ...{ id: `'f' || (i + ${first})`, at: `TIMESTAMP '2026-01-01' + to_seconds((i + ${first}) * 864)` },
    ...{ distance: '100 + (i * 7919) % 900', wind: '((i * 104723) % 9973) / 100.0', seats: '50 + (i * 31) % 200' },
    ...{ origin: "['EWR', 'JFK', 'LGA'][1 + (i * 7) % 3]", gate: "'G' || (i * 13) % 40", tail: "'N' || i % 5" },
    ...{ late: '(i * 104729) % 7 < 2', delay: '(i * 104729) % 97 - 20.5' },
    ...changes,
  };
  const select = Object.entries(items).flatMap(([name, sql]) => (sql === null ? [] : [`${sql} AS "${name}"`]));
  return `SELECT ${select.join(', ')} FROM range(${rows}) t(i)`;
};

const DATASET = {
  ...{ apiVersion, kind: 'Dataset', id: 'id', time: 'at' },
  expect: [
    { type: 'not_null', column: 'distance' },
    { type: 'between', column: 'distance', min: 1, max: 5000 },
    { type: 'between', column: 'at', min: '2025-01-01' },
    { type: 'in', column: 'origin', values: ['EWR', 'JFK', 'LGA'] },
    { type: 'matches', column: 'gate', pattern: '^G[0-9]+$' },
    { type: 'rows', min: 100, max: 1000 },
    { type: 'null_share', column: 'wind', max: 0.1 },
    { type: 'unique', column: 'id' },
    { type: 'sql', name: 'seats-for-all', sql: 'seats >= 10 OR seats IS NULL' },
    { type: 'sql', name: 'gate-number', sql: 'CAST(substr(gate, 2) AS BIGINT) < 1000' },
    { type: 'foreign_key', column: 'tail', dataset: 'planes', references: 'tail' },
    { type: 'freshness', max_age: '3650d' },
    { type: 'like_reference', column: 'seats', max: 0.2 },
  ],
} as const;

const MODEL = {
  ...{ apiVersion, kind: 'Model', task: 'binary-classification', label: { sql: 'late' } },
  ...{ features: ['distance', 'wind', 'seats', 'origin'], training: { trainer: 'sklearn' } },
};

interface Whole {
  readonly whole: string | null;
}

export interface BadDataWorld {
  readonly folder: string;
  readonly registry: Ports['registry'];
  readonly store: Ports['store'];
  parquet(query: string): Promise<string>;
  text(content: string | Uint8Array, ending: string): Promise<string>;
  /** Registers a dataset and a model of its name with a champion. */
  register(name: string, dataset?: object, model?: object): Promise<void>;
  /** Applies its documents again. */
  apply(name: string, dataset?: object, model?: object): Promise<void>;
  /** An arrival, taken in and delivered by the real activities: what the history has of it, and the whole sentence that the registry tells. */
  arrive(dataset: string, uri: string, more?: object): Promise<IngestResult & Whole>;
  /** The snapshot of a run on what the dataset has, and its end where it is rejected. */
  run(model: string): Promise<SnapshotResult & Whole>;
  /** All that says what serves: champion, plan, and the newest version of the data. */
  state(name: string): Promise<unknown>;
  close(): Promise<void>;
}

export async function badDataWorld(): Promise<BadDataWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'refit-bad-data-'));
  const { registry, close } = await freshRegistry();
  await mkdir(join(folder, 'project'));
  const ports = {
    ...{ registry, store: await openStore(`file:${join(folder, 'artifacts')}`), engine: createDataEngine() },
    surroundings: createSurroundings({ scratchRoot: join(folder, 'scratch'), dataRoots: [] }),
    ...{ notifier: { notify: async () => undefined }, messenger: { runFinished: async () => undefined } },
  } as unknown as Ports;
  const dataset = createDatasetActivities(ports);
  const snapshot = createSnapshotActivities(ports);
  const bookkeeping = createRunActivities(ports);
  const environment = new MockActivityEnvironment();
  let made = 0;
  const next = (ending: string): string => {
    made += 1;
    return join(folder, 'project', `file-${made}.${ending}`);
  };
  async function apply(name: string, change = {}, model = {}): Promise<void> {
    const document = modelSchema.parse({ ...MODEL, name, dataset: name, ...model });
    await registry.apply({
      datasets: [datasetSchema.parse({ ...DATASET, name, ...change })],
      models: [{ document, definitionDigest: digestOf('definition') }],
      ...{ policies: [policy(['ana'])], projectDigest: digestOf('project'), root: join(folder, 'project') },
      ...{ gitCommit: null, actor: 'olga', at: at(0) },
    });
  }
  return {
    ...{ folder, registry, store: ports.store },
    async parquet(query) {
      const path = next('parquet');
      await withSession({ folders: [folder] }, (session) =>
        session.run(`COPY (${query}) TO '${path}' (FORMAT parquet)`),
      );
      return pathToFileURL(path).href;
    },
    async text(content, ending) {
      const path = next(ending);
      await writeFile(path, content);
      return pathToFileURL(path).href;
    },
    apply,
    async register(name, change = {}, model = {}) {
      await apply(name, change, model);
      await ship(registry, await waitingCandidate(registry, name, `first-${name}`));
    },
    async arrive(name, uri, more = {}) {
      made += 1;
      const arrived = event('data', `e${made}`, name, { dataset: name, uris: [uri], ...more });
      await registry.receive([delivery(made, arrived)]);
      const key = eventKey(arrived.source, arrived.id);
      const result = await environment.run<[], IngestResult, () => Promise<IngestResult>>(() =>
        dataset.ingest({ dataset: name, key }),
      );
      if (result.status === 'version') return { ...result, whole: null };
      await environment.run(() => dataset.deliver({ dataset: name, key, result }));
      return { ...result, whole: (await registry.fates(name, [key]))[key]?.reason ?? null };
    },
    async run(model) {
      const { run } = await openRun(registry, model, `run-${model}`);
      const request = { model, run, definitionDigest: digestOf('definition') };
      const result = await environment.run<[], SnapshotResult, () => Promise<SnapshotResult>>(() =>
        snapshot.buildSnapshot(request),
      );
      if (result.status === 'ready') return { ...result, whole: null };
      const { reason } = result;
      await environment.run(() => bookkeeping.finishRun({ ...request, outcome: 'data_rejected', reason }));
      return { ...result, whole: (await registry.run(run))?.outcomeReason ?? null };
    },
    async state(name) {
      return {
        plan: await registry.plan(name),
        versions: await registry.versions(name),
        data: (await registry.latestDatasetVersion(name))?.version ?? 0,
      };
    },
    async close() {
      await close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
