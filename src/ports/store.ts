export interface StoredFile {
  readonly digest: string;
  readonly bytes: number;
}

/** Content-addressed artifact store: bytes go in, a sha256 digest comes out; what comes back is verified against it. */
export interface ArtifactStore {
  /** Stores bytes. Idempotent: the same bytes give the same digest, visible only when complete and synced. */
  putBytes(bytes: Uint8Array): Promise<string>;
  /** Stores a file by copying it; streams, so that memory stays bounded. */
  putFile(path: string): Promise<StoredFile>;
  /** What `putFile` would answer; nothing is stored. */
  nameOf(path: string): Promise<StoredFile>;
  /**
   * A local path of the verified bytes, read-only to the caller.
   * @throws ArtifactMissing, ArtifactCorrupt
   */
  pathOf(digest: string): Promise<string>;
  getBytes(digest: string): Promise<Uint8Array>;
  has(digest: string): Promise<boolean>;
  /** Deletes the bytes for good; nothing happens where they are not there. Only for what nobody may need any more: erasure and retention. */
  remove(digest: string): Promise<void>;
  /** For doctor and health: throws when the store cannot be written. */
  probe(): Promise<void>;
}

export class ArtifactMissing extends Error {
  override readonly name = 'ArtifactMissing';
  constructor(readonly digest: string) {
    super(`artifact ${digest} is not in the store; restore it from a backup of the artifact store`);
  }
}

export class ArtifactCorrupt extends Error {
  override readonly name = 'ArtifactCorrupt';
  constructor(
    readonly digest: string,
    readonly found: string,
  ) {
    super(`artifact ${digest} has other bytes (sha256 ${found}); it was not used`);
  }
}

/** A JSON document that Refit itself stored. */
export async function readJson<T>(store: Pick<ArtifactStore, 'getBytes'>, digest: string): Promise<T> {
  return JSON.parse(Buffer.from(await store.getBytes(digest)).toString('utf8')) as T;
}
