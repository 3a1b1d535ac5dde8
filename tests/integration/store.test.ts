/** The artifact store: bytes are visible when complete, and are never used unless they are those that were asked for. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
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
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStore } from '../../src/adapters/store/directory.ts';
import { ArtifactCorrupt, ArtifactMissing, type ArtifactStore } from '../../src/ports/store.ts';

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

function overwrite(digest: string, bytes: Uint8Array): void {
  chmodSync(place(digest), 0o644);
  writeFileSync(place(digest), bytes);
}

describe('storing', () => {
  it('is idempotent and content-addressed', async () => {
    expect(await store.putBytes(BYTES)).toBe(DIGEST);
    const { ino } = statSync(place(DIGEST));
    expect(await store.putBytes(BYTES)).toBe(DIGEST);
    const source = join(folder, 'source');
    writeFileSync(source, BYTES);
    expect(await store.putFile(source)).toEqual({ digest: DIGEST, bytes: BYTES.length });
    expect(statSync(place(DIGEST)).ino).toBe(ino);
    expect(everything()).toEqual([DIGEST.slice(2)]);
    expect(statSync(place(DIGEST)).mode & 0o777).toBe(0o444);
  });

  it('takes the same bytes from many writers at once', async () => {
    const digests = await Promise.all(Array.from({ length: 20 }, () => store.putBytes(BYTES)));
    expect(new Set(digests)).toEqual(new Set([DIGEST]));
    expect(everything()).toEqual([DIGEST.slice(2)]);
  });

  it('gives back what was stored', async () => {
    await store.putBytes(BYTES);
    expect(Buffer.from(await store.getBytes(DIGEST))).toEqual(BYTES);
    expect(readFileSync(await store.pathOf(DIGEST))).toEqual(BYTES);
    expect(await store.has(DIGEST)).toBe(true);
    expect(await store.has('0'.repeat(64))).toBe(false);
  });

  it('names the source that is missing, and leaves nothing', async () => {
    await expect(store.putFile(join(folder, 'nothing'))).rejects.toThrow(/ENOENT.*nothing/);
    expect(everything()).toEqual([]);
  });

  it('replaces a file that was cut off', async () => {
    await store.putBytes(BYTES);
    overwrite(DIGEST, BYTES.subarray(0, 5));
    await store.putBytes(BYTES);
    expect(Buffer.from(await store.getBytes(DIGEST))).toEqual(BYTES);
  });

  it('deletes for good, also twice, and takes the same bytes again', async () => {
    await store.putBytes(BYTES);
    await store.pathOf(DIGEST);
    await store.remove(DIGEST);
    await store.remove(DIGEST);
    expect(everything()).toEqual([]);
    await expect(store.pathOf(DIGEST)).rejects.toBeInstanceOf(ArtifactMissing);
    expect(await store.putBytes(BYTES)).toBe(DIGEST);
    expect(readFileSync(await store.pathOf(DIGEST))).toEqual(BYTES);
    await expect(store.remove('../x')).rejects.toThrow(/no sha256 digest/);
  });
});

describe('reading', () => {
  it('says that an artifact is missing', async () => {
    await expect(store.pathOf(DIGEST)).rejects.toBeInstanceOf(ArtifactMissing);
    await expect(store.getBytes(DIGEST)).rejects.toBeInstanceOf(ArtifactMissing);
  });

  const flipped = Buffer.from(BYTES);
  flipped[3] = (flipped[3] ?? 0) ^ 1;
  it.each([
    ['truncated', BYTES.subarray(0, 7)],
    ['empty', Buffer.alloc(0)],
    ['flipped', flipped],
  ])('detects a %s file', async (_name, bytes) => {
    await store.putBytes(BYTES);
    overwrite(DIGEST, bytes);
    await expect(store.pathOf(DIGEST)).rejects.toBeInstanceOf(ArtifactCorrupt);
    await expect(store.getBytes(DIGEST)).rejects.toBeInstanceOf(ArtifactCorrupt);
  });

  it('detects a file that was swapped after it had been verified, with its times set back', async () => {
    await store.putBytes(BYTES);
    await store.pathOf(DIGEST);
    const { atime, mtime } = statSync(place(DIGEST));
    overwrite(DIGEST, flipped);
    utimesSync(place(DIGEST), atime, mtime);
    await expect(store.pathOf(DIGEST)).rejects.toBeInstanceOf(ArtifactCorrupt);
  });

  it.each(['../../etc/passwd', '', `${'a'.repeat(63)}/`, 'A'.repeat(64)])(
    'takes no path for a digest: %s',
    async (digest) => {
      await expect(store.pathOf(digest)).rejects.toThrow(/no sha256 digest/);
      await expect(store.has(digest)).rejects.toThrow(/no sha256 digest/);
    },
  );
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
