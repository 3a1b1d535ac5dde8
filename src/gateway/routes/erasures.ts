/** Erasure of rows by id: asked for here, done by the dataset's workflow between two arrivals. */
import { randomUUID } from 'node:crypto';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { ApiError, notFound } from '../errors.ts';
import type { Services } from '../services.ts';
import { datasetParams, knownDataset } from './dataset-versions.ts';

/** More are asked for by several requests. */
export const MOST_ERASED_IDS = 10_000;

export const erasureRoutes =
  ({ registry, messenger, now }: Services): FastifyPluginAsyncZod =>
  async (app) => {
    app.post(
      '/api/v1/datasets/:dataset/erasures',
      {
        schema: {
          summary: 'Erase the rows of ids from data, snapshots, predictions, outcomes and reports',
          params: datasetParams,
          body: z.strictObject({
            ids: z.array(z.string().min(1).max(512)).min(1).max(MOST_ERASED_IDS),
            actor: z.string().min(1).max(128),
            reason: z.string().max(512).nullable().default(null),
            requestId: z.string().min(1).max(128).optional(),
          }),
        },
      },
      async ({ params, body }) => {
        const { name, document } = await knownDataset(registry, params.dataset);
        if (document.id === undefined)
          throw new ApiError(
            409,
            `dataset ${name} names no id column, so nobody's rows can be told apart; add \`id\` to its document`,
          );
        const { erasure } = await registry.requestErasure({
          dataset: name,
          requestKey: body.requestId ?? randomUUID(),
          ids: body.ids,
          actor: body.actor,
          reason: body.reason,
          at: now().toISOString(),
        });
        await messenger.erasureRequested(name, [erasure]);
        return { dataset: name, erasure };
      },
    );
    app.get(
      '/api/v1/datasets/:dataset/erasures',
      { schema: { summary: 'Erasures, newest first; none of them names an id', params: datasetParams } },
      async ({ params }) => {
        const { name } = await knownDataset(registry, params.dataset);
        return registry.erasures(name, 100);
      },
    );
    app.get(
      '/api/v1/datasets/:dataset/erasures/:erasure',
      {
        schema: {
          summary: 'One erasure, with its report once it is done',
          params: datasetParams.extend({ erasure: z.coerce.number().int().positive() }),
        },
      },
      async ({ params }) => {
        const { name } = await knownDataset(registry, params.dataset);
        const found = await registry.erasure(name, params.erasure);
        if (!found) throw notFound(`erasure ${params.erasure} of dataset ${name}`, 'see refit data erasures');
        return found;
      },
    );
  };
