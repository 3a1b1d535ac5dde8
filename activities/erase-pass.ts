/** One step of an erasure at work: which bytes stand for a digest, what takes their place, and when they go. */
import { join } from 'node:path';
import { erasureReason } from '../src/domain/ids.ts';
import type { DatasetRecord } from '../src/ports/registry/definitions.ts';
import type { ErasureRecord } from '../src/ports/registry/erasures.ts';
import { ArtifactMissing } from '../src/ports/store.ts';
import { stopIfCancelled } from './heartbeat.ts';
import type { Ports } from './ports.ts';

export interface Rewritten {
  readonly digest: string;
  readonly bytes: number;
  readonly rows: number;
  readonly removed: number;
  readonly minTime: string | null;
  readonly maxTime: string | null;
}

export class Pass {
  readonly reason: string;
  #files = 0;
  #replaced: Set<string> | undefined;

  constructor(
    private readonly ports: Ports,
    readonly dataset: DatasetRecord,
    readonly request: ErasureRecord,
    readonly ids: readonly string[],
    private readonly folder: string,
  ) {
    this.reason = erasureReason(dataset.name, request.erasure);
  }

  get at(): string {
    return this.ports.surroundings.now().toISOString();
  }

  /** A local path, or null where the bytes are gone for a reason. */
  async path(digest: string): Promise<string | null> {
    try {
      return await this.ports.store.pathOf(digest);
    } catch (error) {
      if (error instanceof ArtifactMissing && (await this.ports.registry.deletedArtifact(digest))) return null;
      throw error;
    }
  }

  /** The bytes that whoever reads the digest gets; null where there are none any more. */
  async current(digest: string): Promise<string | null> {
    for (let wanted = digest; ; ) {
      // Bytes that were deleted may have been made again since, by a repetition.
      if (await this.ports.store.has(wanted)) return wanted;
      const gone = await this.ports.registry.deletedArtifact(wanted);
      if (!gone) return wanted;
      if (gone.replacement === null) return null;
      wanted = gone.replacement;
    }
  }

  /** What this erasure has replaced so far, also in attempts before this one. */
  async replaced(): Promise<Set<string>> {
    this.#replaced ??= new Set(await this.ports.registry.deletedFor(this.reason));
    return this.#replaced;
  }

  /** Whether this erasure has replaced what stood for the digest. */
  async isReplaced(digest: string): Promise<boolean> {
    const replaced = await this.replaced();
    for (let wanted: string | null = digest; wanted !== null; ) {
      if (replaced.has(wanted)) return true;
      wanted = (await this.ports.registry.deletedArtifact(wanted))?.replacement ?? null;
    }
    return false;
  }

  /** Stores a copy without the rows; null where the file has none of them, or is gone; 'unaligned' where `idsFrom` has other rows. */
  async rewrite(
    digest: string,
    column: string,
    options: {
      readonly timeColumn?: string | null;
      readonly idsFrom?: string;
      readonly models?: readonly string[];
    } = {},
  ): Promise<Rewritten | null | 'unaligned'> {
    stopIfCancelled();
    const path = await this.path(digest);
    if (path === null) return null;
    const idsFrom = options.idsFrom === undefined ? null : await this.path(options.idsFrom);
    if (options.idsFrom !== undefined && idsFrom === null) return null;
    this.#files += 1;
    const output = join(this.folder, `${this.#files}.parquet`);
    const erased = await this.ports.engine.withoutIds({
      path,
      column,
      ids: this.ids,
      timeColumn: options.timeColumn ?? null,
      output,
      ...(idsFrom === null ? {} : { idsFrom }),
      ...(options.models === undefined ? {} : { models: options.models }),
    });
    if (erased === null || erased === 'unaligned') return erased;
    const stored = await this.ports.store.putFile(output);
    return { ...erased, digest: stored.digest, bytes: stored.bytes };
  }

  /** From here on the replacement stands for it; its bytes go at the end. */
  async replace(digest: string, replacement: string | null): Promise<void> {
    await this.ports.registry.deleteArtifact({ digest, replacement, reason: this.reason, at: this.at });
    (await this.replaced()).add(digest);
  }

  /** Of all that was replaced, also by attempts before this one; how many another dataset holds. */
  async deleteBytes(): Promise<number> {
    const replaced = await this.ports.registry.deletedFor(this.reason);
    const held = await this.ports.registry.heldElsewhere(this.dataset.name, replaced);
    for (const digest of replaced) if (!held.has(digest)) await this.ports.store.remove(digest);
    return held.size;
  }
}
