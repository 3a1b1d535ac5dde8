/** Ingestion: what arrives is read, checked as far as no label is needed, copied into the store, and becomes one version for each event. */
import { join } from 'node:path';
import type { DataFile, DataProfile, DatasetManifest, SourceColumn } from '../src/contracts/data.ts';
import type { DatasetDocument } from '../src/contracts/documents.ts';
import { type DataArrived, dataArrivedSchema } from '../src/contracts/events.ts';
import type { IngestResult } from '../src/contracts/messages.ts';
import { DATA_FORMATS, type DataFormat } from '../src/contracts/values.ts';
import { canonicalJson } from '../src/domain/canonical.ts';
import { type Growth, grow, manifestOf } from '../src/domain/dataset-versions.ts';
import { FORMAT_ENDINGS, fileNameOf, formatOfName } from '../src/domain/formats.ts';
import { blockingRejection, rejection, withoutExamples } from '../src/domain/rejection.ts';
import { readingOf } from '../src/domain/schema.ts';
import { DataProblem } from '../src/ports/data.ts';
import type { DatasetVersionRecord } from '../src/ports/registry/datasets.ts';
import type { DatasetRecord } from '../src/ports/registry/definitions.ts';
import { ArtifactMissing, readJson } from '../src/ports/store.ts';
import type { DataPlace } from '../src/ports/surroundings.ts';
import { datasetsLookedInto, judgeArrival, type VersionBefore } from './arrival.ts';
import { required } from './failures.ts';
import { beating } from './heartbeat.ts';
import type { Ports } from './ports.ts';

export type DatasetActivities = ReturnType<typeof createDatasetActivities>;

function formatOf(uri: string, given: DataFormat | undefined): DataFormat {
  const format = given ?? formatOfName(uri);
  if (format) return format;
  throw new DataProblem(
    'format',
    `${uri}: the format cannot be told from the name (${FORMAT_ENDINGS}); give the event a format (${DATA_FORMATS.join(', ')})`,
  );
}

/** A file of the arrival, converted into scratch. The store gets it once nothing is said against it: what is refused leaves nothing there. */
interface Taken {
  readonly file: DataFile;
  readonly columns: readonly SourceColumn[];
  readonly path: string;
}

interface Place {
  /** Of the file among those of the arrival. */
  readonly index: number;
  readonly key: string;
  readonly expected: string | undefined;
  /** The arrival's first file, which makes the schema where there is no version yet. */
  readonly first: Taken | undefined;
}

type Grown = Extract<Growth, { status: 'grown' }>;

const placeOf = (record: DatasetRecord, arrived: DataArrived): DataPlace => ({
  roots: [record.root],
  // A dataset that was registered before there were any has none.
  queries: record.document.queries ?? [],
  partition: arrived.partition ?? null,
});

export function createDatasetActivities({ registry, store, engine, messenger, surroundings }: Ports) {
  async function takeFile(
    uri: string,
    arrived: DataArrived,
    record: DatasetRecord,
    folder: string,
    { index, key, expected, first }: Place,
  ): Promise<Taken> {
    const original = join(folder, `${index}.source`);
    const fetched = await surroundings.fetch(uri, placeOf(record, arrived), original);
    const { sha256 } = fetched;
    const erasure = await registry.erasedSource(record.name, sha256);
    if (erasure !== undefined) {
      throw new DataProblem(
        'erased',
        `${uri} has the bytes from which erasure ${erasure} took rows out; publish the file without them`,
      );
    }
    if (expected !== undefined && expected !== sha256) {
      throw new DataProblem('sha256', `${uri} has sha256 ${sha256}, the event says ${expected}`);
    }
    const output = join(folder, `${index}.parquet`);
    const before = (await registry.latestDatasetVersion(record.name))?.manifest.columns;
    const { document } = record;
    const converted = await engine.convert({
      path: original,
      format: fetched.format ?? formatOf(uri, arrived.format),
      timeColumn: document.time ?? null,
      output,
      name: fileNameOf(uri),
      ...readingOf(document, before),
      ...(before !== undefined || first === undefined ? {} : { only: readingOf(document, first.columns).only ?? [] }),
      ...(document.csv === undefined ? {} : { csv: document.csv }),
      ...(fetched.columns === undefined ? {} : { columns: fetched.columns }),
    });
    const file: DataFile = {
      ...(await store.nameOf(output)),
      rows: converted.rows,
      partition: arrived.partition ?? `${key}#${index}`,
      uri,
      sourceDigest: sha256,
      minTime: converted.minTime,
      maxTime: converted.maxTime,
      event: key,
    };
    return { file, columns: converted.columns, path: output };
  }

  /** None where the dataset is older than profiles, and where an erasure took it: its frequent values may have named someone. */
  async function profileOf({ profile }: DatasetManifest): Promise<DataProfile | null> {
    if (profile === undefined) return null;
    try {
      return await readJson<DataProfile>(store, profile);
    } catch (error) {
      if (error instanceof ArtifactMissing && (await registry.deletedArtifact(profile))) return null;
      throw error;
    }
  }

  const arrivedOf = (taken: readonly Taken[], growth: Grown): readonly Taken[] =>
    growth.arrived.flatMap(({ digest }) => taken.find(({ file }) => file.digest === digest) ?? []);

  async function versionBefore(manifest: DatasetManifest, growth: Grown): Promise<VersionBefore> {
    const kept = growth.files.filter((file) => !growth.arrived.includes(file));
    return {
      columns: manifest.columns,
      profile: await profileOf(manifest),
      kept: await Promise.all(
        kept.map(async ({ digest, partition }) => ({ path: await store.pathOf(digest), partition })),
      ),
    };
  }

  async function filesOfOthers(document: DatasetDocument): Promise<ReadonlyMap<string, readonly string[]>> {
    const others = new Map<string, readonly string[]>();
    for (const name of datasetsLookedInto(document)) {
      const version = await registry.latestDatasetVersion(name);
      if (version)
        others.set(name, await Promise.all(version.manifest.files.map(({ digest }) => store.pathOf(digest))));
    }
    return others;
  }

  async function checked(
    record: DatasetRecord,
    arrived: DataArrived,
    taken: readonly Taken[],
    latest: DatasetVersionRecord | undefined,
    growth: Grown,
    { key, arrivedAt }: { readonly key: string; readonly arrivedAt: string },
  ): Promise<DatasetManifest | { readonly rejected: string }> {
    const { name, document } = record;
    const files = taken.map((one) => one.file);
    const rows = files.reduce((sum, file) => sum + file.rows, 0);
    if (arrived.rows !== undefined && arrived.rows !== rows)
      throw new DataProblem('rows', `the event says ${arrived.rows} rows, the files have ${rows}`);
    const fresh = arrivedOf(taken, growth).map(({ file, columns, path }) => ({
      ...{ uri: file.uri, path, rows: file.rows, columns },
    }));
    const before = latest && (await versionBefore(latest.manifest, growth));
    const { columns, failures } = await judgeArrival(engine, {
      ...{ document, files: fresh, before: before ?? null, arrivedAt, others: await filesOfOthers(document) },
    });
    const warnings = failures.filter((failure) => failure.severity === 'warn');
    if (warnings.length > 0) {
      // Without examples, which may name a person: a chain cannot forget.
      const told = warnings.map(({ check, column, detail }) => ({ check, column, detail }));
      const body = { uris: arrived.uris, warnings: told };
      await registry.recordAudit({
        model: `dataset/${name}`,
        action: 'data.warned',
        actor: null,
        body,
        at: surroundings.now().toISOString(),
      });
    }
    const rejected = blockingRejection(failures);
    if (rejected !== null) return { rejected };
    const paths = [...(before?.kept ?? []), ...fresh].map(({ path }) => path);
    const profile = await store.putBytes(Buffer.from(canonicalJson(await engine.profile(paths, columns))));
    return manifestOf(
      { dataset: name, version: (latest?.version ?? 0) + 1, columns, event: key, profile },
      growth.files,
    );
  }

  async function commit(
    record: DatasetRecord,
    arrived: DataArrived,
    key: string,
    arrivedAt: string,
  ): Promise<IngestResult> {
    return surroundings.scratch(async (folder) => {
      const taken: Taken[] = [];
      for (const [at, given] of arrived.uris.entries()) {
        const uris = await surroundings.expand(given, placeOf(record, arrived));
        const expected = arrived.sha256?.[at];
        if (expected !== undefined && uris.length !== 1)
          throw new DataProblem('sha256', `${given} stands for ${uris.length} files; give no digest for a pattern`);
        for (const uri of uris)
          taken.push(
            await takeFile(uri, arrived, record, folder, { index: taken.length, key, expected, first: taken[0] }),
          );
      }
      for (;;) {
        const latest = await registry.latestDatasetVersion(record.name);
        const files = taken.map((one) => one.file);
        const growth = grow(latest?.manifest.files ?? [], files, arrived.partition ?? null, latest?.version ?? 0);
        if (growth.status === 'unchanged') return { status: 'refused', reason: growth.reason };
        const manifest = await checked(record, arrived, taken, latest, growth, { key, arrivedAt });
        if ('rejected' in manifest) return refused(key, manifest.rejected);
        for (const { path } of arrivedOf(taken, growth)) await store.putFile(path);
        const manifestDigest = await store.putBytes(Buffer.from(canonicalJson(manifest)));
        const newRows = growth.arrived.reduce((sum, file) => sum + file.rows, 0);
        const committed = await registry.commitDatasetVersion({
          dataset: record.name,
          version: manifest.version,
          manifestDigest,
          manifest,
          eventKey: key,
          newRows,
          createdAt: surroundings.now().toISOString(),
          corrects: growth.corrects,
        });
        if (committed !== 'conflict') return { status: 'version', version: committed.version, rows: committed.newRows };
      }
    });
  }

  /**
   * The examples of a refusal may name a person. They stand in the registry, where an erasure finds them: the history of the workflow, which
   * cannot forget, has the sentence without them.
   */
  async function refused(key: string, reason: string): Promise<IngestResult> {
    const told = withoutExamples(reason);
    if (told !== reason) await registry.setFates('', [{ key, fate: 'held', reason }], surroundings.now().toISOString());
    return { status: 'refused', reason: told };
  }

  async function reasonWithExamples(key: string, reason: string): Promise<string> {
    const kept = (await registry.fates('', [key]))[key]?.reason ?? reason;
    return withoutExamples(kept) === reason ? kept : reason;
  }

  return {
    /** Keys of arrivals that are still to be taken in, in order of arrival, those after `after`. */
    undelivered: ({
      dataset,
      after,
      limit,
    }: {
      readonly dataset: string;
      readonly after: string | null;
      readonly limit: number;
    }): Promise<readonly string[]> => registry.undelivered(dataset, limit, after ?? undefined),

    async ingest({ dataset, key }: { readonly dataset: string; readonly key: string }): Promise<IngestResult> {
      const record = required(await registry.dataset(dataset), `dataset ${dataset}`);
      const done = await registry.datasetVersionOfEvent(dataset, key);
      if (done) return { status: 'version', version: done.version, rows: done.newRows };
      const event = required(await registry.event(key), `event ${key}`);
      const settled = event.fates.find((fate) => fate.fate === 'refused');
      if (event.settled && settled) return { status: 'refused', reason: withoutExamples(settled.reason ?? 'refused') };
      const arrived = dataArrivedSchema.parse((JSON.parse(event.body) as { data: unknown }).data);
      try {
        return await beating(() => commit(record, arrived, key, event.receivedAt));
      } catch (error) {
        if (!(error instanceof DataProblem)) throw error;
        return await refused(key, rejection({ ...error, detail: error.message }));
      }
    },

    /** Settles a refusal for each subscriber, or hands the event on to them. Repeatable: the first list of subscribers stays. */
    async deliver({
      dataset,
      key,
      result,
    }: {
      readonly dataset: string;
      readonly key: string;
      readonly result: IngestResult;
    }): Promise<void> {
      const at = surroundings.now().toISOString();
      const subscribed = await registry.modelsOfDataset(dataset);
      const reason = result.status === 'refused' ? await reasonWithExamples(key, result.reason) : null;
      if (reason !== null && subscribed.length === 0) {
        await registry.setFates('', [{ key, fate: 'refused', reason }], at);
        return;
      }
      for (const model of await registry.subscribe(key, subscribed, at)) {
        if (reason !== null) await registry.setFates(model, [{ key, fate: 'refused', reason }], at);
        else await messenger.eventsArrived(model, [key]);
      }
    },
  };
}
