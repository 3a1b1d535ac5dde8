/** The artifact store that the settings name: a folder, or a bucket of S3 with a cache in REFIT_HOME. */
import { join } from 'node:path';
import type { ArtifactStore } from '../../ports/store.ts';
import type { Settings } from '../../settings/types.ts';
import { createS3Client } from '../s3/client.ts';
import { openStore } from './directory.ts';
import { openS3Store } from './s3.ts';

export type StoreSettings = Pick<Settings, 'home' | 'artifactsUrl' | 'artifactsCacheBytes' | 's3'>;

export async function openArtifactStore(settings: StoreSettings): Promise<ArtifactStore> {
  const { home, artifactsUrl, artifactsCacheBytes, s3 } = settings;
  const [, bucket, prefix = ''] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(artifactsUrl) ?? [];
  if (bucket === undefined) return openStore(artifactsUrl);
  return openS3Store({
    ...{ bucket, prefix, client: createS3Client(s3) },
    ...{ cache: join(home, 'cache', 'artifacts'), cacheBytes: artifactsCacheBytes },
  });
}

/** For doctor: tries a write, and says where. */
export async function describeStore(settings: StoreSettings): Promise<string> {
  await (await openArtifactStore(settings)).probe();
  return `${settings.artifactsUrl.replace(/^file:/, '')} can be written`;
}
