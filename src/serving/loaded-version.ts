/** A version in memory: verified files, features and model, answering batches of rows. */
import { z } from 'zod';
import type { BundleManifest } from '../contracts/bundle.ts';
import type { SourceColumn } from '../contracts/data.ts';
import { COLUMN_TYPES, TASKS } from '../contracts/values.ts';
import { requestColumns } from '../domain/joins.ts';
import { LOOKED_UP, type Rows, type Scorer, type ScorerFactory } from '../ports/data.ts';
import { createBatcher } from './batcher.ts';
import type { ServingCache } from './cache.ts';
import type { FeaturePool } from './feature-pool.ts';

const columnSchema = z.object({ name: z.string(), type: z.enum(COLUMN_TYPES) });
const manifestSchema = z.object({
  model: z.string(),
  task: z.enum(TASKS),
  onnx: z.string(),
  featuresSql: z.string(),
  labelSql: z.string(),
  features: z.array(z.object({ name: z.string(), type: z.enum(['float64', 'int64', 'string', 'bool']) })),
  source: z.array(columnSchema),
  classes: z.array(z.string()),
  idColumn: z.string().nullable(),
  joins: z
    .array(
      z.object({
        dataset: z.string(),
        keys: z.array(z.object({ left: z.string(), right: z.string(), type: z.enum(COLUMN_TYPES) })),
        columns: z.array(z.object({ name: z.string(), as: z.string(), type: z.enum(COLUMN_TYPES) })),
        ...{ leftTime: z.string(), rightTime: z.string(), maxAgeMs: z.number(), delayMs: z.number() },
      }),
    )
    .default([]),
});

export interface Output {
  readonly width: number;
  /** Row-major. */
  readonly values: Float64Array;
  /** What joins looked up, by name in `source`. */
  readonly lookedUp: Rows;
  /** Time in features and model. */
  readonly latencyMs: number;
}

export interface LoadedVersion {
  readonly version: number;
  readonly bundleDigest: string;
  readonly manifest: BundleManifest;
  /** What a request holds for it. */
  readonly inputs: readonly SourceColumn[];
  /** @throws when features or model fail, or the output is no number */
  infer(rows: Rows, count: number): Promise<Output>;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

export interface Loader {
  readonly cache: ServingCache;
  readonly features: FeaturePool;
  readonly createScorer: ScorerFactory;
  readonly scorerThreads: number;
}

/** Takes what was looked up out of what the feature engine gave. */
const lookedUpOf = (computed: Rows): Rows =>
  Object.fromEntries(
    Object.entries(computed).flatMap(([name, values]) =>
      name.startsWith(LOOKED_UP) ? [[name.slice(LOOKED_UP.length), values] as const] : [],
    ),
  );

type Scores = Awaited<ReturnType<Scorer['score']>>;

function refuseNonNumbers({ width, values }: Scores): Scores {
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at >= 0) throw new Error(`the model answered ${values[at]} for row ${Math.floor(at / width)}`);
  return { width, values };
}

export async function loadVersion(
  loader: Loader,
  model: string,
  version: number,
  bundleDigest: string,
): Promise<LoadedVersion> {
  const manifest = manifestSchema.parse(
    JSON.parse(Buffer.from(await loader.cache.bytes(bundleDigest)).toString('utf8')),
  );
  if (manifest.model !== model)
    throw new Error(`bundle ${bundleDigest} belongs to model ${manifest.model}, not to ${model}`);
  const featuresSql = Buffer.from(await loader.cache.bytes(manifest.featuresSql)).toString('utf8');
  const features = await loader.features.acquire({
    featuresSql,
    source: manifest.source,
    features: manifest.features,
    joins: manifest.joins,
  });
  const inputs = requestColumns(manifest.source, manifest.joins);
  try {
    const scorer = await loader.createScorer({
      path: await loader.cache.path(manifest.onnx),
      features: manifest.features,
      classes: manifest.classes,
      task: manifest.task,
      threads: loader.scorerThreads,
    });
    const scores = createBatcher<Scores>({
      compute: (rows, count) => scorer.score(rows, count),
      slice: ({ width, values }, from, to) => ({ width, values: values.subarray(from * width, to * width) }),
      columns: manifest.features.map(({ name }) => name),
    });
    return {
      version,
      bundleDigest,
      manifest,
      inputs,
      async infer(rows, count) {
        const missing = inputs.filter(({ name }) => rows[name] === undefined).map(({ name }) => name);
        if (missing.length > 0)
          throw new Error(`version ${version} needs ${missing.join(', ')}, which the request does not have`);
        const computed = await features.run(rows, count);
        const scored = await scores.run(computed.value, count);
        return {
          ...refuseNonNumbers(scored.value),
          lookedUp: lookedUpOf(computed.value),
          latencyMs: computed.latencyMs + scored.latencyMs,
        };
      },
      async close() {
        await scores.idle();
        await features.release();
        await scorer.close();
      },
    };
  } catch (error) {
    await features.release();
    throw error;
  }
}
