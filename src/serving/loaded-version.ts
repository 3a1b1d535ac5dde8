/** A version in memory: verified files, features and model, answering batches of rows. */
import { z } from 'zod';
import type { BundleManifest } from '../contracts/bundle.ts';
import { COLUMN_TYPES, TASKS } from '../contracts/values.ts';
import type { FeatureEngineFactory, Rows, ScorerFactory } from '../ports/data.ts';
import { type Batcher, type BatchResult, createBatcher } from './batcher.ts';
import type { ServingCache } from './cache.ts';

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
});

export interface LoadedVersion {
  readonly version: number;
  readonly bundleDigest: string;
  readonly manifest: BundleManifest;
  /** @throws when features or model fail, or the output is no number */
  infer(rows: Rows, count: number): Promise<BatchResult>;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

export interface Loader {
  readonly cache: ServingCache;
  readonly createFeatureEngine: FeatureEngineFactory;
  readonly createScorer: ScorerFactory;
  readonly scorerThreads: number;
}

function refuseNonNumbers(result: BatchResult): BatchResult {
  const at = result.values.findIndex((value) => !Number.isFinite(value));
  if (at >= 0) throw new Error(`the model answered ${result.values[at]} for row ${Math.floor(at / result.width)}`);
  return result;
}

export async function loadVersion(
  loader: Loader,
  model: string,
  version: number,
  bundleDigest: string,
): Promise<LoadedVersion> {
  const manifest: BundleManifest = manifestSchema.parse(
    JSON.parse(Buffer.from(await loader.cache.bytes(bundleDigest)).toString('utf8')),
  );
  if (manifest.model !== model)
    throw new Error(`bundle ${bundleDigest} belongs to model ${manifest.model}, not to ${model}`);
  const featuresSql = Buffer.from(await loader.cache.bytes(manifest.featuresSql)).toString('utf8');
  const engine = await loader.createFeatureEngine({
    featuresSql,
    source: manifest.source,
    features: manifest.features,
  });
  try {
    const scorer = await loader.createScorer({
      path: await loader.cache.path(manifest.onnx),
      features: manifest.features,
      classes: manifest.classes,
      task: manifest.task,
      threads: loader.scorerThreads,
    });
    const columns = manifest.source.map(({ name }) => name);
    const batcher: Batcher = createBatcher(
      async (rows, count) => scorer.score(await engine.compute(rows, count), count),
      columns,
    );
    return {
      version,
      bundleDigest,
      manifest,
      async infer(rows, count) {
        const missing = columns.filter((name) => rows[name] === undefined);
        if (missing.length > 0)
          throw new Error(`version ${version} needs ${missing.join(', ')}, which the request does not have`);
        return refuseNonNumbers(await batcher.run(rows, count));
      },
      async close() {
        await batcher.idle();
        engine.close();
        await scorer.close();
      },
    };
  } catch (error) {
    engine.close();
    throw error;
  }
}
