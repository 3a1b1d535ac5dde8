/**
 * Features for the versions in memory. Versions with the same features text share one engine and its batches: a canary beside
 * the champion then costs one more model, not a second query. Models stay apart, so a slow one holds up nobody else.
 */
import type { FeatureColumn, ResolvedJoin, SourceColumn } from '../contracts/data.ts';
import { requestColumns } from '../domain/joins.ts';
import type { FeatureEngine, FeatureEngineFactory, Rows } from '../ports/data.ts';
import { type Batcher, createBatcher } from './batcher.ts';
import { type Lookups, specOf } from './lookups.ts';

export interface FeatureText {
  readonly featuresSql: string;
  readonly source: readonly SourceColumn[];
  readonly features: readonly FeatureColumn[];
  readonly joins: readonly ResolvedJoin[];
}

export interface SharedFeatures {
  readonly run: Batcher<Rows>['run'];
  /** To be called once; the last one closes the engine when nothing is under way. */
  release(): Promise<void>;
}

export interface FeaturePool {
  acquire(text: FeatureText): Promise<SharedFeatures>;
  /** Moves what looks up in this store to its newest version, and waits until the old one is out of use. */
  replaceLookup(spec: string): Promise<void>;
}

interface Pooled {
  readonly text: FeatureText;
  engine: Promise<FeatureEngine>;
  /** The batch under way, which the engine must outlive. */
  running: Promise<unknown>;
  readonly batcher: Batcher<Rows>;
  users: number;
}

export function createFeaturePool(createEngine: FeatureEngineFactory, lookups: Pick<Lookups, 'path'>): FeaturePool {
  const pooled = new Map<string, Pooled>();

  const openEngine = async ({ joins, ...text }: FeatureText): Promise<FeatureEngine> => {
    const stores = [];
    for (const join of joins) stores.push({ join, lookup: await lookups.path(join) });
    return createEngine({ ...text, joins: stores });
  };

  const open = (text: FeatureText): Pooled => {
    const one: Pooled = {
      text,
      engine: openEngine(text),
      running: Promise.resolve(),
      batcher: createBatcher<Rows>({
        compute: (rows, count) => {
          const computing = one.engine.then((engine) => engine.compute(rows, count));
          one.running = computing.catch(() => undefined);
          return computing;
        },
        slice: (rows, from, to) =>
          Object.fromEntries(Object.entries(rows).map(([name, values]) => [name, values.slice(from, to)])),
        columns: requestColumns(text.source, text.joins).map(({ name }) => name),
      }),
      users: 0,
    };
    return one;
  };

  return {
    async acquire(text) {
      const key = JSON.stringify([text.featuresSql, text.source, text.features, text.joins]);
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
    async replaceLookup(spec) {
      for (const one of pooled.values()) {
        if (!one.text.joins.some((join) => specOf(join) === spec)) continue;
        const before = await one.engine;
        // A new engine beside the old one: no request waits while it loads.
        const next = await openEngine(one.text);
        if (one.users === 0) {
          next.close();
          continue;
        }
        one.engine = Promise.resolve(next);
        await one.running;
        before.close();
      }
    },
  };
}
