/** Models: apply, status, start, pause, versions, rollout, drift, audit. */
import { randomUUID } from 'node:crypto';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ModelRecord } from '../../ports/registry/definitions.ts';
import { applyProject } from '../apply.ts';
import { ApiError, notFound } from '../errors.ts';
import { historyOf } from '../history.ts';
import type { Updates } from '../lifecycles.ts';
import type { Services } from '../services.ts';
import { statusOf } from '../status.ts';
import { answerWhy } from '../why.ts';

const actor = z.string().min(1).max(128);
const modelParams = z.object({ model: z.string().min(1).max(63) });
const limitQuery = z.object({ limit: z.coerce.number().int().min(1).max(1_000).default(50) });
/** Larger than any project that `apply` bundles, in base64. */
const APPLY_LIMIT = 32 * 1_048_576;
/** A path that stays inside the project's folder wherever it is written. */
const PROJECT_PATH = /^(?!\/)(?!.*(^|\/)\.\.?(\/|$))[^\0\\]{1,512}$/;

const applyBody = z.strictObject({
  files: z.record(z.string().regex(PROJECT_PATH, 'a relative path without . or .. parts'), z.base64()),
  root: z.string().startsWith('/'),
  gitCommit: z.string().nullable().default(null),
  actor,
  dryRun: z.boolean().default(false),
});

export const modelRoutes =
  (services: Services, updates: Updates): FastifyPluginAsyncZod =>
  async (app) => {
    const { registry, now } = services;
    async function known(model: string): Promise<ModelRecord> {
      const record = await registry.model(model);
      if (!record)
        throw notFound(
          `model ${model}`,
          `known are ${(await registry.models()).map((one) => one.name).join(', ') || 'none'}; register it with refit apply`,
        );
      return record;
    }

    app.post(
      '/api/v1/apply',
      { bodyLimit: APPLY_LIMIT, schema: { summary: 'Register a model project', body: applyBody } },
      ({ body }) =>
        applyProject(services, updates, {
          ...body,
          files: new Map(Object.entries(body.files).map(([path, text]) => [path, Buffer.from(text, 'base64')])),
        }),
    );

    app.get('/api/v1/models', { schema: { summary: 'All models with their status' } }, async () =>
      Promise.all((await registry.models()).map((record) => statusOf(registry, record, now()))),
    );
    app.get(
      '/api/v1/models/:model',
      { schema: { summary: 'Status of a model', params: modelParams } },
      async ({ params }) => statusOf(registry, await known(params.model), now()),
    );
    app.get(
      '/api/v1/models/:model/history',
      { schema: { summary: 'What came in and what was made of it, for a simulation', params: modelParams } },
      async ({ params }) => historyOf(registry, await known(params.model)),
    );
    app.get(
      '/api/v1/models/:model/versions',
      { schema: { summary: 'Versions, newest first', params: modelParams } },
      async ({ params }) => {
        await known(params.model);
        return [...(await registry.versions(params.model))].sort((a, b) => b.version - a.version);
      },
    );

    app.post(
      '/api/v1/models/:model/start',
      {
        schema: {
          summary: 'Start a run by hand',
          params: modelParams,
          body: z.strictObject({
            actor,
            reason: z.string().max(512).nullable().default(null),
            requestId: z.string().min(1).max(128).optional(),
          }),
        },
      },
      async ({ params, body }) => {
        await known(params.model);
        return updates.startRun(params.model, {
          actor: body.actor,
          reason: body.reason,
          requestId: body.requestId ?? randomUUID(),
        });
      },
    );
    const pauseBody = z.strictObject({ actor, reason: z.string().max(512).nullable().default(null) });
    app.post(
      '/api/v1/models/:model/pause',
      { schema: { summary: 'Hold retraining', params: modelParams, body: pauseBody } },
      async ({ params, body }) => {
        await known(params.model);
        return updates.pause(params.model, body);
      },
    );
    app.post(
      '/api/v1/models/:model/resume',
      { schema: { summary: 'Release retraining', params: modelParams, body: pauseBody } },
      async ({ params, body }) => {
        await known(params.model);
        return updates.resume(params.model, body);
      },
    );

    app.get(
      '/api/v1/models/:model/rollout',
      {
        schema: {
          summary: 'Deployments, newest first, with the traffic plan',
          params: modelParams,
          querystring: limitQuery,
        },
      },
      async ({ params, query }) => {
        await known(params.model);
        const since = new Date(now().getTime() - 10_000).toISOString();
        const [plan, deployments, replicas] = await Promise.all([
          registry.plan(params.model),
          registry.deployments(params.model, query.limit),
          registry.replicas(params.model, since),
        ]);
        return { model: params.model, plan: plan ?? null, deployments, replicas };
      },
    );
    app.post(
      '/api/v1/models/:model/rollout/:verb',
      {
        schema: {
          summary: 'Pause, resume or abort the rollout under way',
          params: modelParams.extend({ verb: z.enum(['pause', 'resume', 'abort']) }),
          body: pauseBody,
        },
      },
      async ({ params, body }) => {
        await known(params.model);
        const active = (await registry.deployments(params.model, 20)).find((deployment) => deployment.outcome === null);
        if (!active) throw new ApiError(409, `${params.model} has no rollout under way`);
        const answer = await updates.rollout(params.model, active.deployment, params.verb, body);
        return { deployment: active.deployment, ...answer };
      },
    );
    app.post(
      '/api/v1/models/:model/rollback',
      {
        schema: {
          summary: 'Back to an earlier champion at once',
          params: modelParams,
          body: z.strictObject({
            actor,
            to: z.int().positive().nullable().default(null),
            reason: z.string().min(1).max(512),
            requestId: z.string().min(1).max(128).optional(),
          }),
        },
      },
      async ({ params, body }) => {
        await known(params.model);
        return updates.rollback(params.model, {
          actor: body.actor,
          to: body.to,
          reason: body.reason,
          requestId: body.requestId ?? randomUUID(),
        });
      },
    );

    app.get(
      '/api/v1/models/:model/drift',
      { schema: { summary: 'Sweeps, newest first', params: modelParams, querystring: limitQuery } },
      async ({ params, query }) => {
        await known(params.model);
        return registry.sweeps(params.model, query.limit);
      },
    );
    app.get(
      '/api/v1/models/:model/audit',
      { schema: { summary: 'The audit chain', params: modelParams, querystring: limitQuery } },
      async ({ params, query }) => {
        await known(params.model);
        return registry.audit(params.model, query.limit);
      },
    );
    const headQuery = z.object({
      sequence: z.coerce.number().int().positive().optional(),
      hash: z
        .string()
        .regex(/^[0-9a-f]{64}$/)
        .optional(),
    });
    app.get(
      '/api/v1/models/:model/audit/verify',
      {
        schema: {
          summary: 'Verify the audit chain, also against a head kept elsewhere',
          params: modelParams,
          querystring: headQuery,
        },
      },
      async ({ params, query }) => {
        await known(params.model);
        const { sequence, hash } = query;
        return registry.verifyAudit(
          params.model,
          sequence === undefined || hash === undefined ? undefined : { sequence, hash },
        );
      },
    );
    app.get(
      '/api/v1/why',
      {
        schema: {
          summary: 'Why: a version, a run or an event',
          querystring: z.object({ ref: z.string().min(1).max(1_024) }),
        },
      },
      ({ query }) => answerWhy(registry, query.ref),
    );
    app.get('/api/v1/datasets', { schema: { summary: 'Datasets with their newest version' } }, async () =>
      Promise.all(
        (await registry.datasets()).map(async ({ name, document }) => {
          const latest = await registry.latestDatasetVersion(name);
          return {
            dataset: name,
            id: document.id ?? null,
            time: document.time ?? null,
            version: latest?.version ?? null,
            rows: latest?.manifest.rows ?? 0,
            maxTime: latest?.manifest.maxTime ?? null,
          };
        }),
      ),
    );
  };
