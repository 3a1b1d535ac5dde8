/** The gateway as one part: consumers, relay, sink and HTTP, started in the order in which they need each other. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import { createDriftDetector } from '../adapters/drift.ts';
import { createDataEngine } from '../adapters/duckdb/engine.ts';
import { writePredictions } from '../adapters/duckdb/prediction-log.ts';
import { createKafkaBus } from '../adapters/kafka/bus.ts';
import { openRegistry } from '../adapters/registry/index.ts';
import { openArtifactStore } from '../adapters/store/index.ts';
import { createScratch } from '../adapters/surroundings.ts';
import { connectClient } from '../adapters/temporal/connection.ts';
import { createMessenger } from '../adapters/temporal/messenger.ts';
import type { Subscription } from '../ports/bus.ts';
import type { Settings } from '../settings.ts';
import { tracedPorts } from '../telemetry/gateway.ts';
import { checkedAll, consumerProblem } from './health.ts';
import { createHttp } from './http.ts';
import { createInbox } from './inbox.ts';
import { createUpdates } from './lifecycles.ts';
import { createMetrics, type MetricsSources } from './metrics.ts';
import { createNotifications } from './notifications/consume.ts';
import { startRelay } from './relay.ts';
import { startRetention } from './retention.ts';
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
/** They share transactions and calls to Temporal, so that a wait of one is no wait of the others. */
const EVENT_PARTITIONS_AT_ONCE = 16;
/** Each writes a file, which takes memory. */
const SINK_PARTITIONS_AT_ONCE = 4;

const mapValues = <From, To>(record: Readonly<Record<string, From>>, change: (value: From) => To): Record<string, To> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));

/** @param decorate the seam for what has to see every call of a port, such as tracing or failpoints; by default nothing sees them */
export async function startGateway(
  settings: Settings,
  logger: Logger,
  decorate: (ports: GatewayPorts) => GatewayPorts = (ports) => ports,
): Promise<Part> {
  const now = (): Date => new Date();
  const temporal = await connectClient(settings.temporal);
  const bare: GatewayPorts = {
    registry: await openRegistry(settings.databaseUrl.reveal()),
    store: await openArtifactStore(settings),
    bus: await createKafkaBus(settings.kafka, logger),
    messenger: createMessenger(temporal),
  };
  const { registry, store, bus, messenger } = decorate(settings.tracing.enabled ? tracedPorts(bare) : bare);
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
    eventRetentionMs: settings.retention.eventsMs,
  };
  const scratch = createScratch(join(settings.home, 'scratch', 'gateway'));
  const relay = startRelay(registry, bus, logger, now);
  const consumers: Record<string, Subscription> = {};
  const metrics = createMetrics({
    consumers: () => mapValues(consumers, (one) => one.state()),
    backlog: relay.backlog,
    deliveryCounts: () => registry.deliveryCounts(),
    now,
  } satisfies MetricsSources);
  const inbox = createInbox({ registry, messenger, bus, logger, now, metrics });
  const notifications = createNotifications({ registry, bus, logger, now, metrics });
  consumers.gateway = await bus.subscribe({
    group: 'gateway',
    topics: ['data', 'labels', 'drift', 'notifications'],
    lingerMs: settings.eventLingerMs,
    concurrency: EVENT_PARTITIONS_AT_ONCE,
    // Records of one call are of one partition, and so of one topic.
    handle: (records) => (records[0]?.topic === 'notifications' ? notifications(records) : inbox(records)),
  });
  consumers.sink = await bus.subscribe({
    group: 'sink',
    topics: ['predictions'],
    lingerMs: SINK_LINGER_MS,
    concurrency: SINK_PARTITIONS_AT_ONCE,
    handle: createSink({ registry, store, surroundings: { scratch }, write: writePredictions, logger }),
  });
  const retention = startRetention({ registry, store, messenger, logger, now, keep: settings.retention });
  const stateOf = (name: string): string | null => {
    const consumer = consumers[name];
    return consumer ? consumerProblem(consumer.state(), now().getTime()) : 'not started';
  };
  const http = await createHttp(
    services,
    createUpdates(temporal),
    () =>
      checkedAll({
        registry: () => registry.ping(),
        store: () => store.probe(),
        kafka: () => bus.ping(),
        events: () => stateOf('gateway'),
        sink: () => stateOf('sink'),
        temporal: () => temporal.withDeadline(Date.now() + 2_000, () => temporal.workflowService.getSystemInfo({})),
      }),
    metrics,
  );
  const address = await http.listen({ host: '127.0.0.1', port: settings.ports.gateway });
  return {
    address,
    stop: async () => {
      await http.close();
      await Promise.all([...Object.values(consumers).map((one) => one.stop()), relay.stop(), retention.stop()]);
      await bus.close();
      await temporal.connection.close();
      await registry.close();
    },
  };
}
