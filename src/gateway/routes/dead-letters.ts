/** Dead letters: what came and is no event, and sending it again. */
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { MAX_EVENT_BYTES } from '../../contracts/events.ts';
import type { DeadLetterRecord } from '../../ports/registry/events.ts';
import { ApiError } from '../errors.ts';
import { originText, parseOrigin } from '../intake.ts';
import { createRetries } from '../retry.ts';
import type { Services } from '../services.ts';

/** Dead letters that one request sends again; more are sent by the next. */
const MAX_RETRIES = 500;

export const deadLetterRoutes =
  ({ registry, bus, logger }: Services): FastifyPluginAsyncZod =>
  async (app) => {
    const retry = createRetries({ registry, bus });

    /** Those that nobody sent again yet, of a reason, the newest first. */
    async function waiting(reason: string | undefined): Promise<readonly string[]> {
      const found: string[] = [];
      let page: readonly DeadLetterRecord[] = await registry.deadLetters(MAX_RETRIES);
      while (page.length > 0 && found.length < MAX_RETRIES) {
        for (const letter of page)
          if (letter.retries.length === 0 && (reason === undefined || letter.reason === reason))
            found.push(originText(letter.origin));
        page = await registry.deadLetters(MAX_RETRIES, page.at(-1)?.origin);
      }
      return found.slice(0, MAX_RETRIES);
    }

    app.get(
      '/api/v1/dead-letters',
      {
        schema: {
          summary: 'Dead letters, newest first',
          querystring: z.object({
            limit: z.coerce.number().int().min(1).max(1_000).default(50),
            before: z.string().optional(),
          }),
        },
      },
      ({ query }) => {
        const before = query.before === undefined ? undefined : parseOrigin(query.before);
        if (query.before !== undefined && !before)
          throw new ApiError(400, `before is '${query.before}'; it must be TOPIC/PARTITION/OFFSET, such as data/0/17`);
        return registry.deadLetters(query.limit, before);
      },
    );

    app.post(
      '/api/v1/dead-letters/retry',
      {
        bodyLimit: MAX_EVENT_BYTES * 2,
        schema: {
          summary: 'Send dead letters again',
          description:
            'Named ones, or all that were not sent again yet (at most 500 at once). `mended` stands in for the original bytes of a single one; it keeps its source and id.',
          body: z.strictObject({
            origins: z.array(z.string().max(128)).max(MAX_RETRIES).default([]),
            all: z.boolean().default(false),
            reason: z.string().max(64).optional(),
            mended: z.unknown().optional(),
            dryRun: z.boolean().default(false),
          }),
        },
      },
      async ({ body }) => {
        const { all, reason, mended, dryRun } = body;
        if (all === body.origins.length > 0)
          throw new ApiError(400, 'name the dead letters by their origins, or give `all`, but not both');
        if (reason !== undefined && !all) throw new ApiError(400, '`reason` goes with `all`');
        if (mended !== undefined && body.origins.length !== 1)
          throw new ApiError(400, 'a mended event stands in for exactly one dead letter; name its origin');
        const origins = all ? await waiting(reason) : body.origins;
        try {
          return await retry({ origins, dryRun, ...(mended === undefined ? {} : { mended }) });
        } catch (error) {
          logger.warn({ err: error, origins: origins.length }, 'dead letters could not be sent again');
          throw new ApiError(
            503,
            `dead letters could not be sent again (${error instanceof Error ? error.message : String(error)}); repeat the command when Kafka and the registry are back: what was sent already is told and not sent twice`,
          );
        }
      },
    );
  };
