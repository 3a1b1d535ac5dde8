/** The inference server as one part: wires registry, store, ONNX runtime, DuckDB and Kafka. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { createFeatureEngine } from '../adapters/duckdb/feature-engine.ts';
import { createKafkaBus } from '../adapters/kafka/bus.ts';
import { createScorer } from '../adapters/onnx/scorer.ts';
import { openRegistry } from '../adapters/registry/index.ts';
import { openArtifactStore } from '../adapters/store/index.ts';
import { EVENT_TYPES } from '../contracts/events.ts';
import type { Settings } from '../settings.ts';
import { createInferenceServer } from './server.ts';

export interface ServingPart {
  readonly address: string;
  readonly stop: () => Promise<void>;
}

export async function startServing(settings: Settings, logger: Logger): Promise<ServingPart> {
  const registry = await openRegistry(settings.databaseUrl.reveal());
  const store = await openArtifactStore(settings);
  const bus = await createKafkaBus(settings.kafka, logger);
  const { serve } = settings.ports;
  const server = await createInferenceServer({
    registry,
    store,
    createFeatureEngine,
    createScorer,
    publisher: {
      recordOf: (prediction) => ({
        key: prediction.model,
        value: JSON.stringify({
          specversion: '1.0',
          id: `${prediction.requestId}/${prediction.role}/${prediction.row}/${randomUUID()}`,
          source: `refit/serve/${encodeURIComponent(hostname())}`,
          type: EVENT_TYPES.predictionLogged,
          subject: prediction.model,
          time: prediction.time,
          datacontenttype: 'application/json',
          data: prediction,
        }),
        headers: { 'content-type': 'application/cloudevents+json; charset=UTF-8' },
      }),
      publish: (records) => bus.publishFirst('predictions', records),
    },
    cacheFolder: join(settings.home, 'serve', String(serve)),
    host: '127.0.0.1',
    port: serve,
    // The port tells two servers of one host apart, and a restarted one is the same replica.
    replica: `${hostname()}:${serve}`,
    clock: () => new Date(),
    onProblem: (problem, error) => logger.warn({ err: error }, problem),
  });
  return {
    address: server.url,
    stop: async () => {
      await server.close();
      await bus.close();
      await registry.close();
    },
  };
}
