/** The gateway as one part: consumers, relay, sink and HTTP, started in the order in which they need each other. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import { createDriftDetector } from '../adapters/drift.ts';
import { createDataEngine } from '../adapters/duckdb/engine.ts';
import { writePredictions } from '../adapters/duckdb/prediction-log.ts';
import { createKafkaBus } from '../adapters/kafka/bus.ts';
import { openRegistry } from '../adapters/registry/index.ts';
import { openStore } from '../adapters/store/directory.ts';
import { createSurroundings } from '../adapters/surroundings.ts';
import { connectClient } from '../adapters/temporal/connection.ts';
import { createMessenger } from '../adapters/temporal/messenger.ts';
import type { Settings } from '../settings.ts';
import { createHttp, type Health } from './http.ts';
import { createInbox } from './inbox.ts';
import { createUpdates } from './lifecycles.ts';
import { startRelay } from './relay.ts';
import type { Services } from './services.ts';
import { createSink } from './sink.ts';

export interface Part {
  readonly address: string;
  readonly stop: () => Promise<void>;
}

/** What the gateway reaches the outside by. */
export type GatewayPorts = Pick<Services, 'registry' | 'store' | 'bus' | 'messenger'>;

/** How long predictions may be gathered before a file is written. */
const SINK_LINGER_MS = 1_000;

async function checkedAll(checks: Readonly<Record<string, () => Promise<unknown> | boolean>>): Promise<Health> {
  const entries = await Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<[string, string]> => {
      try {
        return [name, (await check()) === false ? 'not ready' : 'ok'];
      } catch (error) {
        return [name, error instanceof Error ? error.message : String(error)];
      }
    }),
  );
  return { ok: entries.every(([, state]) => state === 'ok'), checks: Object.fromEntries(entries) };
}

/** @param decorate the seam for what has to see every call of a port, such as tracing or failpoints; by default nothing sees them */
export async function startGateway(
  settings: Settings,
  logger: Logger,
  decorate: (ports: GatewayPorts) => GatewayPorts = (ports) => ports,
): Promise<Part> {
  const now = (): Date => new Date();
  const temporal = await connectClient(settings.temporal);
  const { registry, store, bus, messenger } = decorate({
    registry: await openRegistry(settings.databaseUrl),
    store: await openStore(settings.artifactsUrl),
    bus: await createKafkaBus(settings.kafka, logger),
    messenger: createMessenger(temporal),
  });
  await bus.ensureTopics();
  const services: Services = {
    registry,
    store,
    bus,
    temporal,
    messenger,
    engine: createDataEngine(),
    drift: createDriftDetector(),
    logger,
    now,
  };
  const surroundings = createSurroundings({
    scratchRoot: join(settings.home, 'scratch', 'gateway'),
    dataRoots: settings.dataRoots,
  });
  const events = await bus.subscribe({
    group: 'gateway',
    topics: ['data', 'labels', 'drift'],
    lingerMs: 0,
    handle: createInbox({ registry, messenger, bus, logger, now }),
  });
  const sink = await bus.subscribe({
    group: 'sink',
    topics: ['predictions'],
    lingerMs: SINK_LINGER_MS,
    handle: createSink({ registry, store, surroundings, write: writePredictions, logger }),
  });
  const relay = startRelay(registry, bus, logger, now);
  const http = await createHttp(services, createUpdates(temporal), () =>
    checkedAll({
      registry: () => registry.ping(),
      store: () => store.probe(),
      events: () => events.healthy(),
      sink: () => sink.healthy(),
      temporal: () => temporal.withDeadline(Date.now() + 2_000, () => temporal.workflowService.getSystemInfo({})),
    }),
  );
  const address = await http.listen({ host: '127.0.0.1', port: settings.ports.gateway });
  return {
    address,
    stop: async () => {
      await http.close();
      await Promise.all([events.stop(), sink.stop(), relay.stop()]);
      await bus.close();
      await temporal.connection.close();
      await registry.close();
    },
  };
}
