/**
 * Keyed stores: what serving looks joins up in. One is made of each version of a joined dataset, for every join that a registered version
 * of a model needs, and the inference servers follow the newest.
 */
import { join } from 'node:path';
import type { ResolvedJoin } from '../src/contracts/data.ts';
import { type LookupSpec, lookupSpec } from '../src/domain/joins.ts';
import { DataProblem } from '../src/ports/data.ts';
import { lookupDigest } from '../src/ports/lookup.ts';
import type { DatasetVersionRecord } from '../src/ports/registry/datasets.ts';
import { required } from './failures.ts';
import { beating } from './heartbeat.ts';
import type { Ports } from './ports.ts';

export type LookupActivities = ReturnType<typeof createLookupActivities>;
type LookupPorts = Pick<Ports, 'registry' | 'store' | 'engine' | 'surroundings'>;

/** Nothing reads them any more, and after an erasure nothing may. A server that comes too late for one asks for the newest again. */
async function deleteSuperseded({ registry, store }: LookupPorts, spec: string): Promise<void> {
  const newest = await registry.lookup(spec);
  for (const { digest, datasetVersion } of await registry.supersededLookups(spec)) {
    // The same rows in a newer version are the same bytes.
    if (digest !== newest?.digest) await store.remove(digest);
    await registry.forgetLookup(spec, datasetVersion);
  }
}

/** What was looked up as whole numbers must not become rounded ones. @throws DataProblem */
function requireColumns(spec: LookupSpec, { version, manifest }: DatasetVersionRecord): void {
  for (const { name, type } of [...spec.keys, ...spec.columns]) {
    const now = manifest.columns.find((column) => column.name === name)?.type;
    if (now !== type) {
      const what = now === undefined ? 'is not there' : `is ${now}`;
      throw new DataProblem(
        'join',
        `column ${name} ${what} in version ${version} of dataset ${spec.dataset}, models look it up as ${type}: a new version of the model is needed`,
        name,
      );
    }
  }
}

async function build(ports: LookupPorts, spec: LookupSpec, version: DatasetVersionRecord): Promise<void> {
  const { registry, store, engine, surroundings } = ports;
  const digest = lookupDigest(spec);
  const newest = await registry.lookup(digest);
  if (newest !== undefined && newest.datasetVersion >= version.version) return deleteSuperseded(ports, digest);
  requireColumns(spec, version);
  await surroundings.scratch(async (folder) => {
    const output = join(folder, 'lookup.parquet');
    const files = await Promise.all(version.manifest.files.map((file) => store.pathOf(file.digest)));
    const { rows, maxTime } = await engine.buildLookup({ spec, files, output });
    await registry.recordLookup({
      ...{ spec: digest, dataset: spec.dataset, datasetVersion: version.version, rows, maxTime },
      digest: (await store.putFile(output)).digest,
      at: surroundings.now().toISOString(),
    });
  });
  await deleteSuperseded(ports, digest);
}

/** What an erasure of the dataset left of a file; null where nothing is left of it. */
async function leftOf({ registry, store }: LookupPorts, dataset: string, digest: string): Promise<string | null> {
  for (let wanted = digest; ; ) {
    const erased = await registry.erasedArtifact(dataset, wanted);
    if (erased === undefined)
      return (await store.has(wanted)) || !(await registry.deletedArtifact(wanted)) ? wanted : null;
    if (erased.replacement === null) return null;
    wanted = erased.replacement;
  }
}

/**
 * A store that no newer version can take the place of, made again of what erasures have left of its own version: rows that the data has lost must
 * not be looked up either. Where nothing is left the store goes.
 */
async function withoutErased(ports: LookupPorts, spec: LookupSpec): Promise<void> {
  const { registry, store, engine, surroundings } = ports;
  const { dataset } = spec;
  const before = await registry.lookup(lookupDigest(spec));
  const version = before && (await registry.datasetVersion(dataset, before.datasetVersion));
  if (before === undefined || version === undefined) return;
  const own = version.manifest.files.map((file) => file.digest);
  const left = await Promise.all(own.map((digest) => leftOf(ports, dataset, digest)));
  if (left.every((digest, index) => digest === own[index])) return;
  const at = surroundings.now().toISOString();
  const made = await surroundings.scratch(async (folder) => {
    const output = join(folder, 'lookup.parquet');
    const files = await Promise.all(left.filter((digest) => digest !== null).map((digest) => store.pathOf(digest)));
    if (files.length === 0) return null;
    const { rows, maxTime } = await engine.buildLookup({ spec, files, output });
    return { rows, maxTime, digest: (await store.putFile(output)).digest };
  });
  if (made?.digest === before.digest) return;
  if (made === null) await registry.forgetLookup(before.spec, before.datasetVersion);
  else await registry.replaceLookup({ ...before, ...made, at });
  const body = { spec: before.spec, datasetVersion: before.datasetVersion, rows: made?.rows ?? null };
  await registry.recordAudit({ model: `dataset/${dataset}`, action: 'lookup.erased', actor: null, body, at });
  await store.remove(before.digest);
}

/**
 * Wants and builds the keyed stores of joins. The wish comes first: a version of the dataset that arrives meanwhile either finds it, or is the
 * one that is read here.
 * @throws DataProblem where the newest version of a dataset lacks what a join names, or has it as another type
 */
export async function ensureLookups(ports: LookupPorts, joins: readonly ResolvedJoin[]): Promise<void> {
  const newest = async ({ dataset }: LookupSpec): Promise<DatasetVersionRecord> =>
    required(await ports.registry.latestDatasetVersion(dataset), `a version of ${dataset}`);
  for (const spec of joins.map(lookupSpec)) {
    // What cannot be built is not wished for: each arrival of the dataset would try it again.
    requireColumns(spec, await newest(spec));
    await ports.registry.wantLookup(lookupDigest(spec), spec, ports.surroundings.now().toISOString());
    await build(ports, spec, await newest(spec));
  }
}

export function createLookupActivities(ports: LookupPorts) {
  return {
    /** Brings the keyed stores of a dataset to its newest version. Idempotent. A store that cannot be made leaves the one before in force, without what was erased. */
    async refreshLookups({ dataset }: { readonly dataset: string }): Promise<void> {
      const { registry, surroundings } = ports;
      const wanted = await registry.wantedLookups(dataset);
      const version = wanted.length === 0 ? undefined : await registry.latestDatasetVersion(dataset);
      if (version === undefined) return;
      await beating(async () => {
        for (const { spec, document } of wanted) {
          try {
            await build(ports, document, version);
          } catch (error) {
            // The data lacks what the join needs: an arrival must not stand still for that, and trying again cannot help.
            if (!(error instanceof DataProblem)) throw error;
            const body = { spec, datasetVersion: version.version, problem: error.message };
            await registry.recordAudit({
              ...{ model: `dataset/${dataset}`, action: 'lookup.failed', actor: null, body },
              at: surroundings.now().toISOString(),
            });
            await withoutErased(ports, document);
          }
        }
      });
    },
  };
}
