/** The few calls of S3 that Refit needs, on any endpoint, streamed both ways, by AWS's own client. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type * as Aws from '@aws-sdk/client-s3';
import type { S3Settings } from '../../settings/types.ts';

/** What the server answered, with its code and message. Every other error is an outage. */
export class S3Error extends Error {
  override readonly name = 'S3Error';
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface S3Client {
  get(bucket: string, key: string): Promise<Readable>;
  /** undefined where there is no such object. */
  head(bucket: string, key: string): Promise<{ readonly bytes: number } | undefined>;
  /** `create`: only where there is none yet. */
  putBytes(bucket: string, key: string, bytes: Uint8Array, create: boolean): Promise<'stored' | 'exists'>;
  /** @throws S3Error where the file has other bytes than `digest` says; nothing is stored then */
  putFile(
    bucket: string,
    key: string,
    file: { readonly path: string; readonly bytes: number; readonly digest: string },
    create: boolean,
  ): Promise<'stored' | 'exists'>;
  /** Keys with a prefix, in order; at most `limit`. */
  list(bucket: string, prefix: string, limit: number): Promise<readonly string[]>;
  remove(bucket: string, key: string): Promise<void>;
}

const CONNECT_MS = 10_000;
/** Without a byte in either direction. */
const SILENCE_MS = 30_000;
/** In memory, four at a time; what is smaller goes in one request. */
const PART_BYTES = 16 * 2 ** 20;
const MAX_PARTS = 10_000;
const EXISTS = 412;
/** Two conditional writes of one key at the same moment: whoever gets this is told to ask again. */
const CONFLICT = 409;
const CONFLICT_ATTEMPTS = 5;
const CONFLICT_MS = 200;

interface Opened {
  readonly aws: typeof Aws;
  readonly client: Aws.S3Client;
  /** Why requests go without a signature, if they do. */
  readonly unsigned?: string;
}

/** @param partBytes at least 5 MiB. @default 16 MiB */
export function createS3Client(settings: S3Settings, partBytes = PART_BYTES): S3Client {
  let opening: Promise<Opened> | undefined;
  const opened = (): Promise<Opened> => {
    opening ??= open(settings).catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return opening;
  };

  async function call<T>(what: string, work: (opened: Opened) => Promise<T>): Promise<T> {
    const s3 = await opened();
    try {
      return await work(s3);
    } catch (error) {
      if (!(error instanceof s3.aws.S3ServiceException)) throw error;
      const status = error.$metadata.httpStatusCode ?? 0;
      const said = [error.name, error.message].filter((one, index, all) => one !== '' && all.indexOf(one) === index);
      const why = s3.unsigned === undefined ? '' : `; it went without a signature, for ${s3.unsigned}`;
      throw new S3Error(status, error.name, `${what} was answered ${status} (${said.join(': ')})${why}`, {
        cause: error,
      });
    }
  }

  async function put(create: boolean, once: () => Promise<void>): Promise<'stored' | 'exists'> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await once();
        return 'stored';
      } catch (error) {
        const status = error instanceof S3Error ? error.status : 0;
        if (create && status === EXISTS) return 'exists';
        if (status !== CONFLICT || attempt === CONFLICT_ATTEMPTS) throw error;
      }
      await delay(CONFLICT_MS * attempt);
    }
  }
  const condition = (create: boolean): { IfNoneMatch?: string } => (create ? { IfNoneMatch: '*' } : {});
  const named = (method: string, bucket: string, key: string): string => `${method} s3://${bucket}/${key}`;

  return {
    get: (bucket, key) =>
      call(named('GET', bucket, key), async ({ aws, client }) => {
        const { Body } = await client.send(new aws.GetObjectCommand({ Bucket: bucket, Key: key }));
        if (!(Body instanceof Readable)) throw new Error(`GET s3://${bucket}/${key} was answered without a body`);
        return Body;
      }),

    async head(bucket, key) {
      try {
        const { ContentLength } = await call(named('HEAD', bucket, key), ({ aws, client }) =>
          client.send(new aws.HeadObjectCommand({ Bucket: bucket, Key: key })),
        );
        return { bytes: ContentLength ?? 0 };
      } catch (error) {
        if (error instanceof S3Error && error.status === 404) return undefined;
        throw error;
      }
    },

    putBytes: (bucket, key, bytes, create) =>
      put(create, () =>
        call(named('PUT', bucket, key), async ({ aws, client }) => {
          const input = { Bucket: bucket, Key: key, Body: bytes, ...condition(create) };
          await client.send(new aws.PutObjectCommand(input));
        }),
      ),

    async putFile(bucket, key, file, create) {
      const { Upload } = await import('@aws-sdk/lib-storage');
      return put(create, () =>
        call(named('PUT', bucket, key), async ({ client }) => {
          const Body = Readable.from(verified(file), { objectMode: false });
          const partSize = Math.max(partBytes, Math.ceil(file.bytes / MAX_PARTS));
          await new Upload({
            client,
            partSize,
            params: { Bucket: bucket, Key: key, Body, ...condition(create) },
          }).done();
        }),
      );
    },

    list: (bucket, prefix, limit) =>
      call(named('LIST', bucket, prefix), async ({ aws, client }) => {
        const keys: string[] = [];
        const pages = aws.paginateListObjectsV2(
          { client, pageSize: Math.min(1_000, limit) },
          { Bucket: bucket, Prefix: prefix },
        );
        for await (const { Contents = [] } of pages) {
          keys.push(...Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key])));
          if (keys.length >= limit) break;
        }
        return keys.slice(0, limit);
      }),

    async remove(bucket, key) {
      await call(named('DELETE', bucket, key), ({ aws, client }) =>
        client.send(new aws.DeleteObjectCommand({ Bucket: bucket, Key: key })),
      );
    },
  };
}

/** Fails at its end, before the last part is sent, where the bytes are not those that were promised. */
async function* verified({ path, digest }: { readonly path: string; readonly digest: string }): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    yield chunk;
  }
  if (hash.digest('hex') !== digest) throw new S3Error(400, 'BadDigest', `${path} changed while it was stored`);
}

/** Loaded when it is first needed: most installations, and every start of the CLI, do without. */
async function open({ region, endpoint, credentials }: S3Settings): Promise<Opened> {
  // It would tell everybody on Node 20, at each start, what concerns only whoever raises the version that is pinned here.
  // eslint-disable-next-line no-restricted-syntax -- set, not read
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  const aws = await import('@aws-sdk/client-s3');
  const config: Aws.S3ClientConfig = {
    region,
    followRegionRedirects: true,
    // Other servers than AWS's know neither buckets as host names nor the checksums that AWS adds by default.
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    ...{ requestChecksumCalculation: 'WHEN_REQUIRED', responseChecksumValidation: 'WHEN_REQUIRED' },
    requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: SILENCE_MS },
  };
  if (credentials) {
    const { accessKeyId, secretAccessKey, sessionToken } = credentials;
    const keys = {
      ...{ accessKeyId, secretAccessKey: secretAccessKey.reveal() },
      ...(sessionToken === undefined ? {} : { sessionToken: sessionToken.reveal() }),
    };
    return { aws, client: new aws.S3Client({ ...config, credentials: keys }) };
  }
  // A profile, a role of the pod, the container or the instance: whatever AWS's own tools find.
  const client = new aws.S3Client(config);
  try {
    await client.config.credentials();
    return { aws, client };
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'CredentialsProviderError') throw error;
    client.destroy();
    const signer = { sign: async <T>(request: T): Promise<T> => request };
    const credentials = { accessKeyId: '', secretAccessKey: '' };
    const plain = new aws.S3Client({ ...config, credentials, signer });
    return { aws, client: plain, unsigned: 'no credentials were found' };
  }
}
