/** Batch scoring: asked for here, done by a workflow of its own, handed out as a file. */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { BundleManifest } from '../../contracts/bundle.ts';
import type { BatchRecord } from '../../ports/registry/batches.ts';
import type { VersionRecord } from '../../ports/registry/versions.ts';
import { ArtifactMissing, readJson } from '../../ports/store.ts';
import { ApiError, notFound } from '../errors.ts';
import type { Services } from '../services.ts';
import { versionOf } from '../why.ts';
import { datasetVersionOf, knownDataset } from './dataset-versions.ts';

const modelParams = z.object({ model: z.string().min(1).max(63) });
const batchParams = modelParams.extend({ batch: z.coerce.number().int().positive() });
const batchBody = z.strictObject({
  version: z
    .string()
    .regex(/^(champion|challenger|[1-9]\d{0,8})$/, 'the number of a version, champion or challenger')
    .default('champion'),
  dataset: z.string().min(1).max(63).optional(),
  datasetVersion: z.number().int().positive().optional(),
  actor: z.string().min(1).max(128),
  requestId: z.string().min(1).max(128).optional(),
});

export const batchRoutes =
  ({ registry, store, messenger, now }: Services): FastifyPluginAsyncZod =>
  async (app) => {
    async function known(model: string, batch: number): Promise<BatchRecord> {
      const found = await registry.batch(model, batch);
      if (!found) throw notFound(`batch ${batch} of ${model}`, 'GET /api/v1/models/MODEL/batches lists what there is');
      return found;
    }
    /** Pinned here, so that all files of a batch see the same. */
    async function joinedBy({ bundleDigest }: VersionRecord): Promise<Record<string, number>> {
      const { joins } = await readJson<BundleManifest>(store, bundleDigest);
      const joined: Record<string, number> = {};
      for (const { dataset } of joins ?? [])
        joined[dataset] = (await datasetVersionOf(registry, dataset, undefined)).version;
      return joined;
    }

    app.post(
      '/api/v1/models/:model/batches',
      { schema: { summary: 'Score a version of a dataset', params: modelParams, body: batchBody } },
      async ({ params: { model }, body }): Promise<BatchRecord> => {
        const record = await registry.model(model);
        if (!record) throw notFound(`model ${model}`, 'register it with refit apply');
        const version = await versionOf(registry, model, body.version);
        const { name: dataset } = await knownDataset(registry, body.dataset ?? record.document.dataset);
        const data = await datasetVersionOf(registry, dataset, body.datasetVersion);
        if (data.manifest.files.length === 0)
          throw new ApiError(409, `version ${data.version} of dataset ${dataset} has no rows to score`);
        const batch = await registry.requestBatch({
          ...{ model, version: version.version, dataset, datasetVersion: data.version },
          joined: await joinedBy(version),
          actor: body.actor,
          requestKey: body.requestId ?? randomUUID(),
          at: now().toISOString(),
        });
        if (batch.finishedAt === null) await messenger.batchRequested(model, batch.batch);
        return batch;
      },
    );
    app.get(
      '/api/v1/models/:model/batches',
      { schema: { summary: 'Batches of a model, newest first', params: modelParams } },
      ({ params: { model } }) => registry.batches(model, 100),
    );
    app.get(
      '/api/v1/models/:model/batches/:batch',
      { schema: { summary: 'One batch, with its rows and file once it is done', params: batchParams } },
      ({ params: { model, batch } }) => known(model, batch),
    );
    app.get(
      '/api/v1/models/:model/batches/:batch/file',
      { schema: { summary: 'The scores as Parquet', params: batchParams } },
      async ({ params: { model, batch } }, reply) => {
        const { output, failure } = await known(model, batch);
        if (output === null)
          throw new ApiError(409, `batch ${batch} of ${model} has no file: ${failure ?? 'it is under way'}`);
        try {
          const path = await store.pathOf(output);
          return await reply.type('application/vnd.apache.parquet').send(createReadStream(path));
        } catch (error) {
          if (error instanceof ArtifactMissing) throw new ApiError(409, error.message);
          throw error;
        }
      },
    );
  };
