/** S3 under the names that AWS's own tools use. */
import { SettingsError } from './errors.ts';
import { readText } from './read.ts';
import { Secret } from './secret.ts';
import type { S3Settings } from './types.ts';

export function readS3(env: NodeJS.ProcessEnv): S3Settings {
  const endpoint = readText(env, 'AWS_ENDPOINT_URL_S3') ?? readText(env, 'AWS_ENDPOINT_URL');
  if (endpoint !== undefined) {
    const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '')
      throw new SettingsError('AWS_ENDPOINT_URL_S3 must be like https://s3.example.com, without a user or a query');
  }
  const accessKeyId = readText(env, 'AWS_ACCESS_KEY_ID');
  const secret = readText(env, 'AWS_SECRET_ACCESS_KEY');
  if ((accessKeyId === undefined) !== (secret === undefined))
    throw new SettingsError('AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together; set both or neither');
  const token = readText(env, 'AWS_SESSION_TOKEN');
  return {
    region: readText(env, 'AWS_REGION') ?? readText(env, 'AWS_DEFAULT_REGION') ?? 'us-east-1',
    ...(endpoint === undefined ? {} : { endpoint: endpoint.replace(/\/+$/, '') }),
    ...(accessKeyId === undefined || secret === undefined
      ? {}
      : {
          credentials: {
            accessKeyId,
            secretAccessKey: new Secret(secret),
            ...(token === undefined ? {} : { sessionToken: new Secret(token) }),
          },
        }),
  };
}
