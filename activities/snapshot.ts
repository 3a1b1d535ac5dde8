/** Snapshot: the immutable input of one run. Reads the window, runs the checks that need label or features, splits. */
import { join } from 'node:path';
import type { SnapshotManifest, SnapshotPart } from '../src/contracts/data.ts';
import { durationMs } from '../src/contracts/duration.ts';
import type { SnapshotResult, StageRequest } from '../src/contracts/messages.ts';
import { canonicalJson } from '../src/domain/canonical.ts';
import { dataWindow, inWindow } from '../src/domain/dataset.ts';
import { blockingRejection, rejection, withoutExamples } from '../src/domain/rejection.ts';
import { partsOfSnapshot } from '../src/domain/snapshots.ts';
import { DataProblem, type SnapshotFiles } from '../src/ports/data.ts';
import type { DatasetVersionRecord } from '../src/ports/registry/datasets.ts';
import type { ModelRecord } from '../src/ports/registry/definitions.ts';
import type { RunRecord } from '../src/ports/registry/runs.ts';
import { readJson } from '../src/ports/store.ts';
import { originalPath } from './artifacts.ts';
import { featuresText, pinned } from './definition.ts';
import { required } from './failures.ts';
import { beating } from './heartbeat.ts';
import { type PinnedVersions, pinnedJoins, versionsOf, withoutFiles } from './joins.ts';
import type { Ports } from './ports.ts';

export type SnapshotActivities = ReturnType<typeof createSnapshotActivities>;

type Built =
  | { readonly manifest: SnapshotManifest; readonly files: SnapshotFiles }
  | { readonly rejected: string; readonly files: SnapshotFiles };

/** @throws DataProblem where a version of an earlier release has an event time that no window can have */
function windowOf({ version, dataset, manifest }: DatasetVersionRecord, lengthMs: number | null) {
  try {
    return dataWindow(manifest.files, lengthMs);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new DataProblem(
      'time_range',
      `version ${version} of dataset ${dataset}: ${error.message}; send a correction of its partition`,
    );
  }
}

export function createSnapshotActivities(ports: Ports) {
  const { registry, store, engine, surroundings } = ports;

  async function build(
    record: ModelRecord,
    version: DatasetVersionRecord,
    joined: PinnedVersions,
    folder: string,
  ): Promise<Built> {
    const { document } = record;
    const dataset = required(await registry.dataset(document.dataset), `dataset ${document.dataset}`);
    const window = windowOf(version, document.window === undefined ? null : durationMs(document.window));
    const wanted = version.manifest.files.filter((file) => inWindow(file, window));
    const paths = await Promise.all(wanted.map((file) => originalPath(ports, file.digest, version)));
    const left = { document: dataset.document, columns: version.manifest.columns };
    const joins = await pinnedJoins(ports, document, left, window, joined);
    const files = await engine.snapshot({
      files: paths,
      columns: version.manifest.columns,
      featuresSql: await featuresText(ports, record),
      labelSql: document.label.sql,
      task: document.task,
      idColumn: dataset.document.id ?? null,
      timeColumn: dataset.document.time ?? null,
      window,
      split: document.split,
      slices: document.evaluation.slices,
      seed: document.training.seed,
      joins,
      output: folder,
    });
    const rejected = blockingRejection(files.failures);
    if (rejected !== null) return { rejected, files };
    const put = async (name: string, rows: number): Promise<SnapshotPart> => ({
      digest: (await store.putFile(join(folder, name))).digest,
      rows,
    });
    const profile = await engine.profile([join(folder, 'train.parquet')], files.features, {
      ...{ task: document.task, classes: files.classes.length },
    });
    const manifest: SnapshotManifest = {
      model: record.name,
      dataset: version.dataset,
      datasetVersion: version.version,
      definitionDigest: record.definitionDigest,
      window,
      testStart: files.testStart,
      features: files.features,
      source: files.source,
      classes: files.classes,
      parts: {
        train: await put('train.parquet', files.rows.train),
        validation: await put('validation.parquet', files.rows.validation),
        test: await put('test.parquet', files.rows.test),
      },
      reference: (await put('reference.parquet', 0)).digest,
      testSource: (await put('test_source.parquet', files.rows.test)).digest,
      profile: await store.putBytes(Buffer.from(canonicalJson(profile))),
      ...(joins.length === 0 ? {} : { joins: joins.map(withoutFiles) }),
    };
    return { manifest, files };
  }

  /** The newest version, or for a repetition the one that the repeated run saw. */
  async function versionFor(run: RunRecord, dataset: string): Promise<DatasetVersionRecord | undefined> {
    const seen = run.repeats === null ? null : required(await registry.run(run.repeats), run.repeats).datasetVersion;
    return seen === null ? registry.latestDatasetVersion(dataset) : registry.datasetVersion(dataset, seen);
  }

  /** For a repetition the versions that the repeated run joined. */
  async function joinedFor(run: RunRecord): Promise<PinnedVersions> {
    const repeated = run.repeats === null ? undefined : await registry.run(run.repeats);
    if (repeated == null || repeated.snapshot === null) return new Map();
    return versionsOf((await readJson<SnapshotManifest>(store, repeated.snapshot)).joins);
  }

  /** The erasure that took rows out of a version. Another dataset may hold its bytes still: they are not for this one's runs. */
  async function lostTo({ dataset, version, manifest }: DatasetVersionRecord): Promise<string | undefined> {
    // What the newest holds has come back after the erasure.
    if ((await registry.latestDatasetVersion(dataset))?.version === version) return undefined;
    const digests = manifest.files.map((file) => file.digest);
    return registry.erasedFrom(dataset, digests);
  }

  /** Deletes what no run will ever name. What another run names is the erasure's to rewrite, unless it has done so already. */
  async function discard(run: string, manifest: SnapshotManifest): Promise<void> {
    const named = new Set<string>();
    for (const { snapshot } of await registry.runsKept([run]))
      if (snapshot !== null)
        for (const digest of partsOfSnapshot(await readJson<SnapshotManifest>(store, snapshot))) named.add(digest);
    for (const digest of partsOfSnapshot(manifest))
      if (!named.has(digest) || (await registry.erasedFrom(manifest.dataset, [digest])) !== undefined)
        await store.remove(digest);
  }

  return {
    async buildSnapshot(request: StageRequest): Promise<SnapshotResult> {
      const run = required(await registry.run(request.run), request.run);
      if (run.snapshot !== null) {
        const done = await readJson<SnapshotManifest>(store, run.snapshot);
        return {
          status: 'ready',
          snapshot: run.snapshot,
          trainRows: done.parts.train.rows,
          testRows: done.parts.test.rows,
        };
      }
      const record = await pinned(ports, request);
      const { dataset } = record.document;
      // Before any row is read.
      const erasures = await registry.erasuresListed(dataset);
      const version = await versionFor(run, dataset);
      const lost = version && (await lostTo(version));
      if (version && lost !== undefined)
        return {
          status: 'data_rejected',
          reason: `data rejected: deleted: version ${version.version} of dataset ${dataset} can no longer be rebuilt: ${lost} took rows out of it`,
        };
      if (!version)
        return {
          status: 'data_rejected',
          reason: `data rejected: empty: dataset ${record.document.dataset} has no version yet; publish data first`,
        };
      const now = (): string => surroundings.now().toISOString();
      try {
        return await beating(() =>
          surroundings.scratch(async (folder): Promise<SnapshotResult> => {
            const built = await build(record, version, await joinedFor(run), folder);
            await registry.updateRun(
              request.run,
              { checks: built.files.failures, datasetVersion: version.version },
              now(),
            );
            if ('rejected' in built) return { status: 'data_rejected', reason: withoutExamples(built.rejected) };
            const snapshot = await store.putBytes(Buffer.from(canonicalJson(built.manifest)));
            const recorded = await registry.recordSnapshot(request.run, { snapshot, dataset, erasures }, now());
            if (recorded === 'erased') {
              await discard(request.run, built.manifest);
              throw new Error(
                `rows of dataset ${dataset} were erased while the snapshot of ${request.run} was built; it is built again`,
              );
            }
            return {
              status: 'ready',
              snapshot,
              trainRows: built.manifest.parts.train.rows,
              testRows: built.manifest.parts.test.rows,
            };
          }),
        );
      } catch (error) {
        if (!(error instanceof DataProblem)) throw error;
        const { check, column, message: detail, examples } = error;
        const checks = [{ check, column, severity: 'block', detail, examples }] as const;
        await registry.updateRun(request.run, { checks }, now());
        return { status: 'data_rejected', reason: withoutExamples(rejection({ check, column, detail, examples })) };
      }
    },
  };
}
