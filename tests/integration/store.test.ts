/** The artifact store: bytes are visible when complete, and are never used unless they are those that were asked for. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { createS3Client } from '../../src/adapters/s3/client.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import { openS3Store } from '../../src/adapters/store/s3.ts';
import { ArtifactCorrupt, ArtifactMissing, type ArtifactStore } from '../../src/ports/store.ts';
import { newBucket, type TestBucket } from '../support/s3.ts';

const BYTES = Buffer.from('the bytes of a model');
const DIGEST = createHash('sha256').update(BYTES).digest('hex');

let folder: string;
let artifacts: string;
let store: ArtifactStore;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'refit-store-'));
  artifacts = join(folder, 'artifacts');
  store = await openStore(`file:${artifacts}`);
});
afterEach(() => rmSync(folder, { recursive: true }));

const place = (digest: string): string => join(artifacts, 'sha256', digest.slice(0, 2), digest.slice(2));
const everything = (): string[] =>
  readdirSync(artifacts, { recursive: true, withFileTypes: true }).flatMap((one) => (one.isFile() ? one.name : []));

/** The same guarantees, whatever the bytes lie on. */
interface Backend {
  readonly name: string;
  readonly open: () => Promise<ArtifactStore>;
  /** Behind the store's back. */
  readonly overwrite: (digest: string, bytes: Uint8Array) => Promise<void>;
  readonly names: () => Promise<readonly string[]>;
}

let lake: TestBucket;
let prefix: string;
beforeAll(async () => {
  lake = await newBucket(inject('s3Url'));
});

const keyOf = (digest: string): string => `${prefix}/sha256/${digest.slice(0, 2)}/${digest.slice(2)}`;
const onS3 = (cacheBytes: number, now?: () => number): ReturnType<typeof openS3Store> =>
  openS3Store({
    ...{ bucket: lake.bucket, prefix, client: lake.client, cacheBytes },
    ...{ cache: join(folder, 'cache'), ...(now === undefined ? {} : { now }) },
  });

const BACKENDS: readonly Backend[] = [
  {
    name: 'a directory',
    open: () => openStore(`file:${artifacts}`),
    overwrite: async (digest, bytes) => {
      chmodSync(place(digest), 0o644);
      writeFileSync(place(digest), bytes);
    },
    names: async () => everything(),
  },
  {
    name: 'S3',
    open: () => {
      prefix = `p-${randomUUID()}`;
      return onS3(2 ** 30);
    },
    overwrite: async (digest, bytes) => {
      await lake.client.putBytes(lake.bucket, keyOf(digest), bytes, false);
    },
    names: async () =>
      (await lake.client.list(lake.bucket, `${prefix}/`, 1_000)).map((key) => key.slice(key.lastIndexOf('/') + 1)),
  },
];

describe.each(BACKENDS)('on $name', ({ open: openIt, overwrite, names }) => {
  beforeEach(async () => {
    store = await openIt();
  });

  it('storing is idempotent and content-addressed', async () => {
    expect(await store.putBytes(BYTES)).toBe(DIGEST);
    expect(await store.putBytes(BYTES)).toBe(DIGEST);
    const source = join(folder, 'source');
    writeFileSync(source, BYTES);
    expect(await store.putFile(source)).toEqual({ digest: DIGEST, bytes: BYTES.length });
    expect(await names()).toEqual([DIGEST.slice(2)]);
    expect(statSync(await store.pathOf(DIGEST)).mode & 0o777).toBe(0o444);
  });

  it('takes the same bytes from many writers at once', async () => {
    const digests = await Promise.all(Array.from({ length: 20 }, () => store.putBytes(BYTES)));
    expect(new Set(digests)).toEqual(new Set([DIGEST]));
    expect(await names()).toEqual([DIGEST.slice(2)]);
  });

  it('gives back what was stored, also no bytes at all', async () => {
    await store.putBytes(BYTES);
    expect(Buffer.from(await store.getBytes(DIGEST))).toEqual(BYTES);
    expect(readFileSync(await store.pathOf(DIGEST))).toEqual(BYTES);
    expect(await store.has(DIGEST)).toBe(true);
    expect(await store.has('0'.repeat(64))).toBe(false);
    const none = await store.putBytes(Buffer.alloc(0));
    writeFileSync(join(folder, 'none'), '');
    expect(await store.putFile(join(folder, 'none'))).toEqual({ digest: none, bytes: 0 });
    expect(readFileSync(await store.pathOf(none))).toHaveLength(0);
  });

  it('names the source that is missing, and leaves nothing', async () => {
    await expect(store.putFile(join(folder, 'nothing'))).rejects.toThrow(/ENOENT.*nothing/);
    expect(await names()).toEqual([]);
  });

  it('replaces what was cut off', async () => {
    await store.putBytes(BYTES);
    await overwrite(DIGEST, BYTES.subarray(0, 5));
    await store.putBytes(BYTES);
    expect(Buffer.from(await store.getBytes(DIGEST))).toEqual(BYTES);
  });

  it('says that an artifact is missing, also after it was removed', async () => {
    await expect(store.pathOf(DIGEST)).rejects.toBeInstanceOf(ArtifactMissing);
    await expect(store.getBytes(DIGEST)).rejects.toBeInstanceOf(ArtifactMissing);
    await store.putBytes(BYTES);
    await store.pathOf(DIGEST);
    await store.remove(DIGEST);
    await store.remove(DIGEST);
    await expect(store.pathOf(DIGEST)).rejects.toBeInstanceOf(ArtifactMissing);
    expect(await names()).toEqual([]);
  });

  const flipped = Buffer.from(BYTES);
  flipped[3] = (flipped[3] ?? 0) ^ 1;
  it.each([
    ['truncated', BYTES.subarray(0, 7)],
    ['empty', Buffer.alloc(0)],
    ['flipped', flipped],
  ])('detects %s bytes', async (_name, bytes) => {
    await store.putBytes(BYTES);
    await overwrite(DIGEST, bytes);
    await expect(store.pathOf(DIGEST)).rejects.toBeInstanceOf(ArtifactCorrupt);
    await expect(store.getBytes(DIGEST)).rejects.toBeInstanceOf(ArtifactCorrupt);
  });

  it.each(['../../etc/passwd', '', `${'a'.repeat(63)}/`, 'A'.repeat(64)])(
    'takes no path for a digest: %s',
    async (digest) => {
      await expect(store.pathOf(digest)).rejects.toThrow(/no sha256 digest/);
      await expect(store.has(digest)).rejects.toThrow(/no sha256 digest/);
    },
  );

  it('can be probed, which leaves nothing', async () => {
    await store.probe();
    expect(await names()).toEqual([]);
  });
});

describe('in a directory', () => {
  it('what is there is not written again', async () => {
    await store.putBytes(BYTES);
    const { ino } = statSync(place(DIGEST));
    await store.putBytes(BYTES);
    expect(statSync(place(DIGEST)).ino).toBe(ino);
  });

  it('detects a file that was swapped after it had been verified, with its times set back', async () => {
    await store.putBytes(BYTES);
    await store.pathOf(DIGEST);
    const { atime, mtime } = statSync(place(DIGEST));
    chmodSync(place(DIGEST), 0o644);
    writeFileSync(place(DIGEST), BYTES.toString().replace('the', 'THE'));
    utimesSync(place(DIGEST), atime, mtime);
    await expect(store.pathOf(DIGEST)).rejects.toBeInstanceOf(ArtifactCorrupt);
  });
});

describe('on S3', () => {
  const filled = (byte: number): Buffer => Buffer.alloc(1_000, byte);
  beforeEach(() => {
    prefix = `p-${randomUUID()}`;
  });

  it('a path is served from this disk when the server is away, and mended when the disk is wrong', async () => {
    const one = await onS3(2 ** 30);
    await one.putBytes(BYTES);
    const path = await one.pathOf(DIGEST);
    const s3 = { region: 'us-east-1', endpoint: 'http://127.0.0.1:9' };
    const away = await openS3Store({
      ...{ bucket: lake.bucket, prefix, client: createS3Client(s3), cache: join(folder, 'cache'), cacheBytes: 2 ** 30 },
    });
    expect(readFileSync(await away.pathOf(DIGEST))).toEqual(BYTES);
    await expect(away.has(DIGEST)).rejects.toThrow(/artifact store s3:.*ECONNREFUSED/);
    chmodSync(path, 0o644);
    writeFileSync(path, 'other bytes');
    expect(readFileSync(await one.pathOf(DIGEST))).toEqual(BYTES);
  });

  it('the disk keeps what was used last, within its bound, and nothing that was just given out goes', async () => {
    let now = Date.now();
    const one = await onS3(2_500, () => now);
    const digests = await Promise.all([1, 2, 3, 4].map((byte) => one.putBytes(filled(byte))));
    const [first = '', second = '', third = '', fourth = ''] = digests;
    const kept = (digest: string): boolean =>
      existsSync(join(folder, 'cache', 'sha256', digest.slice(0, 2), digest.slice(2)));
    await one.pathOf(first);
    now += 1_000;
    await one.pathOf(second);
    now += 1_000;
    await one.pathOf(third);
    expect(digests.map(kept)).toEqual([true, true, true, false]);
    now += 2 * 3_600_000;
    await one.pathOf(first);
    await one.pathOf(fourth);
    expect(digests.map(kept)).toEqual([true, false, false, true]);
    expect(readFileSync(await one.pathOf(second))).toEqual(filled(2));
  });

  it('what another host deleted is not used here either, a minute later at the latest', async () => {
    let now = Date.now();
    const one = await onS3(2 ** 30, () => now);
    const other = await openS3Store({
      ...{ bucket: lake.bucket, prefix, client: lake.client, cache: join(folder, 'other'), cacheBytes: 2 ** 30 },
    });
    await one.putBytes(BYTES);
    const path = await one.pathOf(DIGEST);
    await other.remove(DIGEST);
    now += 61_000;
    await expect(one.pathOf(DIGEST)).rejects.toBeInstanceOf(ArtifactMissing);
    await expect(one.getBytes(DIGEST)).rejects.toBeInstanceOf(ArtifactMissing);
    expect(existsSync(path)).toBe(false);
    // Also where nobody asks for it.
    await one.putBytes(BYTES);
    const again = await one.pathOf(DIGEST);
    await other.remove(DIGEST);
    now += 61_000;
    await one.follow();
    expect(existsSync(again)).toBe(false);
  });

  it('a large file goes in parts, and is one object', async () => {
    const path = join(folder, 'large');
    writeFileSync(path, Buffer.alloc(11 * 2 ** 20, 'refit'));
    const client = createS3Client(lake.settings, 5 * 2 ** 20);
    const one = await openS3Store({
      ...{ bucket: lake.bucket, prefix, client, cache: join(folder, 'cache'), cacheBytes: 2 ** 30 },
    });
    const { digest, bytes } = await one.putFile(path);
    expect(await lake.client.head(lake.bucket, keyOf(digest))).toEqual({ bytes });
    expect(statSync(await one.pathOf(digest)).size).toBe(bytes);
    await one.remove(digest);
  });

  it('says what is wrong with the bucket or the address', async () => {
    const client = lake.client;
    const none = await openS3Store({ bucket: 'no-such-bucket', prefix: '', client, cache: folder, cacheBytes: 1 });
    await expect(none.probe()).rejects.toThrow(/s3:\/\/no-such-bucket.*NoSuchBucket.*create the bucket/);
  });
});

describe('a fault', () => {
  it('kill -9 in the middle of a write leaves nothing visible', async () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const script = `import { openStore } from './src/adapters/store/directory.ts'; await (await openStore(${JSON.stringify(`file:${artifacts}`)})).putFile(${JSON.stringify(pipe)});`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
      stdio: 'ignore',
    });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    const writer = await open(pipe, 'w');
    await writer.write(Buffer.alloc(60_000, 1));
    while (!everything().some((name) => statSync(join(artifacts, 'sha256', name)).size === 60_000)) await sleep(20);
    child.kill('SIGKILL');
    await exited;
    await writer.close();
    const digest = createHash('sha256').update(Buffer.alloc(60_000, 1)).digest('hex');
    expect(await store.has(digest)).toBe(false);
    expect(everything().every((name) => name.startsWith('.tmp-'))).toBe(true);
  });

  it('what a dead writer left is cleared after a day, what a living one writes is not', async () => {
    const root = join(artifacts, 'sha256');
    writeFileSync(join(root, '.tmp-old'), 'x');
    utimesSync(join(root, '.tmp-old'), new Date(0), new Date(0));
    writeFileSync(join(root, '.tmp-new'), 'x');
    await openStore(`file:${artifacts}`);
    expect(everything()).toEqual(['.tmp-new']);
  });

  it('a folder that cannot be written is named', async () => {
    const blocked = join(folder, 'blocked');
    mkdirSync(blocked);
    writeFileSync(join(blocked, 'sha256'), 'a file where a folder must be');
    await expect(openStore(`file:${blocked}`)).rejects.toThrow(blocked);
    await expect(store.probe()).resolves.toBeUndefined();
    expect(everything()).toEqual([]);
    rmSync(artifacts, { recursive: true });
    await expect(store.probe()).rejects.toThrow(artifacts);
  });

  it('an address that is no folder is refused without being repeated', async () => {
    await expect(openStore('s3://key:secret@bucket')).rejects.toThrow(/file:\/absolute\/path/);
    await expect(openStore('s3://key:secret@bucket')).rejects.not.toThrow(/secret/);
  });
});
