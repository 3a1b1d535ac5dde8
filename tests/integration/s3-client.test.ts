/** What a real server seldom does: conflicts, outages, redirects of credentials. The rest of S3 is tested in store.test.ts and sources.test.ts. */
import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { createS3Client } from '../../src/adapters/s3/client.ts';
import { newBucket, s3Settings } from '../support/s3.ts';

let folder: string;
let server: Server;
let endpoint: string;
let seen: IncomingMessage[];
let answers: ((response: ServerResponse) => void)[];

const uploadsOf = async (bucket: string): Promise<string> =>
  (await fetch(`${inject('s3Url')}/${bucket}?uploads`)).text();

const answer =
  (status: number, code = '') =>
  (response: ServerResponse): void => {
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(code === '' ? '' : `<Error><Code>${code}</Code><Message>as the test wants it</Message></Error>`);
  };

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'refit-s3-'));
  seen = [];
  answers = [];
  server = createServer((request, response) => {
    seen.push(request);
    request.resume().on('end', () => (answers.shift() ?? answer(200))(response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  vi.unstubAllEnvs();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

describe('a write', () => {
  const write = (create = true): Promise<'stored' | 'exists'> =>
    createS3Client(s3Settings(endpoint)).putBytes('lake', 'key', Buffer.from('bytes'), create);

  it('that meets another of the same key is asked for again', async () => {
    answers = [answer(409, 'ConditionalRequestConflict'), answer(412, 'PreconditionFailed')];
    expect(await write()).toBe('exists');
    expect(seen).toHaveLength(2);
    expect(seen[0]?.headers).toMatchObject({
      'if-none-match': '*',
      'x-amz-content-sha256': createHash('sha256').update('bytes').digest('hex'),
    });
  });

  it('passes over an outage, and names one that stays', async () => {
    answers = [answer(503, 'SlowDown'), answer(500, 'InternalError')];
    expect(await write()).toBe('stored');
    answers = [503, 503, 503].map((status) => answer(status, 'SlowDown'));
    await expect(write()).rejects.toMatchObject({
      status: 503,
      code: 'SlowDown',
      message: /PUT s3:\/\/lake\/key .*503/,
    });
  });

  it.each([0, 11 * 2 ** 20])('of a file of %i bytes that is not what was promised leaves nothing', async (bytes) => {
    const { bucket, settings } = await newBucket(inject('s3Url'));
    const client = createS3Client(settings, 5 * 2 ** 20);
    const path = join(folder, 'file');
    writeFileSync(path, Buffer.alloc(bytes, 'refit'));
    const digest = createHash('sha256').update('something else').digest('hex');
    await expect(client.putFile(bucket, 'key', { path, bytes, digest }, true)).rejects.toThrow(
      `${path} changed while it was stored`,
    );
    expect(await client.list(bucket, '', 10)).toEqual([]);
    expect(await uploadsOf(bucket)).not.toContain('<Upload>');
  });
});

it('a large file that is there already is not replaced unless that is wanted, and leaves no parts', async () => {
  const { bucket, settings } = await newBucket(inject('s3Url'));
  const client = createS3Client(settings, 5 * 2 ** 20);
  const path = join(folder, 'file');
  const content = Buffer.alloc(11 * 2 ** 20, 'refit');
  writeFileSync(path, content);
  const file = { path, bytes: content.length, digest: createHash('sha256').update(content).digest('hex') };
  await client.putBytes(bucket, 'key', Buffer.from('damaged'), true);
  expect(await client.putFile(bucket, 'key', file, true)).toBe('exists');
  expect(await uploadsOf(bucket)).not.toContain('<Upload>');
  expect(await client.head(bucket, 'key')).toEqual({ bytes: 'damaged'.length });
  expect(await client.putFile(bucket, 'key', file, false)).toBe('stored');
  expect((await buffer(await client.get(bucket, 'key'))).equals(content)).toBe(true);
});

describe('credentials', () => {
  const plain = (): ReturnType<typeof createS3Client> => createS3Client({ region: 'us-east-1', endpoint });
  const nowhere = (): void => {
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE']) vi.stubEnv(name, undefined);
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', join(folder, 'credentials'));
    vi.stubEnv('AWS_CONFIG_FILE', join(folder, 'config'));
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  };

  it('come from a profile, as AWS’s own tools have them, where the settings name none', async () => {
    nowhere();
    const key = `KEY${randomUUID().slice(0, 8)}`;
    vi.stubEnv('AWS_PROFILE', 'lake');
    writeFileSync(join(folder, 'credentials'), `[lake]\naws_access_key_id = ${key}\naws_secret_access_key = s\n`);
    await plain().remove('lake', 'key');
    expect(seen[0]?.headers.authorization).toContain(`Credential=${key}/`);
  });

  it('that are nowhere leave a request without a signature, and a refusal says so', async () => {
    nowhere();
    answers = [answer(204), answer(403, 'AccessDenied')];
    await plain().remove('lake', 'key');
    expect(seen[0]?.headers.authorization).toBeUndefined();
    await expect(plain().remove('lake', 'key')).rejects.toThrow(
      /DELETE s3:\/\/lake\/key was answered 403 \(AccessDenied.*no credentials were found/,
    );
  });
});
