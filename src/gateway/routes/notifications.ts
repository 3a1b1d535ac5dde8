/** Notifications of object stores and of Airflow over HTTP: a webhook's way to the topic that all of them go through. */
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { MAX_EVENT_BYTES, TOPICS } from '../../contracts/events.ts';
import { RecordTooLarge } from '../../ports/bus.ts';
import { ApiError } from '../errors.ts';
import { readNotification } from '../notifications/read.ts';
import type { Services } from '../services.ts';

export const notificationRoutes =
  ({ bus, logger }: Services): FastifyPluginAsyncZod =>
  async (app) => {
    // SNS says text/plain of its JSON.
    app.addContentTypeParser('text/plain', { parseAs: 'string' }, app.getDefaultJsonParser('error', 'error'));
    app.post(
      '/notifications',
      {
        bodyLimit: MAX_EVENT_BYTES,
        schema: {
          summary: 'Tell that an object of S3 was created or an asset of Airflow updated',
          description:
            'As the store or Airflow sends it. Answers 202 once Kafka has it; which data it brings is declared by `arrivals` of the Dataset documents.',
          body: z.unknown(),
        },
      },
      async (request, reply) => {
        const reading = readNotification(request.body);
        if ('problem' in reading) throw new ApiError(400, `this is no notification: ${reading.problem}`);
        try {
          await bus.publish(TOPICS.notifications, [
            { key: null, value: JSON.stringify(request.body), headers: { 'content-type': 'application/json' } },
          ]);
        } catch (error) {
          if (error instanceof RecordTooLarge) throw new ApiError(400, error.message);
          logger.warn({ err: error }, 'a notification could not be kept');
          throw new ApiError(503, 'Kafka cannot be reached, so the notification could not be kept; send it again');
        }
        return reply.code(202).send({ notices: reading.notices.length });
      },
    );
  };
