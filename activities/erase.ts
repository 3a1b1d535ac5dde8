/**
 * Erasure: a person's rows leave the data, the snapshots of runs, the log of predictions, the stored outcomes and what reports say. Every
 * step can be done again: what was rewritten is found by its digest, and deleted only once the registry names what took its place.
 */
import { join } from 'node:path';
import type { DataFile, DatasetManifest, SnapshotManifest } from '../src/contracts/data.ts';
import { canonicalJson } from '../src/domain/canonical.ts';
import { manifestOf } from '../src/domain/dataset-versions.ts';
import { erasureKey } from '../src/domain/ids.ts';
import type { DatasetRecord } from '../src/ports/registry/definitions.ts';
import type { ErasureRecord, ErasureReport } from '../src/ports/registry/erasures.ts';
import type { SinkFile } from '../src/ports/registry/monitoring.ts';
import { ArtifactMissing, readJson } from '../src/ports/store.ts';
import { FAILURES, fail, required } from './failures.ts';
import { beating } from './heartbeat.ts';
import type { Ports } from './ports.ts';

export type EraseActivities = ReturnType<typeof createEraseActivities>;

interface Rewritten {
  readonly digest: string;
  readonly bytes: number;
  readonly rows: number;
  readonly removed: number;
  readonly minTime: string | null;
  readonly maxTime: string | null;
}

/** One erasure under way: what it takes out, and what it has rewritten so far. */
class Pass {
  readonly reason: string;
  heldElsewhere = 0;
  #files = 0;

  constructor(
    private readonly ports: Ports,
    readonly dataset: DatasetRecord,
    readonly request: ErasureRecord,
    readonly ids: readonly string[],
    private readonly folder: string,
  ) {
    this.reason = `erasure ${request.erasure} of dataset ${dataset.name}`;
  }

  get at(): string {
    return this.ports.surroundings.now().toISOString();
  }

  /** A local path, or null where the bytes are gone already. */
  async #path(digest: string): Promise<string | null> {
    try {
      return await this.ports.store.pathOf(digest);
    } catch (error) {
      if (error instanceof ArtifactMissing && (await this.ports.registry.deletedArtifact(digest))) return null;
      throw error;
    }
  }

  /** The newest bytes that stand for a digest; null where nothing does. */
  async current(digest: string): Promise<string | null> {
    for (let wanted = digest; ; ) {
      const gone = await this.ports.registry.deletedArtifact(wanted);
      if (!gone) return wanted;
      // What retention deleted may have been made again since, by a repetition.
      if (gone.replacement === null) return (await this.ports.store.has(wanted)) ? wanted : null;
      wanted = gone.replacement;
    }
  }

  /** Stores a copy without the rows; null where the file has none of them, or is gone. */
  async rewrite(
    digest: string,
    column: string,
    options: {
      readonly timeColumn?: string | null;
      readonly idsFrom?: string;
      readonly models?: readonly string[];
    } = {},
  ): Promise<Rewritten | null> {
    const path = await this.#path(digest);
    if (path === null) return null;
    const idsFrom = options.idsFrom === undefined ? null : await this.#path(options.idsFrom);
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
    if (erased === null) return null;
    const stored = await this.ports.store.putFile(output);
    return { ...erased, digest: stored.digest, bytes: stored.bytes };
  }

  /** From here on the replacement stands for it; its bytes go at the end. */
  async replace(digest: string, replacement: string | null): Promise<void> {
    await this.ports.registry.deleteArtifact({ digest, replacement, reason: this.reason, at: this.at });
  }

  /** Also what an attempt before this one replaced and did not come to delete. */
  async deleteBytes(): Promise<void> {
    for (const digest of await this.ports.registry.deletedFor(this.reason)) {
      if (await this.ports.registry.heldElsewhere(this.dataset.name, digest)) this.heldElsewhere += 1;
      else await this.ports.store.remove(digest);
    }
  }
}

export function createEraseActivities(ports: Ports) {
  const { registry, store, surroundings } = ports;

  /** The version without the rows. Repeatable: the erasure's own key makes at most one. */
  async function commitVersion(pass: Pass, latest: DatasetManifest, files: readonly DataFile[]): Promise<number> {
    const { dataset, request } = pass;
    const key = erasureKey(request.erasure);
    const version = latest.version + 1;
    const paths = await Promise.all(files.map(({ digest }) => store.pathOf(digest)));
    const profile =
      paths.length === 0
        ? undefined
        : await store.putBytes(Buffer.from(canonicalJson(await ports.engine.profile(paths, latest.columns))));
    const manifest = manifestOf(
      {
        ...{ dataset: dataset.name, version, columns: latest.columns, event: key },
        ...(profile === undefined ? {} : { profile }),
      },
      files,
    );
    const committed = await registry.commitDatasetVersion({
      dataset: dataset.name,
      version,
      manifestDigest: await store.putBytes(Buffer.from(canonicalJson(manifest))),
      manifest,
      eventKey: key,
      newRows: 0,
      createdAt: pass.at,
      corrects: null,
    });
    // Arrivals and erasures of a dataset are taken one after another by its workflow.
    if (committed === 'conflict')
      throw new Error(`version ${version} of ${dataset.name} was made by somebody else; trying again`);
    return committed.version;
  }

  async function eraseData(
    pass: Pass,
    idColumn: string,
  ): Promise<Pick<ErasureReport, 'version' | 'lostVersions'> & { readonly removed: number }> {
    const { dataset, request } = pass;
    const all = await registry.allDatasetVersions(dataset.name);
    const done = all.find((one) => one.eventKey === erasureKey(request.erasure));
    const earlier = all.filter((one) => one !== done);
    const rewritten = new Map<string, DataFile>();
    for (const file of new Map(
      earlier.flatMap(({ manifest }) => manifest.files.map((one) => [one.digest, one])),
    ).values()) {
      const timeColumn = dataset.document.time ?? null;
      const left = await pass.rewrite(file.digest, idColumn, { timeColumn });
      if (left === null) continue;
      const { digest, bytes, rows, minTime, maxTime } = left;
      rewritten.set(file.digest, { ...file, digest, bytes, rows, minTime, maxTime });
    }
    const latest = earlier.at(-1);
    let version = done?.version ?? null;
    if (latest && version === null && latest.manifest.files.some((file) => rewritten.has(file.digest))) {
      const files = latest.manifest.files
        .map((file) => rewritten.get(file.digest) ?? file)
        .filter((file) => file.rows > 0);
      version = await commitVersion(pass, latest.manifest, files);
    }
    const sources = earlier.flatMap(({ manifest }) => manifest.files.filter((file) => rewritten.has(file.digest)));
    await registry.eraseSources(dataset.name, [...new Set(sources.map((file) => file.sourceDigest))], request.erasure);
    for (const [digest, file] of rewritten) await pass.replace(digest, file.digest);
    const lostVersions: number[] = [];
    for (const { version: number, manifest } of earlier) {
      for (const file of manifest.files) {
        const gone = await registry.deletedArtifact(file.digest);
        if (gone?.reason === pass.reason && lostVersions.at(-1) !== number) lostVersions.push(number);
      }
      // Its frequent values may name the person.
      if (lostVersions.at(-1) === number && manifest.profile !== undefined) await pass.replace(manifest.profile, null);
    }
    const now = version === null ? undefined : await registry.datasetVersion(dataset.name, version);
    const removed = now && latest ? latest.manifest.rows - now.manifest.rows : 0;
    return { version, lostVersions, removed };
  }

  async function eraseSnapshots(
    pass: Pass,
    idColumn: string,
  ): Promise<Pick<ErasureReport, 'unrepeatable'> & { readonly removed: number }> {
    const unrepeatable: { model: string; run: string }[] = [];
    let removed = 0;
    for (const { run, model, snapshot, predictions } of await registry.runsOfDataset(pass.dataset.name)) {
      const { parts, reference, testSource, profile } = await readJson<SnapshotManifest>(store, snapshot);
      const sheets = [
        ...[parts.train, parts.validation, parts.test].map(({ digest }) => ({ digest, column: '__id' })),
        ...[reference, testSource].map((digest) => ({ digest, column: idColumn })),
      ];
      const validation = await pass.current(parts.validation.digest);
      const own = predictions === null ? null : await pass.current(predictions);
      // The trainer's predictions have the validation part's rows, and no id of their own: before that part is rewritten.
      if (own !== null && validation !== null) {
        const left = await pass.rewrite(own, '__id', { idsFrom: validation });
        if (left) await pass.replace(own, left.digest);
      }
      let touched = false;
      for (const { digest, column } of sheets) {
        const wanted = await pass.current(digest);
        const left = wanted === null ? null : await pass.rewrite(wanted, column);
        if (wanted !== null && left !== null) {
          await pass.replace(wanted, left.digest);
          removed += left.removed;
        }
        touched ||= left !== null || (await registry.deletedArtifact(digest))?.reason === pass.reason;
      }
      if (!touched) continue;
      unrepeatable.push({ model, run });
      if (profile !== undefined) await pass.replace(profile, null);
    }
    return { unrepeatable, removed };
  }

  async function erasePredictions(pass: Pass, models: readonly string[]): Promise<number> {
    let removed = 0;
    const files = new Map<string, SinkFile>();
    for (const model of models)
      for (const file of await registry.allSinkFiles(model))
        files.set(`${file.topic}/${file.partition}@${file.startOffset}`, file);
    for (const file of files.values()) {
      const left = await pass.rewrite(file.digest, 'id', { models });
      if (left === null) continue;
      removed += left.removed;
      await pass.replace(file.digest, left.digest);
      await registry.replaceSinkFile(file, left.digest, left.rows);
    }
    return removed;
  }

  /** Batches that are under way meanwhile end without a file: the registry sees to that. */
  async function eraseBatches(pass: Pass): Promise<number> {
    let removed = 0;
    for (const { model, batch, output } of await registry.batchesOfDataset(pass.dataset.name)) {
      const left = output === null ? null : await pass.rewrite(output, 'id');
      if (output === null || left === null) continue;
      removed += left.removed;
      await pass.replace(output, left.digest);
      await registry.replaceBatchOutput(model, batch, left.digest, left.rows);
    }
    return removed;
  }

  return {
    async eraseRows({
      dataset,
      erasure,
    }: {
      readonly dataset: string;
      readonly erasure: number;
    }): Promise<ErasureReport> {
      const request = required(await registry.erasure(dataset, erasure), `erasure ${erasure} of ${dataset}`);
      if (request.report) return request.report;
      const record = required(await registry.dataset(dataset), `dataset ${dataset}`);
      const idColumn = record.document.id;
      if (idColumn === undefined) throw fail(FAILURES.notFound, `dataset ${dataset} names no id column any more`);
      const ids = await registry.erasureIds(dataset, erasure);
      const report = await beating(() =>
        surroundings.scratch(async (folder): Promise<ErasureReport> => {
          const pass = new Pass(ports, record, request, ids, folder);
          const models = await registry.modelsOfDataset(dataset);
          const data = await eraseData(pass, idColumn);
          const snapshots = await eraseSnapshots(pass, idColumn);
          const predictions = await erasePredictions(pass, models);
          const batches = await eraseBatches(pass);
          const labels = await registry.eraseLabels(models, ids);
          await registry.redact(dataset, models, ids);
          await pass.deleteBytes();
          return {
            rows: {
              data: data.removed,
              snapshots: snapshots.removed,
              predictions,
              labels,
              ...(batches === 0 ? {} : { batches }),
            },
            version: data.version,
            lostVersions: data.lostVersions,
            unrepeatable: snapshots.unrepeatable,
            heldElsewhere: pass.heldElsewhere,
          };
        }),
      );
      return (
        (await registry.finishErasure(dataset, erasure, report, surroundings.now().toISOString())).report ?? report
      );
    },
  };
}
