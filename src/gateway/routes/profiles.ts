/** Profiles: of a dataset version, and of what a model's newest snapshot trained on, with how each feature goes with the label. */
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { DataProfile, SnapshotManifest } from '../../contracts/data.ts';
import { readJson } from '../../ports/store.ts';
import { notFound } from '../errors.ts';
import type { Services } from '../services.ts';
import { datasetParams, datasetVersionOf, knownDataset } from './dataset-versions.ts';

export interface ShownProfile {
  readonly dataset: string;
  readonly version: number;
  /** The run whose train part it is of; null for a dataset version. */
  readonly run: string | null;
  readonly profile: DataProfile;
}

/** Runs that are looked through for one with a snapshot. */
const RUNS = 50;

export const profileRoutes =
  ({ registry, store }: Services): FastifyPluginAsyncZod =>
  async (app) => {
    app.get(
      '/api/v1/datasets/:dataset/profile',
      {
        schema: {
          summary: 'The profile of a dataset version; by default of the newest',
          params: datasetParams,
          querystring: z.object({ version: z.coerce.number().int().positive().optional() }),
        },
      },
      async ({ params, query }): Promise<ShownProfile> => {
        await knownDataset(registry, params.dataset);
        const { dataset, version, manifest } = await datasetVersionOf(registry, params.dataset, query.version);
        if (manifest.profile === undefined)
          throw notFound(
            `a profile of version ${version} of ${dataset}`,
            'it was taken in by a release without profiles',
          );
        return { dataset, version, run: null, profile: await readJson<DataProfile>(store, manifest.profile) };
      },
    );
    app.get(
      '/api/v1/models/:model/profile',
      {
        schema: {
          summary: "The profile of the features of a model's newest snapshot, over its train part",
          params: z.object({ model: z.string().min(1).max(63) }),
        },
      },
      async ({ params: { model } }): Promise<ShownProfile> => {
        if (!(await registry.model(model)))
          throw notFound(
            `model ${model}`,
            `known are ${(await registry.models()).map(({ name }) => name).join(', ') || 'none'}`,
          );
        for (const { run, snapshot } of await registry.runs({ model, limit: RUNS })) {
          if (snapshot === null) continue;
          const manifest = await readJson<SnapshotManifest>(store, snapshot);
          if (manifest.profile === undefined) continue;
          const profile = await readJson<DataProfile>(store, manifest.profile);
          return { dataset: manifest.dataset, version: manifest.datasetVersion, run, profile };
        }
        throw notFound(`a profile of ${model}`, 'no run has a snapshot with one yet; start one with refit start');
      },
    );
  };
