/** Objects of S3 as files of data. */
import { type S3Client, S3Error } from '../s3/client.ts';
import { MAX_MATCHES, patternOf, problem, requireMatches, requireWithin, s3Place } from './address.ts';

/** Keys that a pattern may look at. */
const MAX_KEYS = 20_000;

/** What S3 refuses is a matter of the address or the keys: asking again does not help. Outages are thrown on. */
function told(error: unknown): never {
  if (error instanceof S3Error && error.status >= 300 && error.status < 500 && ![408, 425, 429].includes(error.status))
    throw problem(`${error.message}; check the address, the endpoint and what the access key may read`);
  throw error;
}

export async function openS3(client: S3Client, uri: string, roots: readonly string[]): Promise<NodeJS.ReadableStream> {
  requireWithin(uri, roots);
  const { bucket, key } = s3Place(uri);
  if (key === '' || key.endsWith('/')) throw problem(`${uri} names no object`);
  return client.get(bucket, key).catch(told);
}

export async function expandS3(client: S3Client, uri: string, roots: readonly string[]): Promise<readonly string[]> {
  const { bucket, key } = s3Place(uri);
  const pattern = patternOf(key);
  if (!pattern) return [uri];
  const prefix = key.slice(0, key.indexOf('*'));
  // The folder of the pattern, so that a root below it does not let its neighbours be listed.
  requireWithin(`s3://${bucket}/${prefix.slice(0, prefix.lastIndexOf('/') + 1)}`.replace(/\/$/, ''), roots);
  const keys = await client.list(bucket, prefix, MAX_KEYS + 1).catch(told);
  const matches = keys.filter((one) => pattern.test(one) && !one.endsWith('/')).slice(0, MAX_MATCHES + 1);
  if (keys.length > MAX_KEYS) throw problem(`${uri} looks through more than ${MAX_KEYS} objects; name a narrower one`);
  return requireMatches(
    uri,
    matches.map((one) => `s3://${bucket}/${one}`),
  );
}
