/**
 * Events of 1 KB for 50 models, produced while they are consumed: how many a second the gateway takes in, and how many a second have their
 * fate. Against a bare consumer of the same topic, and against one signal an event to a workflow that only counts.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DatabaseSync } from '@photostructure/sqlite';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { Kafka, logLevel, type Producer } from 'kafkajs';
import { bundleWorkflows } from '../src/local/bundle.ts';
import { quietPorts, startPart } from '../tests/support/e2e-refit.ts';
import { type TestServers, temporaryHome } from '../tests/support/stack.ts';
import { quietRuntime } from '../tests/support/workflow-runtime.ts';
import { writeModels } from './models.ts';
import { say, tellRatio, until } from './report.ts';

const MODELS = 50;
const EVENTS = 100_000;
const BATCH = 500;
/** One signal an event is slow: fewer tell as much. */
const SIGNALLED = 1_000;

const modelOf = (index: number): string => `bench-${index % MODELS}`;

function eventOf(index: number): { readonly key: string; readonly value: string } {
  const model = modelOf(index);
  const window = { start: '2026-01-01T00:00:00Z', end: '2026-01-02T00:00:00Z' };
  const data = { model, kind: 'data', window, verdict: 'suspected', reportUri: 'x'.repeat(640) };
  const event = { specversion: '1.0', id: `e-${index}`, source: 'bench', type: 'dev.refit.drift.detected.v1', data };
  return { key: model, value: JSON.stringify({ ...event, datacontenttype: 'application/json' }) };
}

async function produce(producer: Producer, topic: string, count: number): Promise<void> {
  for (let at = 0; at < count; at += BATCH) {
    const messages = Array.from({ length: Math.min(BATCH, count - at) }, (_, index) => ({
      ...eventOf(at + index),
      headers: { 'content-type': 'application/cloudevents+json' },
    }));
    await producer.send({ topic, messages, acks: -1 });
  }
}

/** Asked of the registry's file itself: counting by the gateway would be work for the gateway. */
function watch(home: string): { readonly count: (sql: string) => number; readonly close: () => void } {
  const file = new DatabaseSync(join(home, 'refit.db'), { readOnly: true });
  return {
    count: (sql) => Number((file.prepare(`SELECT count(*) AS n FROM ${sql}`).get() as { n: number }).n),
    close: () => file.close(),
  };
}

/** Seconds until all are taken in, and until all have their fate. */
async function refitSeconds(servers: TestServers, kafka: Kafka): Promise<{ takenIn: number; handled: number }> {
  const home = await temporaryHome('bench');
  const [gatewayPort = 0] = await quietPorts(1);
  const topicPrefix = `bench-${process.pid}.`;
  const env = {
    REFIT_HOME: home,
    REFIT_GATEWAY_PORT: String(gatewayPort),
    REFIT_URL: `http://127.0.0.1:${gatewayPort}`,
    ...{ REFIT_TOPIC_PREFIX: topicPrefix, REFIT_PYTHON: servers.pythonPath, REFIT_LOG_LEVEL: 'warn' },
    ...{ TEMPORAL_ADDRESS: servers.temporalAddress, KAFKA_BROKERS: servers.kafkaBrokers },
  };
  const place = { cwd: home, env };
  const gateway = await startPart('gateway', place);
  const worker = await startPart('worker', place);
  const producer = kafka.producer({ idempotent: true });
  try {
    await writeModels(home, MODELS, place);
    await producer.connect();
    const registry = watch(home);
    const started = performance.now();
    const producing = produce(producer, `${topicPrefix}drift`, EVENTS);
    const took = (): number => (performance.now() - started) / 1_000;
    const takenIn = await until('all are taken in', async () =>
      registry.count('deliveries') >= EVENTS ? took() : null,
    );
    await producing;
    const handled = await until('all have their fate', async () =>
      registry.count('events WHERE settled = 1') >= EVENTS ? took() : null,
    );
    registry.close();
    return { takenIn, handled };
  } finally {
    await producer.disconnect();
    await worker.end();
    await gateway.end();
  }
}

/** Consumes the same records and does nothing with them, while they are produced. */
async function bareConsumerSeconds(kafka: Kafka): Promise<number> {
  const topic = `bench-bare-${process.pid}`;
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 6 }], waitForLeaders: true });
  await admin.disconnect();
  const consumer = kafka.consumer({ groupId: topic });
  const producer = kafka.producer({ idempotent: true });
  await Promise.all([consumer.connect(), producer.connect()]);
  await consumer.subscribe({ topic, fromBeginning: true });
  let seen = 0;
  await consumer.run({
    eachBatch: async ({ batch }) => {
      seen += batch.messages.length;
    },
  });
  await until('the group has joined', async () => ((await consumer.describeGroup()).state === 'Stable' ? true : null));
  const started = performance.now();
  const producing = produce(producer, topic, EVENTS);
  await until('all are consumed', async () => (seen >= EVENTS ? true : null));
  const seconds = (performance.now() - started) / 1_000;
  await producing;
  await Promise.all([consumer.disconnect(), producer.disconnect()]);
  return seconds;
}

/** What people write first: for each record a signal, one after another. */
async function oneSignalAnEventSeconds(servers: TestServers): Promise<number> {
  quietRuntime();
  const connection = await Connection.connect({ address: servers.temporalAddress });
  const native = await NativeConnection.connect({ address: servers.temporalAddress });
  const client = new Client({ connection });
  const code = await bundleWorkflows(fileURLToPath(new URL('workflows.ts', import.meta.url)));
  const worker = await Worker.create({ connection: native, taskQueue: 'bench', workflowBundle: { code } });
  const working = worker.run();
  const idOf = (index: number): string => `counting-${process.pid}-${modelOf(index)}`;
  try {
    const started = performance.now();
    for (let index = 0; index < SIGNALLED; index += 1) {
      await client.workflow.signalWithStart('counting', {
        ...{ workflowId: idOf(index), taskQueue: 'bench', args: [] },
        ...{ signal: 'key', signalArgs: [eventOf(index).value] },
      });
    }
    const ids = [...new Set(Array.from({ length: SIGNALLED }, (_, index) => idOf(index)))];
    await until('all are counted', async () => {
      const handled = await Promise.all(ids.map((id) => client.workflow.getHandle(id).query<number>('handled')));
      return handled.reduce((total, one) => total + one, 0) >= SIGNALLED ? true : null;
    });
    const seconds = (performance.now() - started) / 1_000;
    await Promise.all(ids.map((id) => client.workflow.getHandle(id).terminate()));
    return seconds;
  } finally {
    worker.shutdown();
    await working;
    await native.close();
    await connection.close();
  }
}

export async function gatewayBench(servers: TestServers): Promise<void> {
  const kafka = new Kafka({ clientId: 'bench', brokers: servers.kafkaBrokers.split(','), logLevel: logLevel.ERROR });
  const rate = (count: number, seconds: number): number => count / seconds;
  const bare = rate(EVENTS, await bareConsumerSeconds(kafka));
  const signalled = rate(SIGNALLED, await oneSignalAnEventSeconds(servers));
  const { takenIn, handled } = await refitSeconds(servers, kafka);
  const show = (value: number): string => `${Math.round(value).toLocaleString('en-US')} events/s`;
  say(`bare consumer: ${show(bare)}`);
  say(`one signal an event, until counted: ${show(signalled)}`);
  say(`Refit, taken in (inbox, signals, offsets): ${show(rate(EVENTS, takenIn))}`);
  say(`Refit, until each event has its fate in the registry: ${show(rate(EVENTS, handled))}`);
  tellRatio({
    name: 'handled, against one signal an event',
    value: rate(EVENTS, handled) / signalled,
    target: 100,
    atLeast: true,
  });
  tellRatio({
    name: 'taken in, against a bare consumer',
    value: rate(EVENTS, takenIn) / bare,
    target: 0.5,
    atLeast: true,
  });
}
