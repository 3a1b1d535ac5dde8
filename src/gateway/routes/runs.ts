/** Runs and the decisions on them. */
import { randomUUID } from 'node:crypto';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { judgeDecision } from '../../domain/approval.ts';
import { repetitionDifferences } from '../../domain/repetition.ts';
import type { RunRecord } from '../../ports/registry/runs.ts';
import type { ApprovalRecord } from '../../ports/registry/versions.ts';
import type { Registry } from '../../ports/registry.ts';
import { ApiError, notFound } from '../errors.ts';
import type { Updates } from '../lifecycles.ts';
import type { Services } from '../services.ts';

const actor = z.string().min(1).max(128);
const runParams = z.object({ run: z.string().min(1).max(128) });

async function showApproval(registry: Registry, approval: ApprovalRecord) {
  const version = await registry.version(approval.model, approval.version);
  const champion = await registry.champion(approval.model);
  const run = await registry.run(approval.run);
  return {
    ...approval,
    trigger: run?.trigger ?? null,
    reason: run?.reason ?? null,
    metric: version?.metric ?? null,
    evaluation: version?.evaluation ?? null,
    gates: run?.gates ?? [],
    champion: champion ? { version: champion.version, metric: champion.metric } : null,
  };
}

export type ShownApproval = Awaited<ReturnType<typeof showApproval>>;

export const runRoutes =
  ({ registry, store, now }: Services, updates: Updates): FastifyPluginAsyncZod =>
  async (app) => {
    async function known(run: string): Promise<RunRecord> {
      const record = await registry.run(run);
      if (!record) throw notFound(`run ${run}`, 'see refit runs list');
      return record;
    }

    async function logText(digest: string): Promise<string> {
      const gone = (await store.has(digest)) ? undefined : await registry.deletedArtifact(digest);
      if (gone) return `deleted at ${gone.at}: ${gone.reason}`;
      return Buffer.from(await store.getBytes(digest)).toString('utf8');
    }

    app.get(
      '/api/v1/runs',
      {
        schema: {
          summary: 'Runs, newest first',
          querystring: z.object({
            model: z.string().optional(),
            limit: z.coerce.number().int().min(1).max(1_000).default(50),
          }),
        },
      },
      ({ query }) =>
        registry.runs({ limit: query.limit, ...(query.model === undefined ? {} : { model: query.model }) }),
    );
    app.get('/api/v1/runs/:run', { schema: { summary: 'One run', params: runParams } }, async ({ params }) => {
      const run = await known(params.run);
      const repeated = run.repeats === null ? null : await known(run.repeats);
      return {
        ...run,
        approval: (await registry.approval(run.run)) ?? null,
        differences: repeated === null ? null : repetitionDifferences(repeated, run),
      };
    });
    app.get(
      '/api/v1/runs/:run/logs',
      { schema: { summary: 'What the run did and what its trainer said', params: runParams } },
      async ({ params }) => {
        const run = await known(params.run);
        const audit = (await registry.audit(run.model, 1_000)).filter((row) => row.body.run === run.run);
        const trainer = run.training === null ? null : await logText(run.training.log);
        return { run: run.run, outcome: run.outcome, outcomeReason: run.outcomeReason, audit, trainer };
      },
    );
    app.post(
      '/api/v1/runs/:run/cancel',
      {
        schema: {
          summary: 'End a run',
          params: runParams,
          body: z.strictObject({ actor, reason: z.string().max(512).nullable().default(null) }),
        },
      },
      async ({ params, body }) => {
        const run = await known(params.run);
        if (run.outcome !== null) return { status: 'refused', reason: `${run.run} has ended: ${run.outcome}` };
        return updates.cancel(run.model, run.run, body);
      },
    );
    app.post(
      '/api/v1/runs/:run/rerun',
      {
        schema: {
          summary: 'Repeat a run on the same dataset version and definition',
          params: runParams,
          body: z.strictObject({
            actor,
            reason: z.string().max(512).nullable().default(null),
            requestId: z.string().min(1).max(128).optional(),
          }),
        },
      },
      async ({ params, body }) => {
        const run = await known(params.run);
        return updates.startRun(run.model, {
          actor: body.actor,
          reason: body.reason ?? `repeats ${run.run}`,
          requestId: body.requestId ?? randomUUID(),
          repeats: run.run,
        });
      },
    );

    app.get('/api/v1/approvals', { schema: { summary: 'Decisions that are waited for' } }, async () =>
      Promise.all((await registry.openApprovals()).map((approval) => showApproval(registry, approval))),
    );
    const decision = z.strictObject({
      requestId: z.string().min(1).max(128).optional(),
      actor,
      decision: z.enum(['approve', 'reject']),
      bundleDigest: z.string().regex(/^[0-9a-f]{64}$/, 'the bundle digest, 64 hexadecimal digits'),
      reason: z.string().max(512).nullable().default(null),
    });
    app.post(
      '/api/v1/runs/:run/decisions',
      { schema: { summary: 'Approve or reject', params: runParams, body: decision } },
      async ({ params, body }) => {
        const run = await known(params.run);
        const update = { ...body, requestId: body.requestId ?? randomUUID() };
        if (run.outcome === null) {
          try {
            return await updates.decide(run.model, run.run, update);
          } catch (error) {
            if (!(error instanceof ApiError) || error.statusCode !== 409) throw error;
            // A run that ended between the look and the update is judged below, like one that ended long ago. One that has not ended has nobody
            // who would act on what the registry accepts.
            if ((await known(params.run)).outcome === null)
              throw new ApiError(
                409,
                `${run.run} has no outcome, but its workflow does not run, so nothing was decided: it was ended in Temporal (the run then ends as failed by itself) or Temporal lost it (refit apply of the project starts it again; decide then)`,
              );
          }
        }
        const input = { ...update, via: 'update' as const };
        const { verdict } = await registry.recordDecision(
          run.run,
          input,
          (context) => judgeDecision(context, input),
          now().toISOString(),
        );
        return verdict.status === 'refused'
          ? { status: 'refused', reason: verdict.reason, settles: null }
          : { status: 'accepted', reason: verdict.detail, settles: verdict.settles };
      },
    );
  };
