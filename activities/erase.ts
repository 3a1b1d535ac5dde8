/**
 * Erasure: a person's rows leave the data, the snapshots of runs, the log of predictions, the stored outcomes and what reports say. Each step is
 * an activity, long ones go slice by slice, and each can be done again: what was rewritten is found by its digest, and deleted only once the
 * registry names what took its place.
 */
import type { DataFile, DatasetManifest, SnapshotManifest } from '../src/contracts/data.ts';
import type { ErasedData, ErasureSlice, ErasureStep, ErasureTally } from '../src/contracts/messages.ts';
import { canonicalJson } from '../src/domain/canonical.ts';
import { manifestOf } from '../src/domain/dataset-versions.ts';
import { advanced, begun } from '../src/domain/erasure.ts';
import { erasureKey } from '../src/domain/ids.ts';
import { namesAny } from '../src/domain/rejection.ts';
import { sameName } from '../src/domain/texts.ts';
import type { DatasetVersionRecord } from '../src/ports/registry/datasets.ts';
import type { ErasureReport, RunHoldings } from '../src/ports/registry/erasures.ts';
import type { SinkFile } from '../src/ports/registry/monitoring.ts';
import { readJson } from '../src/ports/store.ts';
import { Pass, type Rewritten } from './erase-pass.ts';
import { required } from './failures.ts';
import { beating, stopIfCancelled } from './heartbeat.ts';
import type { Ports } from './ports.ts';

export type EraseActivities = ReturnType<typeof createEraseActivities>;

type Request = Pick<ErasureStep, 'dataset' | 'erasure'>;

export interface EraseOptions {
  /** How long one slice goes on: arrivals are taken in between, and a worker that dies costs no more than this. */
  readonly sliceMs?: number;
  /** Files of the log of predictions that are looked through at once. */
  readonly page?: number;
}

const hasColumn = ({ columns }: DatasetManifest, name: string): boolean =>
  columns.some((column) => sameName(column.name, name));

/** Each file once, with the version that brought it. */
function filesOf(
  versions: readonly DatasetVersionRecord[],
): ReadonlyMap<string, { readonly file: DataFile; readonly manifest: DatasetManifest }> {
  const files = new Map<string, { readonly file: DataFile; readonly manifest: DatasetManifest }>();
  for (const { manifest } of versions)
    for (const file of manifest.files) if (!files.has(file.digest)) files.set(file.digest, { file, manifest });
  return files;
}

export function createEraseActivities(ports: Ports, { sliceMs = 60_000, page = 500 }: EraseOptions = {}) {
  const { registry, store, engine, surroundings } = ports;
  const now = (): string => surroundings.now().toISOString();

  /** Null where the erasure is over. */
  const within = <T>(request: Request, work: (pass: Pass) => Promise<T>): Promise<T | null> =>
    beating(async () => {
      const { dataset, erasure } = request;
      const asked = required(await registry.erasure(dataset, erasure), `erasure ${erasure} of ${dataset}`);
      if (asked.report) return null;
      const record = required(await registry.dataset(dataset), `dataset ${dataset}`);
      const ids = await registry.erasureIds(dataset, erasure);
      return surroundings.scratch((folder) => work(new Pass(ports, record, asked, ids, folder)));
    });

  /** Goes on from `after` until the slice is over; what it gives then is where the next one starts. */
  async function sliced<T>(
    all: readonly T[],
    keyOf: (one: T) => string,
    after: string | null,
    work: (one: T) => Promise<void>,
  ): Promise<string | null> {
    const started = performance.now();
    const from = after === null ? 0 : all.findIndex((one) => keyOf(one) === after) + 1;
    for (const [index, one] of all.slice(from).entries()) {
      stopIfCancelled();
      await work(one);
      if (performance.now() - started >= sliceMs && from + index + 1 < all.length) return keyOf(one);
    }
    return null;
  }

  /** The version without the rows. Repeatable: the erasure's own key makes at most one. */
  async function commitVersion(pass: Pass, latest: DatasetManifest, files: readonly DataFile[]): Promise<number> {
    const { dataset, request } = pass;
    const key = erasureKey(request.erasure);
    const version = latest.version + 1;
    const paths = await Promise.all(files.map(({ digest }) => store.pathOf(digest)));
    const profile =
      paths.length === 0
        ? undefined
        : await store.putBytes(Buffer.from(canonicalJson(await engine.profile(paths, latest.columns))));
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

  /** Copies of the files that have such rows, by the digest of the file. */
  async function rewrittenFiles(
    pass: Pass,
    idColumn: string,
    earlier: readonly DatasetVersionRecord[],
  ): Promise<ReadonlyMap<string, DataFile> | { readonly failure: string }> {
    const byPath = new Map<string, { readonly file: DataFile; readonly manifest: DatasetManifest }>();
    for (const one of filesOf(earlier).values()) {
      stopIfCancelled();
      const path = await pass.path(one.file.digest);
      if (path !== null) byPath.set(path, one);
    }
    const { found, lacking } = await engine.findIds({ paths: [...byPath.keys()], ids: pass.ids, column: idColumn });
    for (const path of lacking) {
      const one = byPath.get(path);
      // A file from before the column was part of the dataset has no ids.
      if (one && hasColumn(one.manifest, idColumn))
        return {
          failure: `a file of version ${one.manifest.version} (${one.file.uri}) has no column ${idColumn}, although that version has it: whose rows it holds cannot be told`,
        };
    }
    const rewritten = new Map<string, DataFile>();
    const timeColumn = pass.dataset.document.time ?? null;
    for (const path of found) {
      const file = byPath.get(path)?.file;
      const left = file && (await pass.rewrite(file.digest, idColumn, { timeColumn }));
      if (!left || left === 'unaligned') continue;
      const { digest, bytes, rows, minTime, maxTime } = left;
      rewritten.set(file.digest, { ...file, digest, bytes, rows, minTime, maxTime });
    }
    return rewritten;
  }

  async function eraseFromVersions(
    pass: Pass,
    idColumn: string,
  ): Promise<Omit<ErasedData, 'idColumn'> | { readonly failure: string }> {
    const { dataset, request } = pass;
    const all = await registry.allDatasetVersions(dataset.name);
    const done = all.find((one) => one.eventKey === erasureKey(request.erasure));
    // Where an attempt before this one made the version, arrivals may have followed.
    const earlier = done === undefined ? all : all.filter((one) => one.version < done.version);
    const latest = earlier.at(-1);
    if (latest && !hasColumn(latest.manifest, idColumn))
      return {
        failure: `version ${latest.version} of dataset ${dataset.name} has no column ${idColumn}, which its document names as id: whose rows it holds cannot be told`,
      };
    const rewritten = await rewrittenFiles(pass, idColumn, earlier);
    if ('failure' in rewritten) return rewritten;
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
    const replaced = await pass.replaced();
    const lost = earlier.filter(({ manifest }) => manifest.files.some((file) => replaced.has(file.digest)));
    // Its frequent values may name the person.
    for (const { manifest } of lost) if (manifest.profile !== undefined) await pass.replace(manifest.profile, null);
    const made = version === null ? undefined : await registry.datasetVersion(dataset.name, version);
    const rows = made && latest ? latest.manifest.rows - made.manifest.rows : 0;
    return { rows, version, lostVersions: lost.map((one) => one.version) };
  }

  /** The trainer's predictions have the rows of the validation part and no id of their own: both as they were before this erasure. */
  async function rewritePredictions(pass: Pass, predictions: string, validation: string): Promise<void> {
    if (await pass.isReplaced(predictions)) return;
    const own = await pass.current(predictions);
    const ids = await pass.current(validation);
    const left = own === null || ids === null ? null : await pass.rewrite(own, '__id', { idsFrom: ids });
    // Stored after the part was rewritten already: which of them belongs to whom cannot be told any more.
    if (own !== null && left !== null) await pass.replace(own, left === 'unaligned' ? null : left.digest);
  }

  async function rewritePart(pass: Pass, digest: string, column: string): Promise<number | null> {
    if (await pass.isReplaced(digest)) return 0;
    const wanted = await pass.current(digest);
    const left = wanted === null ? null : await pass.rewrite(wanted, column);
    if (wanted === null || left === null || left === 'unaligned') return null;
    await pass.replace(wanted, left.digest);
    return left.removed;
  }

  /**
   * The reference has rows of the train part, in snapshots of earlier releases without the id where its name differs in case. Then they are told
   * by their place, or, where that part has more rows, not at all: the reference goes.
   */
  async function rewriteReference(pass: Pass, { parts, reference }: SnapshotManifest): Promise<void> {
    const own = await pass.current(reference);
    const train = await pass.current(parts.train.digest);
    if (own === null || train === null || (await pass.isReplaced(reference))) return;
    const left = await pass.rewrite(own, '__id', { idsFrom: train });
    if (left !== null) await pass.replace(own, left === 'unaligned' ? null : left.digest);
  }

  /** Whether the file is there and has no such column. */
  async function lacksColumn(pass: Pass, digest: string, column: string): Promise<boolean> {
    const path = await pass.path((await pass.current(digest)) ?? digest);
    return path !== null && (await engine.findIds({ paths: [path], ids: pass.ids, column })).lacking.length > 0;
  }

  /** A trainer writes what it likes; a log that names one of the ids goes as a whole. */
  async function dropLog(pass: Pass, log: string): Promise<void> {
    const own = await pass.current(log);
    if (own === null || (await pass.isReplaced(own))) return;
    const text = Buffer.from(await store.getBytes(own)).toString('utf8');
    if (namesAny(text, new Set(pass.ids))) await pass.replace(own, null);
  }

  /** Rows taken out of the snapshot of a run; null where it had none of them. */
  async function eraseSnapshot(
    pass: Pass,
    idColumn: string,
    { snapshot, predictions, log }: Pick<RunHoldings, 'snapshot' | 'predictions' | 'log'>,
  ): Promise<number | null> {
    const manifest = await readJson<SnapshotManifest>(store, snapshot);
    const { parts, reference, testSource, profile } = manifest;
    if (log !== null) await dropLog(pass, log);
    if (predictions !== null) await rewritePredictions(pass, predictions, parts.validation.digest);
    const sheets = [
      ...[parts.train, parts.validation, parts.test].map(({ digest }) => ({ digest, column: '__id' })),
      ...[reference, testSource].map((digest) => ({ digest, column: idColumn })),
    ];
    let removed: number | null = null;
    for (const { digest, column } of sheets) {
      const left = await rewritePart(pass, digest, column);
      if (left !== null) removed = (removed ?? 0) + left;
    }
    if ((await pass.isReplaced(parts.train.digest)) && (await lacksColumn(pass, reference, idColumn)))
      await rewriteReference(pass, manifest);
    if (removed !== null && profile !== undefined) await pass.replace(profile, null);
    return removed;
  }

  async function eraseFromLog(pass: Pass, models: readonly string[], files: readonly SinkFile[]): Promise<number> {
    const byPath = new Map<string, SinkFile>();
    for (const file of files) {
      const path = await pass.path(file.digest);
      if (path !== null) byPath.set(path, file);
    }
    const { found } = await engine.findIds({ paths: [...byPath.keys()], ids: pass.ids, column: 'id', models });
    let removed = 0;
    for (const path of found) {
      const file = byPath.get(path);
      const left = file && (await pass.rewrite(file.digest, 'id', { models }));
      if (!left || left === 'unaligned') continue;
      removed += left.removed;
      await pass.replace(file.digest, left.digest);
      await registry.replaceSinkFile(file, left.digest, left.rows);
      // Nothing else ever names it, and the end may be far away.
      await store.remove(file.digest);
    }
    return removed;
  }

  const steps = {
    /** The dataset's own versions. Null where the erasure is over, also because it cannot be done. */
    eraseData: (request: Request): Promise<ErasedData | null> =>
      within(request, async (pass) => {
        const { name, document } = pass.dataset;
        const erased =
          document.id === undefined
            ? { failure: `dataset ${name} names no id column any more` }
            : await eraseFromVersions(pass, document.id);
        if (!('failure' in erased)) return { ...erased, idColumn: document.id ?? '' };
        const report: ErasureReport = {
          rows: { data: 0, snapshots: 0, predictions: 0, labels: 0 },
          ...{ version: null, lostVersions: [], unrepeatable: [], heldElsewhere: 0, failure: erased.failure },
        };
        await registry.finishErasure(name, request.erasure, report, now());
        return null;
      }),

    /** Snapshots of runs. */
    eraseSnapshots: ({ idColumn, after, ...request }: ErasureStep): Promise<ErasureSlice | null> =>
      within(request, async (pass) => {
        const unrepeatable: { model: string; run: string }[] = [];
        let rows = 0;
        const runs = await registry.listRuns(request.dataset, request.erasure);
        const next = await sliced(
          runs,
          ({ run }) => run,
          after,
          async ({ run, model, ...made }) => {
            const removed = await eraseSnapshot(pass, idColumn, made);
            if (removed === null) return;
            rows += removed;
            unrepeatable.push({ model, run });
          },
        );
        return { rows, after: next, unrepeatable };
      }),

    /** The log of predictions may take days. What has been replaced before it goes now. */
    deleteErasedBytes: (request: Request): Promise<ErasureSlice | null> =>
      within(request, async (pass) => {
        await pass.deleteBytes();
        return { rows: 0, after: null };
      }),

    async erasePredictions({ after, ...request }: ErasureStep): Promise<ErasureSlice | null> {
      return within(request, async (pass) => {
        const started = performance.now();
        const models = await registry.modelsEverOf(request.dataset);
        let rows = 0;
        for (let from = after === null ? 0 : Number(after); ; ) {
          stopIfCancelled();
          const found = await registry.sinkFilesAfter(from, page);
          const wanted = found
            .map(({ file }) => file)
            .filter((file) => file.models.some((one) => models.includes(one)));
          rows += await eraseFromLog(pass, models, wanted);
          from = found.at(-1)?.seq ?? from;
          if (found.length < page) return { rows, after: null };
          if (performance.now() - started >= sliceMs) return { rows, after: String(from) };
        }
      });
    },

    /** Batches that are under way meanwhile end without a file: the registry sees to that. */
    eraseBatches: ({ after, ...request }: ErasureStep): Promise<ErasureSlice | null> =>
      within(request, async (pass) => {
        let rows = 0;
        const batches = await registry.batchesOfDataset(request.dataset);
        const next = await sliced(
          batches,
          ({ model, batch }) => `${model} ${batch}`,
          after,
          async ({ model, batch, output }) => {
            const left: Rewritten | null | 'unaligned' = output === null ? null : await pass.rewrite(output, 'id');
            if (output === null || left === null || left === 'unaligned') return;
            rows += left.removed;
            await pass.replace(output, left.digest);
            await registry.replaceBatchOutput(model, batch, left.digest, left.rows);
          },
        );
        return { rows, after: next };
      }),

    /** What the registry itself says, then all bytes that were replaced, then the ids. */
    finishErasure: ({ tally, ...request }: Request & { readonly tally: ErasureTally }): Promise<null> =>
      within(request, async (pass) => {
        const models = await registry.modelsEverOf(request.dataset);
        const labels = await registry.eraseLabels(models, pass.ids);
        await registry.redact(request.dataset, models, pass.ids);
        const { batches, ...rows } = tally.rows;
        const report: ErasureReport = {
          rows: { ...rows, labels, ...(batches === 0 ? {} : { batches }) },
          version: tally.version,
          lostVersions: tally.lostVersions,
          unrepeatable: tally.unrepeatable,
          heldElsewhere: await pass.deleteBytes(),
        };
        await registry.finishErasure(request.dataset, request.erasure, report, now());
        return null;
      }),
  };

  const sliceOf = {
    snapshots: steps.eraseSnapshots,
    predictions: steps.erasePredictions,
    batches: steps.eraseBatches,
  };

  return {
    ...steps,

    /** All steps in one: what workflows asked for before there were steps. */
    async eraseRows(request: Request): Promise<ErasureReport> {
      const { dataset, erasure } = request;
      const data = await steps.eraseData(request);
      for (let at = data && begun(erasure, data); at !== null; ) {
        const { step, idColumn, after, tally } = at;
        if (step === 'finish') {
          await steps.finishErasure({ ...request, tally });
          break;
        }
        // Bytes only at the end: an attempt that starts anew would not find what the one before it had in hand.
        const slice: ErasureSlice | null =
          step === 'bytes' ? { rows: 0, after: null } : await sliceOf[step]({ ...request, idColumn, after });
        at = slice && advanced({ ...at, step }, slice);
      }
      const { report } = required(await registry.erasure(dataset, erasure), `erasure ${erasure} of ${dataset}`);
      if (report === null) throw new Error(`erasure ${erasure} of ${dataset} came to no end`);
      return report;
    },
  };
}
