/** An inference server with a registry and a store in memory, and bundles of hand-made ONNX files. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFeatureEngine } from '../../src/adapters/duckdb/feature-engine.ts';
import { createScorer } from '../../src/adapters/onnx/scorer.ts';
import type { BundleManifest } from '../../src/contracts/bundle.ts';
import type { Prediction } from '../../src/contracts/events.ts';
import type { PlanEntry, ReplicaReport, TrafficPlan } from '../../src/contracts/plan.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import type { LookupRecord } from '../../src/ports/registry/lookups.ts';
import { ArtifactMissing } from '../../src/ports/store.ts';
import type { InferenceServerOptions, PredictionPublisher } from '../../src/serving/ports.ts';
import { createInferenceServer, type InferenceServer } from '../../src/serving/server.ts';
import { logisticOnnx } from './onnx-files.ts';

export const MODEL = 'delays';

export interface ServingWorld {
  readonly registry: {
    plans: TrafficPlan[];
    versions: Map<number, string>;
    /** Keyed stores by their spec. */
    lookups: Map<string, LookupRecord>;
    reports: ReplicaReport[];
    away: boolean;
  };
  readonly objects: Map<string, Uint8Array>;
  storeAway: boolean;
  readonly published: Prediction[];
  publisherAway: boolean;
  readonly problems: string[];
  now: Date;
  put(bytes: Uint8Array | string): string;
  /** Registers a version and gives its bundle digest. */
  addVersion(
    version: number,
    change?: Partial<BundleManifest> & { readonly onnxBytes?: Uint8Array; readonly sql?: string },
  ): string;
  plan(revision: number, ...entries: PlanEntry[]): void;
  start(change?: Partial<InferenceServerOptions>): Promise<InferenceServer>;
  lastReport(): ReplicaReport | undefined;
  infer(
    server: InferenceServer,
    body: unknown,
    path?: string,
  ): Promise<{ readonly status: number; readonly body: AnswerBody }>;
  close(): Promise<void>;
}

export interface AnswerBody {
  readonly error?: string;
  readonly id?: string;
  readonly model_version?: string;
  readonly parameters?: { readonly version: number; readonly role: string };
  readonly outputs?: readonly {
    readonly name: string;
    readonly datatype: string;
    readonly shape: readonly number[];
    readonly data: readonly number[];
  }[];
}

export const entry = (version: number, role: PlanEntry['role'], weight: number): PlanEntry => ({
  version,
  role,
  weight,
});
export const tensor = (name: string, datatype: string, data: readonly unknown[]): object => ({
  name,
  shape: [data.length],
  datatype,
  data,
});

/** One row a value of `x`; `k` is a text column. */
export const request = (x: readonly (number | null)[], more: Readonly<Record<string, unknown>> = {}): object => ({
  inputs: [
    tensor('x', 'FP64', x),
    tensor(
      'k',
      'BYTES',
      x.map(() => 'a'),
    ),
  ],
  ...more,
});

const digestOf = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

/** A publisher that keeps whatever it is offered. */
export const publisherTo = (keep: (rows: readonly Prediction[]) => void): PredictionPublisher => ({
  recordOf: (prediction) => ({ key: prediction.model, value: JSON.stringify(prediction) }),
  async publish(records) {
    keep(records.map(({ value }) => JSON.parse(String(value)) as Prediction));
    return { settled: records.length, refusal: null };
  },
});

export async function createWorld(): Promise<ServingWorld> {
  const cacheFolder = await mkdtemp(join(tmpdir(), 'refit-serving-'));
  const servers: InferenceServer[] = [];
  const refuse = (): void => {
    if (world.registry.away) throw new Error('the registry is away');
  };
  const world: ServingWorld = {
    registry: { plans: [], versions: new Map(), lookups: new Map(), reports: [], away: false },
    objects: new Map(),
    storeAway: false,
    published: [],
    publisherAway: false,
    problems: [],
    now: new Date('2024-05-01T12:00:00Z'),
    put(bytes) {
      const digest = digestOf(bytes);
      world.objects.set(digest, Buffer.from(bytes));
      return digest;
    },
    addVersion(
      version,
      {
        onnxBytes = logisticOnnx({ z: 1 }, version),
        sql = "SELECT x * 2 + CASE WHEN k = 'b' THEN 1 ELSE 0 END AS z FROM source",
        ...change
      } = {},
    ) {
      const manifest: BundleManifest = {
        model: MODEL,
        task: 'binary-classification',
        onnx: world.put(onnxBytes),
        featuresSql: world.put(sql),
        labelSql: 'late',
        features: [{ name: 'z', type: 'float64' }],
        source: [
          { name: 'x', type: 'float64' },
          { name: 'k', type: 'string' },
        ],
        classes: ['false', 'true'],
        idColumn: 'row_id',
        ...change,
      };
      const digest = world.put(canonicalJson(manifest));
      world.registry.versions.set(version, digest);
      return digest;
    },
    plan(revision, ...entries) {
      world.registry.plans = [{ model: MODEL, deployment: 1, revision, entries }];
    },
    async start(change = {}) {
      const server = await createInferenceServer({
        registry: {
          async plans() {
            refuse();
            return world.registry.plans;
          },
          async version(_model, version) {
            refuse();
            const bundleDigest = world.registry.versions.get(version);
            return bundleDigest === undefined ? undefined : { bundleDigest };
          },
          async lookup(spec) {
            refuse();
            return world.registry.lookups.get(spec);
          },
          async reportReplica(report) {
            refuse();
            world.registry.reports.push(report);
          },
        },
        store: {
          async getBytes(digest) {
            const bytes = world.objects.get(digest);
            if (world.storeAway) throw new Error('the store is away');
            if (bytes === undefined) throw new ArtifactMissing(digest);
            return bytes;
          },
        },
        createFeatureEngine,
        createScorer,
        publisher: publisherTo((rows) => {
          if (world.publisherAway) throw new Error('the broker is away');
          world.published.push(...rows);
        }),
        cacheFolder,
        host: '127.0.0.1',
        port: 0,
        replica: 'r1',
        clock: () => world.now,
        pollIntervalMs: 10,
        onProblem: (problem) => world.problems.push(problem),
        ...change,
      });
      servers.push(server);
      return server;
    },
    lastReport: () => world.registry.reports.at(-1),
    async infer(server, body, path = `/v2/models/${MODEL}/infer`) {
      const response = await fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
      return { status: response.status, body: JSON.parse(await response.text()) };
    },
    async close() {
      await Promise.all(servers.map((server) => server.close()));
      await rm(cacheFolder, { recursive: true, force: true });
    },
  };
  return world;
}

export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 60_000,
): Promise<void> {
  const start = Date.now();
  while (!(await condition())) {
    if (Date.now() - start > timeoutMs) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
