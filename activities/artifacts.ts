/** Artifacts that were deleted on purpose: erasure and retention leave what took their place, or the reason why nothing did. */
import { DataProblem } from '../src/ports/data.ts';
import type { DatasetVersionRecord } from '../src/ports/registry/datasets.ts';
import { ArtifactMissing } from '../src/ports/store.ts';
import { FAILURES, fail } from './failures.ts';
import type { Ports } from './ports.ts';

/** A local path of the bytes, or of those that took their place. @throws a failure that says why they are gone */
export async function presentPath(
  { store, registry }: Pick<Ports, 'store' | 'registry'>,
  digest: string,
): Promise<string> {
  for (let wanted = digest; ; ) {
    try {
      return await store.pathOf(wanted);
    } catch (error) {
      if (!(error instanceof ArtifactMissing)) throw error;
      const gone = await registry.deletedArtifact(wanted);
      if (!gone) throw error;
      if (gone.replacement === null)
        throw fail(FAILURES.notFound, `artifact ${digest} was deleted at ${gone.at}: ${gone.reason}`);
      wanted = gone.replacement;
    }
  }
}

/**
 * The very bytes of a dataset version: of what was erased nothing else may take the place, or the run would be another one.
 * @throws DataProblem that says why they are gone
 */
export async function originalPath(
  { store, registry }: Pick<Ports, 'store' | 'registry'>,
  digest: string,
  { dataset, version }: DatasetVersionRecord,
): Promise<string> {
  try {
    return await store.pathOf(digest);
  } catch (error) {
    const gone = error instanceof ArtifactMissing ? await registry.deletedArtifact(digest) : undefined;
    if (!gone) throw error;
    throw new DataProblem(
      'deleted',
      `version ${version} of dataset ${dataset} can no longer be rebuilt: ${gone.reason} deleted some of its bytes at ${gone.at}`,
    );
  }
}
