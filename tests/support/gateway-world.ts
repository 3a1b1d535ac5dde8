/** Gateways on the servers that all tests share: worlds with names of their own, what Kafka and Temporal say of them, and the HTTP side. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection, isGrpcServiceError, WorkflowNotFoundError } from '@temporalio/client';
import kafkajs, { type Admin, Kafka, logLevel, type Message, type Producer } from 'kafkajs';
import pino from 'pino';
import { afterAll, beforeAll, inject } from 'vitest';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { datasetSchema, modelSchema } from '../../src/contracts/documents.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { parseSettings, type Settings } from '../../src/settings.ts';
import { quietPorts, until } from './e2e-refit.ts';
import type { ShownEvent } from './e2e-stack.ts';
import { project } from './registry-fixtures.ts';

export const TIMEOUT_MS = 300_000;
/** gRPC's code. */
const NOT_FOUND = 5;
export const logger = pino({ level: 'silent' });

export let kafka: Kafka;
export let admin: Admin;
export let producer: Producer;
let connection: Connection;
export let client: Client;
const worlds: World[] = [];

/** Names of its own for everything: all tests share one Kafka and one Temporal. */
export interface World {
  readonly folder: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly settings: Settings;
  readonly registry: Registry;
  readonly prefix: string;
  readonly dataset: string;
  readonly model: string;
  readonly url: string;
}

export async function makeWorld(change: NodeJS.ProcessEnv = {}): Promise<World> {
  const name = randomUUID().slice(0, 8);
  const folder = await mkdtemp(join(tmpdir(), 'refit-gateway-'));
  const [port] = await quietPorts(1);
  const prefix = `gw-${name}.`;
  const environment = {
    REFIT_HOME: folder,
    REFIT_GATEWAY_PORT: String(port),
    REFIT_TOPIC_PREFIX: prefix,
    KAFKA_BROKERS: inject('kafkaBrokers'),
    TEMPORAL_ADDRESS: inject('temporalAddress'),
    ...change,
  };
  const settings = parseSettings(environment, folder);
  const registry = await openRegistry(settings.databaseUrl.reveal());
  const dataset = `beds-${name}`;
  const model = `blooms-${name}`;
  const applied = project([model]);
  await registry.apply({
    ...applied,
    datasets: applied.datasets.map((one) => datasetSchema.parse({ ...one, name: dataset })),
    models: applied.models.map((one) => ({ ...one, document: modelSchema.parse({ ...one.document, dataset }) })),
  });
  const world = { folder, environment, settings, registry, prefix, dataset, model, url: `http://127.0.0.1:${port}` };
  worlds.push(world);
  return world;
}

/** Connects before the tests of a file, and ends afterwards all that its worlds left. */
export function useGatewayWorlds(): void {
  beforeAll(async () => {
    kafka = new Kafka({ clientId: 'gateway-test', brokers: [inject('kafkaBrokers')], logLevel: logLevel.NOTHING });
    admin = kafka.admin();
    producer = kafka.producer({ allowAutoTopicCreation: false });
    connection = await Connection.connect({ address: inject('temporalAddress') });
    client = new Client({ connection });
    await Promise.all([admin.connect(), producer.connect()]);
  }, TIMEOUT_MS);
  afterAll(async () => {
    for (const reader of readers.values()) await reader.stop();
    for (const { folder, registry, dataset, model } of worlds) {
      // Nobody is to come upon workflows that no worker of this test ran.
      for (const id of [`dataset/${dataset}`, `lifecycle/${model}`])
        await client.workflow
          .getHandle(id)
          .terminate('the test is over')
          .catch((error: unknown) => {
            if (!(error instanceof WorkflowNotFoundError)) throw error;
          });
      await registry.close();
      await rm(folder, { recursive: true, force: true });
    }
    await Promise.all([admin.disconnect(), producer.disconnect(), connection.close()]);
  }, TIMEOUT_MS);
}

export const arrived = (dataset: string, id: string, uri = 'file:///data/a.parquet', more: object = {}) => ({
  specversion: '1.0',
  id,
  source: 'test/publisher',
  type: 'dev.refit.data.arrived.v1',
  subject: dataset,
  data: { dataset, uris: [uri] },
  ...more,
});
export const drifted = (model: string, id: string, more: object = {}) => ({
  specversion: '1.0',
  id,
  source: 'test/publisher',
  type: 'dev.refit.drift.detected.v1',
  data: {
    model,
    kind: 'data',
    window: { start: '2026-01-01T00:00:00Z', end: '2026-01-02T00:00:00Z' },
    features: [{ name: 'light', test: 'psi', score: 0.3, threshold: 0.1 }],
    ...more,
  },
});
export const value = (event: object): string => JSON.stringify(event);

/** All into one partition, so that what follows shows whether the partition moved on. Gives the offset of the first. */
export async function produce(
  world: World,
  topic: string,
  messages: readonly Omit<Message, 'partition'>[],
): Promise<bigint> {
  const [answer] = await producer.send({
    topic: world.prefix + topic,
    messages: messages.map((message) => ({ ...message, partition: 0 })),
  });
  return BigInt(answer?.baseOffset ?? -1);
}

/** What the broker says: where the group stands, and where the partition ends. */
export async function offsets(
  world: World,
  topic: string,
): Promise<{ readonly committed: number; readonly end: number }> {
  const [group] = await admin.fetchOffsets({ groupId: `${world.prefix}gateway`, topics: [world.prefix + topic] });
  const ends = await admin.fetchTopicOffsets(world.prefix + topic);
  const sum = (values: readonly string[]): number => values.reduce((total, one) => total + Math.max(0, Number(one)), 0);
  return { committed: sum(group?.partitions.map((one) => one.offset) ?? []), end: sum(ends.map((one) => one.high)) };
}
export const caughtUp = (world: World, topic: string): Promise<true> =>
  until(
    `the offset of ${topic} is committed`,
    async () => {
      // A topic that was made a moment ago may have no leader yet.
      const found = await offsets(world, topic).catch((error: unknown) => {
        if (error instanceof kafkajs.KafkaJSProtocolError && error.retriable) return null;
        throw error;
      });
      return (found !== null && found.committed === found.end) || null;
    },
    120_000,
  );

interface Read {
  readonly key: string;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
}
/** One reader for all topics of a world: joining a group takes Kafka seconds. */
interface Reader {
  readonly found: Map<string, Read[]>;
  readonly stop: () => Promise<void>;
}
const readers = new Map<World, Reader>();

async function startReader(world: World): Promise<Reader> {
  const consumer = kafka.consumer({ groupId: `reader-${randomUUID()}` });
  const topics = ['data', 'lifecycle', 'dead-letter'];
  const found = new Map(topics.map((topic) => [topic, [] as Read[]]));
  await consumer.connect();
  await consumer.subscribe({ topics: topics.map((topic) => world.prefix + topic), fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ topic, message }) => {
      const headers = Object.entries(message.headers ?? {}).map(([name, text]) => [name, String(text)]);
      found.get(topic.slice(world.prefix.length))?.push({
        key: String(message.key),
        value: message.value?.toString('utf8') ?? null,
        headers: Object.fromEntries(headers),
      });
    },
  });
  return { found, stop: () => consumer.disconnect() };
}

/** The records of a topic, those of a partition in order, once there are so many. */
export async function readTopic(world: World, topic: string, count: number): Promise<readonly Read[]> {
  const reader = readers.get(world) ?? (await startReader(world));
  readers.set(world, reader);
  const found = reader.found.get(topic) ?? [];
  await until(
    `${count} records of ${topic}`,
    () => (found.length >= count ? true : null),
    120_000,
    () => `there are ${found.length}`,
  );
  return found;
}

/** Keys that were signalled, one list a signal; null where the workflow was never started. */
export async function signals(workflowId: string, name: string): Promise<readonly (readonly string[])[] | null> {
  try {
    const { events } = await client.workflow.getHandle(workflowId).fetchHistory();
    return (events ?? []).flatMap(({ workflowExecutionSignaledEventAttributes: signalled }) => {
      if (signalled?.signalName !== name) return [];
      const [payload] = signalled.input?.payloads ?? [];
      return [JSON.parse(Buffer.from(payload?.data ?? []).toString('utf8')) as string[]];
    });
  } catch (error) {
    if (isGrpcServiceError(error) && error.code === NOT_FOUND) return null;
    throw error;
  }
}
export const signalled = async (world: World): Promise<readonly string[]> => [
  ...((await signals(`dataset/${world.dataset}`, 'dataArrived')) ?? []).flat(),
  ...((await signals(`lifecycle/${world.model}`, 'eventsArrived')) ?? []).flat(),
];

export async function get<T>(world: World, path: string): Promise<T> {
  const response = await fetch(world.url + path);
  if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}
export const shown = (world: World, id: string): Promise<ShownEvent> =>
  get<ShownEvent>(world, `/api/v1/events/show?ref=${encodeURIComponent(`test/publisher ${id}`)}`);
export async function post(
  world: World,
  body: unknown,
  headers: Readonly<Record<string, string>> = { 'content-type': 'application/cloudevents+json' },
) {
  const response = await fetch(`${world.url}/events`, {
    method: 'POST',
    headers,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return {
    status: response.status,
    body: (await response.json()) as { error?: string; accepted?: { source: string; id: string }[] },
  };
}
export const BATCH = { 'content-type': 'application/cloudevents-batch+json' };
