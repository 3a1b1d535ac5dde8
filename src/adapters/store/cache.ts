/** The part of a store on S3 that is on this disk: verified, read-only, and bounded; what was not used for longest goes first. */
import { createHash, randomUUID } from 'node:crypto';
import { chmod, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ArtifactCorrupt } from '../../ports/store.ts';
import { fileSink } from '../file-sink.ts';
import { type DirectoryStore, StoreError } from './directory.ts';

/** A path that was given out is in use for a while after: files younger than this stay, also beyond the bound. */
const GRACE_MS = 3_600_000;
const INCOMING = 'incoming';

interface Kept {
  readonly digest: string;
  readonly bytes: number;
  readonly usedMs: number;
}

export class StoreCache {
  /** When each was last asked for, by this process; before that, its time of access on the disk. */
  readonly #used = new Map<string, number>();
  readonly #coming = new Map<string, Promise<void>>();
  #bytes: number | null = null;

  constructor(
    readonly folder: string,
    readonly files: DirectoryStore,
    readonly maxBytes: number,
    readonly now: () => number,
  ) {}

  touch(digest: string): void {
    this.#used.set(digest, this.now());
  }

  /** Takes the bytes in under their digest, once however many ask for them. @throws ArtifactCorrupt for other bytes */
  fill(digest: string, open: () => Promise<NodeJS.ReadableStream>): Promise<void> {
    const coming = this.#coming.get(digest);
    if (coming) return coming;
    const filling = this.#fill(digest, open).finally(() => this.#coming.delete(digest));
    this.#coming.set(digest, filling);
    return filling;
  }

  async #fill(digest: string, open: () => Promise<NodeJS.ReadableStream>): Promise<void> {
    const incoming = join(this.folder, INCOMING);
    await mkdir(incoming, { recursive: true });
    const temporary = join(incoming, randomUUID());
    try {
      const hash = createHash('sha256');
      let bytes = 0;
      const measure = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          hash.update(chunk);
          bytes += chunk.length;
          done(null, chunk);
        },
      });
      await pipeline(await open(), measure, await fileSink(temporary));
      const found = hash.digest('hex');
      if (found !== digest) throw new ArtifactCorrupt(digest, found);
      await chmod(temporary, 0o444);
      const path = this.pathOf(digest);
      await mkdir(join(path, '..'), { recursive: true });
      await rename(temporary, path);
      this.touch(digest);
      if (this.#bytes !== null) this.#bytes += bytes;
      await this.#bound();
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'ENOSPC' || code === 'EDQUOT')
        throw new StoreError(
          `the cache of the artifact store, ${this.folder}, is full (${code}); free some, or lower REFIT_ARTIFACTS_CACHE`,
          { cause: error },
        );
      throw error;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  async digests(): Promise<readonly string[]> {
    return (await this.#kept()).map(({ digest }) => digest);
  }

  pathOf(digest: string): string {
    return join(this.folder, 'sha256', digest.slice(0, 2), digest.slice(2));
  }

  async #bound(): Promise<void> {
    if (this.#bytes !== null && this.#bytes <= this.maxBytes) return;
    const kept = await this.#kept();
    let bytes = kept.reduce((sum, one) => sum + one.bytes, 0);
    const oldest = this.now() - GRACE_MS;
    for (const one of kept.sort((a, b) => a.usedMs - b.usedMs)) {
      if (bytes <= this.maxBytes || one.usedMs > oldest) break;
      await this.files.remove(one.digest);
      this.#used.delete(one.digest);
      bytes -= one.bytes;
    }
    this.#bytes = bytes;
  }

  async #kept(): Promise<Kept[]> {
    const root = join(this.folder, 'sha256');
    const kept: Kept[] = [];
    for (const folder of await readdir(root, { withFileTypes: true })) {
      if (!folder.isDirectory()) continue;
      for (const name of await readdir(join(root, folder.name))) {
        if (name.startsWith('.')) continue;
        const digest = folder.name + name;
        // Another process of this host may clear it at the same moment.
        const found = await stat(join(root, folder.name, name)).catch(() => undefined);
        if (found)
          kept.push({
            digest,
            bytes: found.size,
            usedMs: Math.max(this.#used.get(digest) ?? 0, found.atimeMs, found.mtimeMs),
          });
      }
    }
    return kept;
  }
}
