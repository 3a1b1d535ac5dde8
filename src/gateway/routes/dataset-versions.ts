/** Dataset versions: which there are, and what is other between two of them. */
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { changeText, diffVersions, type VersionDiff } from '../../domain/dataset-versions.ts';
import type { DatasetVersionRecord } from '../../ports/registry/datasets.ts';
import type { DatasetRecord } from '../../ports/registry/definitions.ts';
import type { Registry } from '../../ports/registry.ts';
import { notFound } from '../errors.ts';
import type { Services } from '../services.ts';

export interface ShownVersion {
  readonly dataset: string;
  readonly version: number;
  readonly createdAt: string;
  readonly rows: number;
  readonly newRows: number;
  readonly partitions: number;
  readonly files: number;
  readonly columns: number;
  readonly maxTime: string | null;
  /** Key of the event that made it. */
  readonly event: string;
  readonly manifest: string;
  /** One sentence on what it changed in the version before. */
  readonly change: string;
  /** The partition that it corrects, with what was there before. */
  readonly corrects: DatasetVersionRecord['corrects'];
}

export const datasetParams = z.object({ dataset: z.string().min(1).max(63) });

export async function knownDataset(
  registry: Pick<Registry, 'dataset' | 'datasets'>,
  name: string,
): Promise<DatasetRecord> {
  const record = await registry.dataset(name);
  if (record) return record;
  const names = (await registry.datasets()).map((one) => one.name);
  throw notFound(`dataset ${name}`, `known are ${names.join(', ') || 'none'}; register it with refit apply`);
}

/** @throws ApiError 404 that says which versions there are */
export async function datasetVersionOf(
  registry: Pick<Registry, 'datasetVersion' | 'latestDatasetVersion'>,
  dataset: string,
  version: number | undefined,
): Promise<DatasetVersionRecord> {
  const latest = await registry.latestDatasetVersion(dataset);
  const found = version === undefined ? latest : await registry.datasetVersion(dataset, version);
  if (found) return found;
  if (!latest) throw notFound(`a version of dataset ${dataset}`, 'no data has arrived yet; see refit publish data');
  throw notFound(`version ${version} of dataset ${dataset}`, `there are 1 to ${latest.version}`);
}

export const datasetVersionRoutes =
  ({ registry }: Services): FastifyPluginAsyncZod =>
  async (app) => {
    const shown = (record: DatasetVersionRecord, before: DatasetVersionRecord | undefined): ShownVersion => ({
      dataset: record.dataset,
      version: record.version,
      createdAt: record.createdAt,
      rows: record.manifest.rows,
      newRows: record.newRows,
      partitions: new Set(record.manifest.files.map((file) => file.partition)).size,
      files: record.manifest.files.length,
      columns: record.manifest.columns.length,
      maxTime: record.manifest.maxTime,
      event: record.eventKey,
      manifest: record.manifestDigest,
      change: changeText(diffVersions(before?.manifest ?? null, record.manifest)),
      corrects: record.corrects,
    });

    app.get(
      '/api/v1/datasets/:dataset/versions',
      {
        schema: {
          summary: 'Versions of a dataset, newest first',
          params: datasetParams,
          querystring: z.object({ limit: z.coerce.number().int().min(1).max(500).default(20) }),
        },
      },
      async ({ params, query }) => {
        await knownDataset(registry, params.dataset);
        // One more than is shown: the oldest is told against the one before it.
        const found = await registry.datasetVersions(params.dataset, query.limit + 1);
        return found.slice(0, query.limit).map((record, index) => shown(record, found[index + 1]));
      },
    );
    app.get(
      '/api/v1/datasets/:dataset/diff',
      {
        schema: {
          summary: 'What is other between two versions; by default the newest and the one before it',
          params: datasetParams,
          querystring: z.object({
            from: z.coerce.number().int().nonnegative().optional(),
            to: z.coerce.number().int().positive().optional(),
          }),
        },
      },
      async ({ params, query }): Promise<VersionDiff> => {
        await knownDataset(registry, params.dataset);
        const to = await datasetVersionOf(registry, params.dataset, query.to);
        const number = query.from ?? to.version - 1;
        const from = number === 0 ? null : await datasetVersionOf(registry, params.dataset, number);
        return diffVersions(from?.manifest ?? null, to.manifest);
      },
    );
  };
