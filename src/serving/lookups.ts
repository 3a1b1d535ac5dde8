/**
 * The keyed stores that joins are looked up in: the newest that the registry knows, verified, on the own disk. While the registry is away the
 * server goes on with what it has, also after a restart.
 */
import type { ResolvedJoin } from '../contracts/data.ts';
import { lookupSpec } from '../domain/joins.ts';
import { lookupDigest } from '../ports/lookup.ts';
import type { KeptLookup, ServingCache } from './cache.ts';
import { messageOf, type ServingRegistry } from './ports.ts';

export interface Lookups {
  /** Path of the store of a join. @throws when neither the registry nor the disk has one */
  path(join: ResolvedJoin): Promise<string>;
  /** Takes up newer stores: `replace` moves the users of a store, and resolves when nobody uses the old one any more. */
  refresh(replace: (spec: string) => Promise<void>): Promise<void>;
  readonly held: () => readonly KeptLookup[];
}

export const specOf = (join: ResolvedJoin): string => lookupDigest(lookupSpec(join));

export function createLookups(
  registry: Pick<ServingRegistry, 'lookup'>,
  cache: ServingCache,
  onProblem: (problem: string, error: unknown) => void,
): Lookups {
  let loaded: Promise<Map<string, KeptLookup>> | undefined;
  let newest = new Map<string, KeptLookup>();
  /** What answers: a newer store counts once all of its users have moved to it. */
  const inForce = new Map<string, KeptLookup>();

  const readDisk = async (): Promise<Map<string, KeptLookup>> => {
    try {
      newest = new Map((await cache.loadLookups()).map((one) => [one.spec, one]));
      for (const [spec, one] of newest) inForce.set(spec, one);
    } catch (error) {
      onProblem(`the keyed stores on disk cannot be read, the registry decides: ${messageOf(error)}`, error);
    }
    return newest;
  };
  const stores = (): Promise<Map<string, KeptLookup>> => {
    loaded ??= readDisk();
    return loaded;
  };
  const save = async (): Promise<void> => {
    try {
      await cache.saveLookups([...newest.values()]);
    } catch (error) {
      onProblem(`the keyed stores cannot be kept on disk: ${messageOf(error)}`, error);
    }
  };

  const fetchNewest = async (spec: string): Promise<KeptLookup | undefined> => {
    const record = await registry.lookup(spec);
    if (record === undefined) return undefined;
    const { dataset, datasetVersion, digest } = record;
    return { spec, dataset, datasetVersion, digest };
  };

  return {
    async path(join) {
      const spec = specOf(join);
      const known = await stores();
      let one = known.get(spec);
      if (one === undefined) {
        one = await fetchNewest(spec);
        if (one === undefined)
          throw new Error(`the registry has no keyed store of dataset ${join.dataset} for this join yet`);
        await cache.path(one.digest);
        known.set(spec, one);
        inForce.set(spec, one);
        await save();
      }
      return cache.path(one.digest);
    },
    async refresh(replace) {
      const known = await stores();
      for (const before of [...known.values()]) {
        const now = await fetchNewest(before.spec);
        // An erasure makes other bytes of the same version.
        const isOther = now?.datasetVersion === before.datasetVersion && now.digest !== before.digest;
        if (now === undefined || (now.datasetVersion <= before.datasetVersion && !isOther)) continue;
        try {
          await cache.path(now.digest);
          known.set(now.spec, now);
          await replace(now.spec);
          inForce.set(now.spec, now);
        } catch (error) {
          known.set(before.spec, before);
          onProblem(
            `the keyed store of ${now.dataset}@${now.datasetVersion} cannot be taken up, version ${before.datasetVersion} stays: ${messageOf(error)}`,
            error,
          );
          continue;
        }
        await save();
        if (![...known.values()].some(({ digest }) => digest === before.digest)) await cache.forget(before.digest);
      }
    },
    held: () => [...inForce.values()],
  };
}
