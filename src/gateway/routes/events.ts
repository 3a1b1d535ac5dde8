/** Events: the HTTP binding of CloudEvents, and what became of each event. */
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { MAX_EVENT_BYTES, topicOfType } from '../../contracts/events.ts';
import { FATES } from '../../contracts/values.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import { parseEventKey } from '../../domain/ids.ts';
import { RecordTooLarge } from '../../ports/bus.ts';
import type { EventRecord } from '../../ports/registry/events.ts';
import { ApiError, notFound } from '../errors.ts';
import { intakeEvent } from '../intake.ts';
import type { Services } from '../services.ts';

const OPEN_FATES: readonly string[] = ['received', 'held'];

/** From the moment it was published to its fate, in milliseconds; null while that is open, or where a publisher's clock is ahead. */
function latencyMs(publishedAt: string | null, fate: EventRecord['fates'][number]): number | null {
  if (publishedAt === null || OPEN_FATES.includes(fate.fate)) return null;
  const ms = Date.parse(fate.at) - Date.parse(publishedAt);
  return ms >= 0 ? ms : null;
}

/** @param keepMs how long it is kept once it is settled; null: for ever */
export function showEvent(event: EventRecord, keepMs: number | null) {
  const { source, id } = parseEventKey(event.key);
  const { publishedAt, receivedAt } = event;
  const lastChange = [receivedAt, ...event.fates.map((one) => one.at), ...event.deliveries.map((one) => one.at)]
    .sort()
    .at(-1);
  return {
    source,
    id,
    type: event.type,
    target: event.target,
    publishedAt,
    receivedAt,
    settled: event.settled,
    /** From when on it may be forgotten. */
    expiresAt:
      event.settled && keepMs !== null && lastChange !== undefined
        ? new Date(Date.parse(lastChange) + keepMs).toISOString()
        : null,
    /** 1, or more for a dead letter that was mended. */
    attempts: Math.max(1, ...event.deliveries.map((one) => one.attempt)),
    deliveries: event.deliveries,
    fates: event.fates
      .filter((fate) => fate.model !== '' || event.fates.length === 1)
      .map((fate) => ({ ...fate, latencyMs: latencyMs(publishedAt, fate) })),
  };
}

export type ShownEvent = ReturnType<typeof showEvent>;

/** HTTP's binary mode writes what is not printable ASCII percent-encoded. */
function attributeText(name: string, text: string): string {
  try {
    return decodeURIComponent(text.replaceAll(/%(?![0-9a-f]{2})/gi, '%25'));
  } catch {
    throw new ApiError(400, `header ${name} is not UTF-8, percent-encoded; none was taken`);
  }
}

export const eventRoutes =
  ({ registry, bus, logger, eventRetentionMs }: Services): FastifyPluginAsyncZod =>
  async (app) => {
    const show = (event: EventRecord): ShownEvent => showEvent(event, eventRetentionMs);
    app.addContentTypeParser(
      ['application/cloudevents+json', 'application/cloudevents-batch+json'],
      { parseAs: 'string' },
      app.getDefaultJsonParser('error', 'error'),
    );

    app.post(
      '/events',
      {
        bodyLimit: MAX_EVENT_BYTES * 8,
        schema: {
          summary: 'Publish one CloudEvent or a batch',
          description: 'Structured, batched, or binary mode (ce-* headers). Answers 202 once Kafka has all of them.',
          body: z.unknown(),
        },
      },
      async (request, reply) => {
        const attributes = Object.entries(request.headers).filter(([name]) => name.startsWith('ce-'));
        const isBinary = request.headers['ce-specversion'] !== undefined;
        const events: unknown[] = isBinary
          ? [
              {
                ...Object.fromEntries(
                  attributes.map(([name, value]) => [name.slice(3), attributeText(name, String(value))]),
                ),
                datacontenttype: 'application/json',
                data: request.body,
              },
            ]
          : Array.isArray(request.body)
            ? request.body
            : [request.body];
        const records = events.map((value, index) => {
          const intake = intakeEvent(value);
          if ('malformed' in intake)
            throw new ApiError(
              400,
              `event ${index + 1} of ${events.length} is malformed (${intake.malformed.reason}): ${intake.malformed.detail}; none was taken`,
            );
          const { event } = intake;
          const body = canonicalJson(value);
          if (Buffer.byteLength(body) > MAX_EVENT_BYTES)
            throw new ApiError(
              400,
              `event ${index + 1} of ${events.length} is larger than ${MAX_EVENT_BYTES} bytes; none was taken`,
            );
          const topic = topicOfType(event.type);
          if (!topic)
            throw new ApiError(
              400,
              `event ${index + 1} of ${events.length} has the unknown type ${event.type}; none was taken`,
            );
          return { topic, key: event.target.name, value: body, id: event.id, source: event.source };
        });
        try {
          for (const topic of new Set(records.map((record) => record.topic))) {
            const headers = { 'content-type': 'application/cloudevents+json; charset=UTF-8' };
            await bus.publish(
              topic,
              records.filter((record) => record.topic === topic).map(({ key, value }) => ({ key, value, headers })),
            );
          }
        } catch (error) {
          if (error instanceof RecordTooLarge)
            throw new ApiError(400, `${error.message}; events before it may be kept, repeating is harmless`);
          logger.warn({ err: error }, 'events could not be kept');
          throw new ApiError(
            503,
            'Kafka cannot be reached, so the events could not be kept; send them again, repeating is harmless',
          );
        }
        return reply.code(202).send({ accepted: records.map(({ source, id }) => ({ source, id })) });
      },
    );

    const listQuery = z.object({
      model: z.string().optional(),
      fate: z.enum(FATES).optional(),
      run: z.string().optional(),
      type: z.string().optional(),
      since: z.iso.datetime({ offset: true }).optional(),
      limit: z.coerce.number().int().min(1).max(1_000).default(50),
      before: z.string().optional(),
    });
    app.get(
      '/api/v1/events',
      { schema: { summary: 'Events, newest first', querystring: listQuery } },
      async ({ query }) => {
        const { model, fate, run, type, since, before } = query;
        const events = await registry.events({
          limit: query.limit,
          ...(model === undefined ? {} : { model }),
          ...(fate === undefined ? {} : { fate }),
          ...(run === undefined ? {} : { run }),
          ...(type === undefined ? {} : { type }),
          // As the registry writes times, since it compares texts.
          ...(since === undefined ? {} : { since: new Date(since).toISOString() }),
          ...(before === undefined ? {} : { before }),
        });
        return events.map(show);
      },
    );

    app.get(
      '/api/v1/events/show',
      { schema: { summary: 'One event', querystring: z.object({ ref: z.string() }) } },
      async ({ query }) => {
        const event = await registry.event(query.ref);
        if (event) return show(event);
        const [found, ...others] = await registry.eventsById(query.ref);
        if (!found) throw notFound(`event ${query.ref}`, 'name its id, or "SOURCE ID"');
        if (others.length > 0)
          throw new ApiError(
            409,
            `several sources use the id ${query.ref}: ${[found, ...others].map((one) => `"${one.key}"`).join(', ')}; name one of these`,
          );
        return show(found);
      },
    );

    app.get('/api/v1/events/counts', { schema: { summary: 'Deliveries by fate, each counted once' } }, () =>
      registry.deliveryCounts(),
    );
  };
