/**
 * Batch scoring: one activity for each file of the dataset version, then one that makes one file of the scores. Each can be done again:
 * what a file gave is named by its digest, and the registry keeps the first end.
 */
import { join } from 'node:path';
import type { BundleManifest } from '../src/contracts/bundle.ts';
import type { BatchEnd, BatchPlan, BatchRequest } from '../src/contracts/messages.ts';
import { DataProblem, ModelProblem } from '../src/ports/data.ts';
import type { BatchRecord } from '../src/ports/registry/batches.ts';
import type { DatasetVersionRecord } from '../src/ports/registry/datasets.ts';
import { readJson } from '../src/ports/store.ts';
import { originalPath } from './artifacts.ts';
import { FAILURES, fail, required } from './failures.ts';
import { beating } from './heartbeat.ts';
import { joinsWithFiles } from './joins.ts';
import type { Ports } from './ports.ts';

export type BatchActivities = ReturnType<typeof createBatchActivities>;

const endOf = ({ rows, output, failure }: BatchRecord): BatchEnd =>
  rows !== null && output !== null
    ? { status: 'done', rows, output }
    : { status: 'failed', reason: failure ?? 'it ended without a file' };

/** Also keeps the bytes of one batch from being those of another, so that each can be deleted by itself. */
const aboutOf = ({ model, batch, version, dataset, datasetVersion }: BatchRecord): Record<string, string> => ({
  refit_model: `${model}@${version}`,
  refit_data: `${dataset}@${datasetVersion}`,
  refit_batch: String(batch),
});

export function createBatchActivities(ports: Ports) {
  const { registry, store, batchScorer, surroundings } = ports;

  const known = async ({ model, batch }: BatchRequest): Promise<BatchRecord> =>
    required(await registry.batch(model, batch), `batch ${batch} of ${model}`);
  const dataOf = async ({ dataset, datasetVersion }: BatchRecord): Promise<DatasetVersionRecord> =>
    required(await registry.datasetVersion(dataset, datasetVersion), `version ${datasetVersion} of ${dataset}`);
  const now = (): string => surroundings.now().toISOString();

  async function scoreFile(record: BatchRecord, index: number, folder: string): Promise<string> {
    const { model, version, dataset, joined } = record;
    const data = await dataOf(record);
    const file = required(data.manifest.files[index], `file ${index} of version ${data.version} of ${dataset}`);
    const { document } = required(await registry.dataset(dataset), `dataset ${dataset}`);
    const { bundleDigest } = required(await registry.version(model, version), `version ${version} of ${model}`);
    const bundle = await readJson<BundleManifest>(store, bundleDigest);
    const output = join(folder, 'scores.parquet');
    await batchScorer.score({
      files: [await originalPath(ports, file.digest, data)],
      columns: data.manifest.columns,
      featuresSql: Buffer.from(await store.getBytes(bundle.featuresSql)).toString('utf8'),
      ...{ source: bundle.source, features: bundle.features, task: bundle.task, classes: bundle.classes },
      ...{ idColumn: document.id ?? null, timeColumn: document.time ?? null },
      joins: await joinsWithFiles(ports, bundle.joins ?? [], new Map(Object.entries(joined))),
      onnx: await store.pathOf(bundle.onnx),
      ...{ version, about: { ...aboutOf(record), refit_part: String(index) } },
      output,
    });
    return (await store.putFile(output)).digest;
  }

  const joined = (
    record: BatchRecord,
    parts: readonly string[],
  ): Promise<{ readonly rows: number; readonly output: string }> =>
    surroundings.scratch(async (folder) => {
      const output = join(folder, 'batch.parquet');
      const paths = await Promise.all(parts.map((digest) => store.pathOf(digest)));
      const { rows } = await batchScorer.join(paths, output, aboutOf(record));
      return { rows, output: (await store.putFile(output)).digest };
    });

  async function removeAll(digests: readonly string[]): Promise<void> {
    for (const digest of digests) await store.remove(digest);
  }

  return {
    async planBatch(request: BatchRequest): Promise<BatchPlan> {
      const record = await known(request);
      const { manifest } = await dataOf(record);
      const ended = record.finishedAt === null ? null : endOf(record);
      return { version: record.version, files: manifest.files.length, ended };
    },

    /** The digest of the file's scores. */
    async scoreBatchFile(request: BatchRequest & { readonly file: number }): Promise<string> {
      const record = await known(request);
      try {
        return await beating(() => surroundings.scratch((folder) => scoreFile(record, request.file, folder)));
      } catch (error) {
        if (error instanceof DataProblem) throw fail(FAILURES.data, error.message);
        if (error instanceof ModelProblem) throw fail(FAILURES.model, error.message);
        throw error;
      }
    },

    /**
     * The parts are deleted once the registry has the whole, or refused it: as long as they are there, so may be a whole that nobody knows of,
     * and making it again tells its digest.
     */
    async joinBatch(request: BatchRequest & { readonly parts: readonly string[] }): Promise<BatchEnd> {
      let record = await known(request);
      const held = await Promise.all(request.parts.map((digest) => store.has(digest)));
      if (record.finishedAt === null || (record.output === null && held.every(Boolean))) {
        const made = await beating(() => joined(record, request.parts));
        record = await registry.finishBatch(request.model, request.batch, made, now());
        if (record.output !== made.output) await store.remove(made.output);
      }
      await removeAll(request.parts);
      return endOf(record);
    },

    async failBatch(
      request: BatchRequest & { readonly parts: readonly string[]; readonly reason: string },
    ): Promise<BatchEnd> {
      const { model, batch, parts, reason } = request;
      const record = await registry.finishBatch(model, batch, { failure: reason }, now());
      await removeAll(parts);
      return endOf(record);
    },
  };
}
