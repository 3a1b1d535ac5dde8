/**
 * Deletes bytes that are past their retention: the log of predictions, what runs made whose version nobody can go back to, and files that
 * corrections took out of a dataset. What happened stays in the registry; a snapshot can be built again as long as its dataset version can.
 */
import type { DatasetManifest, SnapshotManifest } from '../contracts/data.ts';
import { partsOfSnapshot } from '../domain/snapshots.ts';
import type { AuditRegistry } from '../ports/registry/audit.ts';
import type { DatasetVersionRecord } from '../ports/registry/datasets.ts';
import type { ErasureRegistry } from '../ports/registry/erasures.ts';
import type { RetentionRegistry } from '../ports/registry/retention.ts';
import { ArtifactMissing, type ArtifactStore, readJson } from '../ports/store.ts';

/** Files of predictions, and runs, in one pass. */
const BATCH = 100;

export interface ArtifactRetentionOptions {
  readonly registry: RetentionRegistry &
    Pick<AuditRegistry, 'recordAudit'> &
    Pick<ErasureRegistry, 'deleteArtifact' | 'deletedArtifact' | 'allDatasetVersions' | 'heldElsewhere'>;
  readonly store: Pick<ArtifactStore, 'getBytes' | 'remove'>;
}

async function remove(
  { registry, store }: ArtifactRetentionOptions,
  digests: Iterable<string>,
  reason: string,
  at: string,
): Promise<void> {
  for (const digest of digests) {
    // First the reason, so that what is missing is never without one.
    await registry.deleteArtifact({ digest, replacement: null, reason, at });
    await store.remove(digest);
  }
}

/** Files of predictions that all are older than `before`; how many were deleted. */
export async function forgetPredictions(
  options: ArtifactRetentionOptions,
  before: string,
  at: string,
): Promise<number> {
  const files = await options.registry.oldSinkFiles(before, BATCH);
  for (const file of files) {
    await remove(options, [file.digest], `retention of predictions: older than ${before}`, at);
    await options.registry.dropSinkFile(file);
  }
  return files.length;
}

/**
 * What runs made that ended before `before` and whose version neither serves nor ever did: snapshot, ONNX file, predictions, log. Shared bytes
 * stay for as long as any other run has them. How many runs.
 */
export async function forgetRuns(options: ArtifactRetentionOptions, before: string, at: string): Promise<number> {
  const { registry, store } = options;
  const old = await registry.oldRuns(before, BATCH);
  if (old.length === 0) return 0;
  const madeBy = async ({ snapshot, artifacts }: (typeof old)[number]): Promise<readonly string[]> => {
    if (snapshot === null) return artifacts;
    try {
      return [...partsOfSnapshot(await readJson<SnapshotManifest>(store, snapshot)), ...artifacts];
    } catch (error) {
      if (error instanceof ArtifactMissing) return artifacts;
      throw error;
    }
  };
  const kept = new Set<string>();
  for (const run of await registry.runsKept(old.map(({ run: name }) => name)))
    for (const digest of await madeBy(run)) kept.add(digest);
  for (const run of old) {
    const gone = [...new Set(await madeBy(run))].filter((digest) => !kept.has(digest));
    await remove(options, gone, `retention of runs: ${run.run} ended before ${before}`, at);
    await registry.artifactsDeleted(run.run, gone.length, at);
  }
  return old.length;
}

const digestsOf = ({ files }: DatasetManifest): readonly string[] => files.map(({ digest }) => digest);

/** Files that no version has any more but those that were followed by another before `before`. How many files. */
async function forgetVersions(
  options: ArtifactRetentionOptions,
  dataset: string,
  versions: readonly DatasetVersionRecord[],
  before: string,
  at: string,
): Promise<number> {
  const { registry } = options;
  const isOld = (index: number): boolean => (versions[index + 1]?.createdAt ?? at) < before;
  const kept = new Set(versions.flatMap(({ manifest }, index) => (isOld(index) ? [] : digestsOf(manifest))));
  const old: string[] = [];
  for (const digest of new Set(versions.flatMap(({ manifest }, index) => (isOld(index) ? digestsOf(manifest) : [])))) {
    if (!kept.has(digest) && !(await registry.deletedArtifact(digest))) old.push(digest);
  }
  const held = await registry.heldElsewhere(dataset, old);
  const gone = old.filter((digest) => !held.has(digest));
  await remove(options, gone, `retention of data: replaced before ${before}`, at);
  if (gone.length > 0) {
    const body = { before, files: gone.length };
    await registry.recordAudit({ model: `dataset/${dataset}`, action: 'data.deleted', actor: null, body, at });
  }
  return gone.length;
}

export async function forgetData(options: ArtifactRetentionOptions, before: string, at: string): Promise<number> {
  let deleted = 0;
  // Only a correction or an erasure takes a file out of a dataset.
  for (const dataset of await options.registry.correctedDatasets(before))
    deleted += await forgetVersions(options, dataset, await options.registry.allDatasetVersions(dataset), before, at);
  return deleted;
}
