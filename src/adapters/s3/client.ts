/** The few calls of S3 that Refit needs, on any endpoint, streamed both ways. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { S3Settings } from '../../settings/types.ts';
import { encodePath, encodeQuery, signed } from './signature.ts';

/** What the server answered, with its code and message. Every other error is an outage. */
export class S3Error extends Error {
  override readonly name = 'S3Error';
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export type S3Body =
  | { readonly bytes: Uint8Array }
  | { readonly path: string; readonly start: number; readonly end: number };

export interface S3Client {
  get(bucket: string, key: string): Promise<{ readonly stream: Readable; readonly bytes: number }>;
  /** undefined where there is no such object. */
  head(bucket: string, key: string): Promise<{ readonly bytes: number } | undefined>;
  /** `create`: only where there is none yet. */
  putBytes(bucket: string, key: string, bytes: Uint8Array, create: boolean): Promise<'stored' | 'exists'>;
  /** @throws S3Error where the file has other bytes than `digest` says */
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

const ATTEMPTS = 3;
const RETRY_MS = 200;
/** Without a byte in either direction. */
const SILENCE_MS = 30_000;
const ERROR_BYTES = 65_536;
/** One request up to here; what is larger goes in parts, of which each can be sent again. */
const SINGLE_BYTES = 512 * 2 ** 20;
const PART_BYTES = 64 * 2 ** 20;
const MAX_PARTS = 10_000;
const EMPTY = createHash('sha256').digest('hex');
/** Answers that may pass. */
const PASSING = new Set([408, 409, 425, 429, 500, 502, 503, 504]);

interface Call {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  readonly bucket: string;
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: S3Body;
  /** sha256 of the body. */
  readonly payload?: string;
}

const unescapeXml = (text: string): string =>
  text.replace(/&(?:lt|gt|amp|quot|apos|#(\d+)|#x([0-9a-f]+));/gi, (entity, decimal?: string, hex?: string) => {
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    return { '&lt;': '<', '&gt;': '>', '&amp;': '&', '&quot;': '"', '&apos;': "'" }[entity.toLowerCase()] ?? entity;
  });
const textsOf = (xml: string, tag: string): readonly string[] =>
  [...xml.matchAll(new RegExp(`<${tag}>([^<]*)</${tag}>`, 'g'))].map(([, text = '']) => unescapeXml(text));

async function textOf(response: IncomingMessage, most: number): Promise<string> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>)
    if (text.length < most) text += chunk;
  return text;
}

async function problemOf(response: IncomingMessage, { method, bucket, key }: Call): Promise<S3Error> {
  const xml = await textOf(response, ERROR_BYTES);
  const status = response.statusCode ?? 0;
  const code = textsOf(xml, 'Code')[0] ?? (status === 404 ? 'NotFound' : status === 403 ? 'Forbidden' : '');
  const said = [code, textsOf(xml, 'Message')[0]].filter((one) => one !== undefined && one !== '').join(': ');
  const what = `${method} s3://${bucket}${key === '' ? '' : `/${key}`}`;
  return new S3Error(status, code, `${what} was answered ${status}${said === '' ? '' : ` (${said})`}`);
}

const bodyBytes = (body: S3Body): number => ('bytes' in body ? body.bytes.length : body.end - body.start);

async function send(outgoing: ClientRequest, body: S3Body | undefined): Promise<void> {
  if (body === undefined) outgoing.end();
  else if ('bytes' in body) outgoing.end(body.bytes);
  else if (body.end === body.start) outgoing.end();
  else await pipeline(createReadStream(body.path, { start: body.start, end: body.end - 1 }), outgoing);
}

/** @param sizes from when on a file goes in parts, and how large these are (at least 5 MiB), in bytes */
export function createS3Client(
  settings: S3Settings,
  sizes = { singleBytes: SINGLE_BYTES, partBytes: PART_BYTES },
): S3Client {
  const { region, endpoint } = settings;

  /** Bucket in the path at an endpoint of one's own, in the host at AWS, as each wants it. */
  function addressOf(
    bucket: string,
    key: string,
  ): { readonly base: URL; readonly host: string; readonly path: string } {
    const own = endpoint ?? `https://${bucket.includes('.') ? '' : `${bucket}.`}s3.${region}.amazonaws.com`;
    const base = new URL(own);
    const inPath = endpoint !== undefined || bucket.includes('.');
    const path = encodePath(`${base.pathname.replace(/\/$/, '')}${inPath ? `/${bucket}` : ''}/${key}`);
    return { base, host: base.host, path };
  }

  function once(call: Call): Promise<IncomingMessage> {
    const { method, bucket, key, query = {}, body } = call;
    const { base, host, path } = addressOf(bucket, key);
    const given = { ...call.headers, ...(body === undefined ? {} : { 'content-length': String(bodyBytes(body)) }) };
    const keys = settings.credentials;
    const payload = call.payload ?? EMPTY;
    const headers =
      keys === undefined
        ? { ...given, host }
        : signed(
            { method, host, path, query, headers: given, payload },
            {
              accessKeyId: keys.accessKeyId,
              secretAccessKey: keys.secretAccessKey.reveal(),
              ...(keys.sessionToken === undefined ? {} : { sessionToken: keys.sessionToken.reveal() }),
            },
            region,
            new Date(),
          );
    const search = encodeQuery(query);
    return new Promise((resolve, reject) => {
      const outgoing = (base.protocol === 'http:' ? httpRequest : httpsRequest)(
        {
          ...{ method, headers, timeout: SILENCE_MS, host: base.hostname.replace(/^\[|\]$/g, ''), port: base.port },
          path: search === '' ? path : `${path}?${search}`,
        },
        resolve,
      );
      outgoing.on('error', reject);
      outgoing.on('timeout', () =>
        outgoing.destroy(new Error(`S3 at ${base.host} has been silent for ${SILENCE_MS / 1000} s`)),
      );
      send(outgoing, body).catch(reject);
    });
  }

  /** @throws S3Error for an answer that is none of 2xx and that does not pass */
  async function call(asked: Call, wanted: readonly number[] = []): Promise<IncomingMessage> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const response = await once(asked);
        const status = response.statusCode ?? 0;
        if ((status >= 200 && status < 300) || wanted.includes(status)) return response;
        const problem = await problemOf(response, asked);
        if (!PASSING.has(status) || attempt === ATTEMPTS) throw problem;
      } catch (error) {
        if (error instanceof S3Error || attempt === ATTEMPTS) throw error;
      }
      await delay(RETRY_MS * 4 ** (attempt - 1));
    }
  }

  async function done(asked: Call, wanted: readonly number[] = []): Promise<IncomingMessage> {
    const response = await call(asked, wanted);
    response.resume();
    return response;
  }

  const condition = (create: boolean): Readonly<Record<string, string>> => (create ? { 'if-none-match': '*' } : {});
  const EXISTS = 412;
  const outcome = ({ statusCode }: IncomingMessage): 'stored' | 'exists' =>
    statusCode === EXISTS ? 'exists' : 'stored';

  /** For files beyond one request: nothing is visible before its end, and memory stays at one read buffer. */
  async function putParts(
    bucket: string,
    key: string,
    file: { readonly path: string; readonly bytes: number; readonly digest: string },
    create: boolean,
  ): Promise<'stored' | 'exists'> {
    const started = await call({ method: 'POST', bucket, key, query: { uploads: '' } });
    const [uploadId = ''] = textsOf(await textOf(started, ERROR_BYTES), 'UploadId');
    try {
      const size = Math.max(sizes.partBytes, Math.ceil(file.bytes / MAX_PARTS));
      const whole = createHash('sha256');
      const tags: string[] = [];
      for (let start = 0; start < file.bytes; start += size) {
        const end = Math.min(file.bytes, start + size);
        const part = createHash('sha256');
        for await (const chunk of createReadStream(file.path, { start, end: end - 1 }) as AsyncIterable<Buffer>) {
          part.update(chunk);
          whole.update(chunk);
        }
        const query = { partNumber: String(tags.length + 1), uploadId };
        const body = { path: file.path, start, end };
        const { headers } = await done({ method: 'PUT', bucket, key, query, body, payload: part.digest('hex') });
        tags.push(headers.etag ?? '');
      }
      if (whole.digest('hex') !== file.digest)
        throw new S3Error(400, 'BadDigest', `${file.path} changed while it was stored`);
      const parts = tags.map((tag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${tag}</ETag></Part>`);
      const bytes = Buffer.from(`<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`);
      const payload = createHash('sha256').update(bytes).digest('hex');
      const end = await call(
        { method: 'POST', bucket, key, query: { uploadId }, body: { bytes }, payload, headers: condition(create) },
        [EXISTS],
      );
      const xml = await textOf(end, ERROR_BYTES);
      // It may fail after it has answered 200.
      const [code] = xml.includes('<Error>') ? textsOf(xml, 'Code') : [];
      if (end.statusCode === EXISTS || code === 'PreconditionFailed') {
        await done({ method: 'DELETE', bucket, key, query: { uploadId } }, [404]);
        return 'exists';
      }
      if (code !== undefined) throw new Error(`storing s3://${bucket}/${key} failed at its end (${code})`);
      return 'stored';
    } catch (error) {
      // Parts that nobody completes would be paid for; where this fails as well, the first error says more.
      await done({ method: 'DELETE', bucket, key, query: { uploadId } }, [404]).catch(() => undefined);
      throw error;
    }
  }

  return {
    async get(bucket, key) {
      const stream = await call({ method: 'GET', bucket, key });
      return { stream, bytes: Number(stream.headers['content-length'] ?? Number.NaN) };
    },
    async head(bucket, key) {
      const { statusCode, headers } = await done({ method: 'HEAD', bucket, key }, [404]);
      return statusCode === 404 ? undefined : { bytes: Number(headers['content-length']) };
    },
    async putBytes(bucket, key, bytes, create) {
      const payload = createHash('sha256').update(bytes).digest('hex');
      return outcome(
        await done({ method: 'PUT', bucket, key, body: { bytes }, payload, headers: condition(create) }, [EXISTS]),
      );
    },
    async putFile(bucket, key, file, create) {
      if (file.bytes > sizes.singleBytes) return putParts(bucket, key, file, create);
      const body = { path: file.path, start: 0, end: file.bytes };
      return outcome(
        await done({ method: 'PUT', bucket, key, body, payload: file.digest, headers: condition(create) }, [EXISTS]),
      );
    },
    async list(bucket, prefix, limit) {
      const keys: string[] = [];
      for (let token: string | undefined; ; ) {
        const query = {
          ...{ 'list-type': '2', prefix, 'max-keys': String(Math.min(1_000, limit - keys.length)) },
          ...(token === undefined ? {} : { 'continuation-token': token }),
        };
        const xml = await textOf(await call({ method: 'GET', bucket, key: '', query }), 16 * 2 ** 20);
        keys.push(...textsOf(xml, 'Key'));
        [token] = textsOf(xml, 'NextContinuationToken');
        if (token === undefined || keys.length >= limit) return keys.slice(0, limit);
      }
    },
    async remove(bucket, key) {
      await done({ method: 'DELETE', bucket, key }, [404]);
    },
  };
}
