/**
 * Content-addressed artifacts in a directory, `sha256/ab/cdef…`. A file becomes visible under its digest by a rename once its bytes
 * are on the disk, so a crash leaves at most a temporary file that nothing reads.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ArtifactCorrupt, ArtifactMissing, type ArtifactStore, type StoredFile } from '../../ports/store.ts';
import { pathOfFileUrl } from '../file-url.ts';

/** The store itself cannot be used: the message says which folder, and what to do. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
}

const TEMPORARY = '.tmp-';
/** A writer that has not finished after this time is dead. */
const TEMPORARY_LIFE_MS = 24 * 3_600_000;
const READ_ONLY = 0o444;
const DIGEST = /^[0-9a-f]{64}$/;

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.length; ) {
    offset += (await handle.write(chunk, offset)).bytesWritten;
  }
}

export async function nameOfFile(path: string): Promise<StoredFile> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { digest: hash.digest('hex'), bytes };
}

export class DirectoryStore implements ArtifactStore {
  /** What was verified in this process, by the identity of the file: one that was changed or swapped is read again. */
  readonly #verified = new Map<string, string>();

  constructor(readonly folder: string) {}

  async putBytes(bytes: Uint8Array): Promise<string> {
    return this.#named(async () => {
      const digest = createHash('sha256').update(bytes).digest('hex');
      if (await this.#isThere(digest, bytes.length)) return digest;
      await this.#write(dirname(this.#path(digest)), async (handle) => {
        await writeAll(handle, bytes);
        return digest;
      });
      return digest;
    });
  }

  nameOf(path: string): Promise<StoredFile> {
    return nameOfFile(path);
  }

  async putFile(path: string): Promise<StoredFile> {
    // Opened outside of what names the store in its errors: that the source is missing is no fault of the store.
    const source = await open(path, 'r');
    try {
      if ((await source.stat()).isDirectory()) throw new StoreError(`${path} is a folder; only files can be stored`);
      return await this.#named(async () => {
        let bytes = 0;
        // Its digest is known only at its end, so the copy starts in a folder from which it can be renamed to any place.
        const digest = await this.#write(join(this.folder, 'sha256'), async (handle) => {
          const hash = createHash('sha256');
          for await (const chunk of source.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
            hash.update(chunk);
            bytes += chunk.length;
            await writeAll(handle, chunk);
          }
          return hash.digest('hex');
        });
        return { digest, bytes };
      });
    } finally {
      await source.close();
    }
  }

  async pathOf(digest: string): Promise<string> {
    const path = this.#path(digest);
    const identity = await this.#identity(digest);
    if (identity === undefined) throw new ArtifactMissing(digest);
    if (this.#verified.get(digest) === identity) return path;
    const { digest: found } = await nameOfFile(path);
    if (found !== digest) throw new ArtifactCorrupt(digest, found);
    this.#verified.set(digest, identity);
    return path;
  }

  async getBytes(digest: string): Promise<Uint8Array> {
    const path = this.#path(digest);
    let bytes: Uint8Array;
    try {
      bytes = await readFile(path);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') throw new ArtifactMissing(digest);
      throw error;
    }
    // Of the very bytes that are returned, so that nothing can change in between.
    const found = createHash('sha256').update(bytes).digest('hex');
    if (found !== digest) throw new ArtifactCorrupt(digest, found);
    return bytes;
  }

  async has(digest: string): Promise<boolean> {
    return (await this.#identity(digest)) !== undefined;
  }

  async remove(digest: string): Promise<void> {
    const path = this.#path(digest);
    await this.#named(async () => {
      await rm(path, { force: true });
      this.#verified.delete(digest);
      try {
        await syncDirectory(dirname(path));
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') throw error;
      }
    });
  }

  async probe(): Promise<void> {
    await this.#named(async () => {
      const path = join(this.folder, 'sha256', `${TEMPORARY}probe-${randomUUID()}`);
      try {
        const handle = await open(path, 'wx');
        try {
          // More than a file system keeps inside its inode, so that a full disk shows.
          await writeAll(handle, new Uint8Array(4096));
          await handle.sync();
        } finally {
          await handle.close();
        }
      } finally {
        await rm(path, { force: true });
      }
    });
  }

  /** Creates the folder, and clears what writers left that died long ago. */
  async prepare(): Promise<void> {
    await this.#named(async () => {
      const root = join(this.folder, 'sha256');
      await mkdir(root, { recursive: true });
      await syncDirectory(this.folder);
      const folders = (await readdir(root, { withFileTypes: true })).filter((entry) => entry.isDirectory());
      for (const folder of [root, ...folders.map((entry) => join(root, entry.name))]) {
        for (const name of await readdir(folder)) {
          if (name.startsWith(TEMPORARY)) await this.#removeIfOld(join(folder, name));
        }
      }
    });
  }

  async #removeIfOld(path: string): Promise<void> {
    try {
      if (Date.now() - (await stat(path)).mtimeMs > TEMPORARY_LIFE_MS) await rm(path, { force: true });
    } catch (error) {
      // Its writer was alive after all, and has just renamed it.
      if (codeOf(error) !== 'ENOENT') throw error;
    }
  }

  #path(digest: string): string {
    // A digest may come from outside: as anything else it could lead out of the folder.
    if (!DIGEST.test(digest)) throw new StoreError(`'${digest.slice(0, 80)}' is no sha256 digest`);
    return join(this.folder, 'sha256', digest.slice(0, 2), digest.slice(2));
  }

  async #identity(digest: string): Promise<string | undefined> {
    try {
      const { ino, size, mtimeNs, ctimeNs } = await stat(this.#path(digest), { bigint: true });
      // The change time too: unlike the modification time, a program cannot set it back.
      return `${ino}:${size}:${mtimeNs}:${ctimeNs}`;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** A file of another size, such as one cut off by a failing disk, is replaced. */
  async #isThere(digest: string, bytes: number): Promise<boolean> {
    try {
      return (await stat(this.#path(digest))).size === bytes;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false;
      throw error;
    }
  }

  /** Writes by way of a temporary file; `fill` answers with the digest under which it becomes visible. */
  async #write(folder: string, fill: (handle: FileHandle) => Promise<string>): Promise<string> {
    await mkdir(folder, { recursive: true });
    const temporary = join(folder, `${TEMPORARY}${randomUUID()}`);
    try {
      const handle = await open(temporary, 'wx', 0o600);
      let digest: string;
      let bytes: number;
      try {
        digest = await fill(handle);
        await handle.sync();
        bytes = (await handle.stat()).size;
      } finally {
        await handle.close();
      }
      if (await this.#isThere(digest, bytes)) return digest;
      const path = this.#path(digest);
      await mkdir(dirname(path), { recursive: true });
      await chmod(temporary, READ_ONLY);
      await rename(temporary, path);
      await syncDirectory(dirname(path));
      await syncDirectory(dirname(dirname(path)));
      return digest;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** Node's own messages leave out which store is full or not writable. */
  async #named<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const code = codeOf(error);
      if (code === undefined) throw error;
      const advice =
        code === 'ENOSPC' || code === 'EDQUOT'
          ? 'there is no space left; free some on that disk'
          : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
            ? 'it cannot be written; check its owner and permissions'
            : error instanceof Error
              ? error.message
              : code;
      throw new StoreError(`the artifact store ${this.folder}: ${advice} (${code}); nothing half-written is visible`, {
        cause: error,
      });
    }
  }
}

/** Opens the store at `file:/absolute/path`, and creates it where there is none. */
export async function openStore(artifactsUrl: string): Promise<ArtifactStore> {
  const store = new DirectoryStore(pathOfFileUrl(artifactsUrl, 'artifact store'));
  await store.prepare();
  return store;
}
