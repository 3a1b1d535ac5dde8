/**
 * The server's own disk: verified copies of the files it serves and the plans it follows, so that it starts and goes on
 * without registry and artifact store.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { TrafficPlan } from '../contracts/plan.ts';
import { SERVING_ROLES } from '../contracts/values.ts';
import { ArtifactCorrupt, type ArtifactStore } from '../ports/store.ts';

const planSchema = z.object({
  model: z.string(),
  deployment: z.int(),
  revision: z.int(),
  entries: z.array(z.object({ version: z.int(), role: z.enum(SERVING_ROLES), weight: z.number() })),
});
const stateSchema = z.array(z.object({ plan: planSchema, bundles: z.record(z.string(), z.string()) }));

export interface KeptPlan {
  readonly plan: TrafficPlan;
  /** Bundle digest by version. */
  readonly bundles: Readonly<Record<string, string>>;
}

const lookupsSchema = z.array(
  z.object({ spec: z.string(), dataset: z.string(), datasetVersion: z.int(), digest: z.string() }),
);
/** A keyed store that is looked up in. */
export type KeptLookup = Readonly<z.infer<typeof lookupsSchema>[number]>;

export interface ServingCache {
  /** Verified bytes, from the own copy or else from the store. @throws ArtifactCorrupt, ArtifactMissing */
  bytes(digest: string): Promise<Uint8Array>;
  /** The path of a verified copy. */
  path(digest: string): Promise<string>;
  load(): Promise<readonly KeptPlan[]>;
  save(plans: readonly KeptPlan[]): Promise<void>;
  loadLookups(): Promise<readonly KeptLookup[]>;
  saveLookups(lookups: readonly KeptLookup[]): Promise<void>;
  /** Deletes the own copy of a file that nothing uses any more. */
  forget(digest: string): Promise<void>;
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Complete or not there at all, whenever the process ends. */
async function writeWhole(path: string, bytes: Uint8Array | string): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

export async function openCache(folder: string, store: Pick<ArtifactStore, 'getBytes'>): Promise<ServingCache> {
  const files = join(folder, 'files');
  const plansPath = join(folder, 'plans.json');
  const lookupsPath = join(folder, 'lookups.json');
  await mkdir(files, { recursive: true });

  const bytes = async (digest: string): Promise<Uint8Array> => {
    const path = join(files, digest);
    const own = await readIfThere(path);
    if (own !== undefined && digestOf(own) === digest) return own;
    const fetched = await store.getBytes(digest);
    // Not the store's word for it: what is served was verified here.
    const found = digestOf(fetched);
    if (found !== digest) throw new ArtifactCorrupt(digest, found);
    await writeWhole(path, fetched);
    return fetched;
  };

  return {
    bytes,
    async path(digest) {
      await bytes(digest);
      return join(files, digest);
    },
    async load() {
      const text = await readIfThere(plansPath);
      return text === undefined ? [] : stateSchema.parse(JSON.parse(Buffer.from(text).toString('utf8')));
    },
    async loadLookups() {
      const text = await readIfThere(lookupsPath);
      return text === undefined ? [] : lookupsSchema.parse(JSON.parse(Buffer.from(text).toString('utf8')));
    },
    saveLookups: (lookups) => writeWhole(lookupsPath, `${JSON.stringify(lookups)}\n`),
    forget: (digest) => rm(join(files, digest), { force: true }),
    save: (plans) => writeWhole(plansPath, `${JSON.stringify(plans)}\n`),
  };
}
