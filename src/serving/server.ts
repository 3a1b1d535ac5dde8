/** The inference server: Open Inference Protocol v2 over HTTP, following the traffic plans. */
import Fastify, { type FastifyInstance } from 'fastify';
import { createAnswerer } from './answering.ts';
import { openCache } from './cache.ts';
import { createFeaturePool } from './feature-pool.ts';
import { createFollower, type Follower } from './follower.ts';
import { parseJson } from './json.ts';
import { createLookups } from './lookups.ts';
import { type InferenceServerOptions, messageOf } from './ports.ts';
import { createPredictionLog } from './prediction-log.ts';
import { registerRoutes } from './routes.ts';
import { createServingMetrics } from './serving-metrics.ts';
import { BadRequest } from './tensors.ts';

const BODY_LIMIT_BYTES = 16 * 1_024 * 1_024;
/** How long a stopping server waits for its last log rows. */
const LOG_CLOSE_MS = 5_000;

export interface InferenceServer {
  /** Where it listens, such as http://127.0.0.1:8080. */
  readonly url: string;
  /** Answers what is under way, then publishes what is logged. */
  close(): Promise<void>;
}

/** After the patience without the registry a replica may have been left out of a rollout: only the champion is safe then. */
function championOnly(follower: Follower, clock: () => Date, patienceMs: number): boolean {
  const contact = follower.lastContact();
  return contact === null || clock().getTime() - contact.getTime() > patienceMs;
}

/** Resolves when it listens, with all plans that were there taken up. @throws when the port is taken */
export async function createInferenceServer(options: InferenceServerOptions): Promise<InferenceServer> {
  const { clock, replica, registry, store } = options;
  const onProblem = options.onProblem ?? (() => undefined);
  const cache = await openCache(options.cacheFolder, store);
  const lookups = createLookups(registry, cache, onProblem);
  const features = createFeaturePool(options.createFeatureEngine, lookups);
  const follower = createFollower({
    registry,
    cache,
    loader: {
      cache,
      features,
      createScorer: options.createScorer,
      scorerThreads: options.scorerThreads ?? 1,
    },
    refreshLookups: () => lookups.refresh((spec) => features.replaceLookup(spec)),
    replica,
    clock,
    pollIntervalMs: options.pollIntervalMs ?? 1_000,
    onProblem,
  });
  const log = createPredictionLog(options.publisher, options.logBufferRows ?? 50_000, onProblem);
  const metrics = createServingMetrics({
    waitingRows: log.waitingRows,
    secondsSinceRegistry: () => {
      const contact = follower.lastContact();
      return contact === null ? -1 : (clock().getTime() - contact.getTime()) / 1_000;
    },
    lookups: lookups.held,
    plans: () => follower.models().flatMap((model) => follower.deployment(model)?.plan ?? []),
  });
  const app: FastifyInstance = Fastify({ bodyLimit: BODY_LIMIT_BYTES, forceCloseConnections: 'idle' });
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, parseJson(String(body)));
    } catch (error) {
      done(new BadRequest(`the body is no JSON: ${messageOf(error)}`));
    }
  });
  registerRoutes(app, {
    follower,
    metrics,
    answerer: createAnswerer(log, metrics, clock),
    lookups: lookups.held,
    championOnly: () => championOnly(follower, clock, options.registryPatienceMs ?? 10_000),
  });
  const stop = async (): Promise<void> => {
    await app.close();
    await follower.stop();
    await log.close(LOG_CLOSE_MS);
  };
  let stopping: Promise<void> | undefined;
  try {
    await follower.start();
    const url = await app.listen({ host: options.host, port: options.port });
    const close = (): Promise<void> => {
      stopping ??= stop();
      return stopping;
    };
    return { url, close };
  } catch (error) {
    await stop();
    throw error;
  }
}
