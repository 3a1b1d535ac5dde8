/**
 * Content-addressed artifacts on S3, `PREFIX/sha256/ab/cdef…`. The bytes are checked against the digest as they go, and are shown only when
 * they are complete; a write is conditional, so that what is there is never replaced by a second writer. Reads are verified, by way of a cache.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { ArtifactCorrupt, ArtifactMissing, type ArtifactStore, type StoredFile } from '../../ports/store.ts';
import { type S3Client, S3Error } from '../s3/client.ts';
import { StoreCache } from './cache.ts';
import { DirectoryStore, nameOfFile, StoreError } from './directory.ts';

const DIGEST = /^[0-9a-f]{64}$/;
/** What a download that was cut off by a kill left behind is cleared when a part starts. */
const INCOMING_LIFE_MS = 24 * 3_600_000;
/** Erasure and retention delete from the store, on whichever host they run: the copies of the other hosts follow. */
const CONFIRMED_MS = 60_000;
const FOLLOW_MS = 3_600_000;
/** A store that is away holds nobody up who has a copy. */
const CONFIRM_PATIENCE_MS = 5_000;

export interface S3StoreOptions {
  readonly bucket: string;
  /** Without slashes at its ends; may be empty. */
  readonly prefix: string;
  readonly client: S3Client;
  /** Folder of the cache. */
  readonly cache: string;
  readonly cacheBytes: number;
  /** @default Date.now */
  readonly now?: () => number;
}

class S3Store implements ArtifactStore {
  readonly #cached: DirectoryStore;
  readonly #cache: StoreCache;
  /** A check of the rights, and of what the server makes of conditions, is asked for once; after that one small write says enough. */
  #isConditional = false;
  /** When the store was last seen to have a digest. */
  readonly #confirmed = new Map<string, number>();

  constructor(readonly options: S3StoreOptions) {
    this.#cached = new DirectoryStore(options.cache);
    this.#cache = new StoreCache(options.cache, this.#cached, options.cacheBytes, options.now ?? Date.now);
  }

  async prepare(): Promise<void> {
    await this.#cached.prepare();
    const incoming = join(this.options.cache, 'incoming');
    for (const name of await readdir(incoming).catch(() => [])) {
      const found = await stat(join(incoming, name)).catch(() => undefined);
      if (found && Date.now() - found.mtimeMs > INCOMING_LIFE_MS) await rm(join(incoming, name), { force: true });
    }
  }

  async putBytes(bytes: Uint8Array): Promise<string> {
    const digest = createHash('sha256').update(bytes).digest('hex');
    const { client, bucket } = this.options;
    await this.#put(digest, bytes.length, (create) => client.putBytes(bucket, this.#key(digest), bytes, create));
    return digest;
  }

  nameOf(path: string): Promise<StoredFile> {
    return nameOfFile(path);
  }

  async putFile(path: string): Promise<StoredFile> {
    if ((await stat(path)).isDirectory()) throw new StoreError(`${path} is a folder; only files can be stored`);
    const { digest, bytes } = await nameOfFile(path);
    const { client, bucket } = this.options;
    const file = { path, bytes, digest };
    await this.#put(digest, bytes, (create) => client.putFile(bucket, this.#key(digest), file, create));
    return { digest, bytes };
  }

  async pathOf(digest: string): Promise<string> {
    this.#key(digest);
    for (let attempt = 1; ; attempt += 1) {
      if (!(await this.#isHere(digest))) await this.#cache.fill(digest, () => this.#open(digest));
      this.#cache.touch(digest);
      try {
        return await this.#cached.pathOf(digest);
      } catch (error) {
        // The copy on this disk is broken, or another part has just cleared it: the store has the bytes.
        const mayMend = error instanceof ArtifactCorrupt || error instanceof ArtifactMissing;
        if (!mayMend || attempt > 1) throw error;
        await this.#cached.remove(digest);
      }
    }
  }

  async getBytes(digest: string): Promise<Uint8Array> {
    this.#key(digest);
    if (await this.#isHere(digest)) {
      try {
        return await this.#cached.getBytes(digest);
      } catch (error) {
        if (!(error instanceof ArtifactCorrupt || error instanceof ArtifactMissing)) throw error;
        await this.#cached.remove(digest);
      }
    }
    const bytes = await buffer(await this.#open(digest));
    const found = createHash('sha256').update(bytes).digest('hex');
    if (found !== digest) throw new ArtifactCorrupt(digest, found);
    return bytes;
  }

  /** Drops the copies of what the store has no more. */
  async follow(): Promise<void> {
    for (const digest of await this.#cache.digests()) await this.#isHere(digest);
  }

  /** Whether there is a copy on this disk that may be used: not one of bytes that were deleted. */
  async #isHere(digest: string): Promise<boolean> {
    if (!(await this.#cached.has(digest))) return false;
    const now = (this.options.now ?? Date.now)();
    if (now - (this.#confirmed.get(digest) ?? Number.NEGATIVE_INFINITY) < CONFIRMED_MS) return true;
    const { client, bucket } = this.options;
    const asked = client.head(bucket, this.#key(digest)).then(
      (found) => (found === undefined ? 'deleted' : 'there'),
      () => 'unknown',
    );
    const answer = await Promise.race([asked, delay(CONFIRM_PATIENCE_MS, 'unknown', { ref: false })]);
    if (answer === 'there') this.#confirmed.set(digest, now);
    if (answer !== 'deleted') return true;
    await this.#cached.remove(digest);
    this.#confirmed.delete(digest);
    return false;
  }

  async has(digest: string): Promise<boolean> {
    const { client, bucket } = this.options;
    const key = this.#key(digest);
    return this.#named(async () => (await client.head(bucket, key)) !== undefined);
  }

  async remove(digest: string): Promise<void> {
    const { client, bucket } = this.options;
    const key = this.#key(digest);
    await this.#named(() => client.remove(bucket, key));
    await this.#cached.remove(digest);
  }

  async probe(): Promise<void> {
    const { client, bucket } = this.options;
    await this.#cached.probe();
    await this.#named(async () => {
      const key = this.#keyOf(`probe/${randomUUID()}`);
      await client.putBytes(bucket, key, Buffer.from('probe'), true);
      try {
        if (!this.#isConditional && (await client.putBytes(bucket, key, Buffer.from('again'), true)) !== 'exists')
          throw new StoreError(
            `${this.#name}: the server overwrites where it was told not to (If-None-Match); use one that knows conditional writes`,
          );
        this.#isConditional = true;
      } finally {
        await client.remove(bucket, key);
      }
    });
  }

  get #name(): string {
    const { bucket, prefix } = this.options;
    return `the artifact store s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`;
  }

  readonly #keyOf = (path: string): string => (this.options.prefix === '' ? path : `${this.options.prefix}/${path}`);

  #key(digest: string): string {
    // A digest may come from outside: as anything else it could lead to other objects.
    if (!DIGEST.test(digest)) throw new StoreError(`'${digest.slice(0, 80)}' is no sha256 digest`);
    return this.#keyOf(`sha256/${digest.slice(0, 2)}/${digest.slice(2)}`);
  }

  async #open(digest: string): Promise<NodeJS.ReadableStream> {
    const { client, bucket } = this.options;
    const key = this.#key(digest);
    return this.#named(async () => {
      try {
        return await client.get(bucket, key);
      } catch (error) {
        if (error instanceof S3Error && error.status === 404 && error.code !== 'NoSuchBucket')
          throw new ArtifactMissing(digest);
        throw error;
      }
    });
  }

  async #put(digest: string, bytes: number, put: (create: boolean) => Promise<'stored' | 'exists'>): Promise<void> {
    const { client, bucket } = this.options;
    const key = this.#key(digest);
    await this.#named(async () => {
      const there = await client.head(bucket, key);
      if (there?.bytes === bytes) return;
      // Of another size: it was damaged behind the store's back, and is replaced.
      if ((await put(there === undefined)) === 'exists' && (await client.head(bucket, key))?.bytes !== bytes)
        await put(false);
    });
  }

  async #named<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof StoreError || error instanceof ArtifactMissing) throw error;
      const said = error instanceof Error ? error.message || error.name : String(error);
      const advice =
        error instanceof S3Error && (error.status === 403 || error.status === 401)
          ? '; check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, or the role), AWS_REGION and what they may do'
          : error instanceof S3Error && error.status === 404
            ? '; create the bucket, or check AWS_ENDPOINT_URL_S3'
            : '';
      throw new StoreError(`${this.#name}: ${said}${advice}`, { cause: error });
    }
  }
}

export async function openS3Store(options: S3StoreOptions): Promise<ArtifactStore & Pick<S3Store, 'follow'>> {
  const store = new S3Store(options);
  await store.prepare();
  // What fails is tried again with the next round; a copy is not used without a look at the store before.
  setInterval(() => void store.follow().catch(() => undefined), FOLLOW_MS).unref();
  return store;
}
