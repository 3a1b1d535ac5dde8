/** A model project as a content-addressed bundle: a manifest of paths and digests, and the files in the artifact store. */
import { type ArtifactStore, readJson } from './store.ts';

/** Relative paths with forward slashes, each with the sha256 of the file. Its canonical JSON's sha256 is the project digest. */
export interface ProjectManifest {
  readonly files: Readonly<Record<string, string>>;
}

export async function readProjectManifest(store: ArtifactStore, projectDigest: string): Promise<ProjectManifest> {
  return readJson<ProjectManifest>(store, projectDigest);
}

/** The text of one file of the project; undefined when the project has no such file. */
export async function readProjectFile(
  store: ArtifactStore,
  projectDigest: string,
  path: string,
): Promise<string | undefined> {
  const digest = (await readProjectManifest(store, projectDigest)).files[path];
  return digest === undefined ? undefined : Buffer.from(await store.getBytes(digest)).toString('utf8');
}
