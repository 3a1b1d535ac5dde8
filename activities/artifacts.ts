/** Artifacts that were deleted on purpose: erasure and retention leave what took their place, or the reason why nothing did. */
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
