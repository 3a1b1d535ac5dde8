/** The HTTP side of the gateway: CloudEvents in, the API of the CLI, health, metrics, OpenAPI. */
import swagger from '@fastify/swagger';
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { ApiError } from './errors.ts';
import type { Health } from './health.ts';
import type { Updates } from './lifecycles.ts';
import type { GatewayMetrics } from './metrics.ts';
import { batchRoutes } from './routes/batches.ts';
import { datasetVersionRoutes } from './routes/dataset-versions.ts';
import { deadLetterRoutes } from './routes/dead-letters.ts';
import { erasureRoutes } from './routes/erasures.ts';
import { eventRoutes } from './routes/events.ts';
import { modelRoutes } from './routes/models.ts';
import { notificationRoutes } from './routes/notifications.ts';
import { profileRoutes } from './routes/profiles.ts';
import { runRoutes } from './routes/runs.ts';
import type { Services } from './services.ts';

export async function createHttp(
  services: Services,
  updates: Updates,
  health: () => Promise<Health>,
  metrics: Pick<GatewayMetrics, 'contentType' | 'text'>,
): Promise<FastifyInstance> {
  const { logger } = services;
  // By this type, else the app would be one of pino's logger and of no other.
  const loggerInstance: FastifyBaseLogger = logger;
  const app = fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    forceCloseConnections: 'idle',
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Refit gateway',
        version: '1',
        description: 'Events in; models, runs, approvals, rollouts and answers out.',
      },
    },
    transform: jsonSchemaTransform,
  });
  app.setErrorHandler(
    (error: Error & { readonly statusCode?: number; readonly validation?: unknown }, request, reply) => {
      if (error instanceof ApiError)
        return reply
          .code(error.statusCode)
          .send({ error: error.message, ...(error.details === undefined ? {} : { details: error.details }) });
      const status = error.statusCode ?? 500;
      if (status >= 500) logger.error({ err: error, url: request.url }, 'request failed');
      return reply.code(status).send({ error: error.message });
    },
  );
  app.setNotFoundHandler((request, reply) =>
    reply.code(404).send({ error: `${request.method} ${request.url} is not known; GET /openapi.json lists what is` }),
  );

  app.get('/metrics', { schema: { hide: true } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.text()),
  );
  app.get(
    '/health',
    { schema: { summary: 'Whether the gateway takes events and answers' } },
    async (_request, reply) => {
      const state = await health();
      return reply.code(state.ok ? 200 : 503).send({ status: state.ok ? 'ok' : 'unhealthy', checks: state.checks });
    },
  );
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());

  await app.register(eventRoutes(services));
  await app.register(notificationRoutes(services));
  await app.register(deadLetterRoutes(services));
  await app.register(modelRoutes(services, updates));
  await app.register(batchRoutes(services));
  await app.register(runRoutes(services, updates));
  await app.register(datasetVersionRoutes(services));
  await app.register(erasureRoutes(services));
  await app.register(profileRoutes(services));
  await app.ready();
  return app;
}
