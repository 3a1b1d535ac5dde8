/**
 * Features for the versions in memory. Versions with the same features text share one engine and its batches: a canary beside
 * the champion then costs one more model, not a second query. Models stay apart, so a slow one holds up nobody else.
 */
import type { FeatureColumn, SourceColumn } from '../contracts/data.ts';
import type { FeatureEngine, FeatureEngineFactory, Rows } from '../ports/data.ts';
import { type Batcher, createBatcher } from './batcher.ts';

export interface FeatureText {
  readonly featuresSql: string;
  readonly source: readonly SourceColumn[];
  readonly features: readonly FeatureColumn[];
}

export interface SharedFeatures {
  readonly run: Batcher<Rows>['run'];
  /** To be called once; the last one closes the engine when nothing is under way. */
  release(): Promise<void>;
}

export interface FeaturePool {
  acquire(text: FeatureText): Promise<SharedFeatures>;
}

interface Pooled {
  readonly engine: Promise<FeatureEngine>;
  readonly batcher: Batcher<Rows>;
  users: number;
}

export function createFeaturePool(createEngine: FeatureEngineFactory): FeaturePool {
  const pooled = new Map<string, Pooled>();

  const open = (text: FeatureText): Pooled => {
    const engine = createEngine(text);
    const batcher = createBatcher<Rows>({
      compute: async (rows, count) => (await engine).compute(rows, count),
      slice: (rows, from, to) =>
        Object.fromEntries(Object.entries(rows).map(([name, values]) => [name, values.slice(from, to)])),
      columns: text.source.map(({ name }) => name),
    });
    return { engine, batcher, users: 0 };
  };

  return {
    async acquire(text) {
      const key = JSON.stringify([text.featuresSql, text.source, text.features]);
      const one = pooled.get(key) ?? open(text);
      pooled.set(key, one);
      one.users += 1;
      const release = async (): Promise<void> => {
        one.users -= 1;
        if (one.users > 0) return;
        pooled.delete(key);
        await one.batcher.idle();
        (await one.engine).close();
      };
      try {
        await one.engine;
      } catch (error) {
        one.users -= 1;
        pooled.delete(key);
        throw error;
      }
      return { run: one.batcher.run, release };
    },
  };
}
