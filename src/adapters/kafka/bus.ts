/** The event bus on Kafka, by kafkajs. */
import { readFile } from 'node:fs/promises';
import { type Admin, type Consumer, type EachBatchPayload, Kafka, type KafkaConfig, logLevel } from 'kafkajs';
import type { Logger } from 'pino';
import { TOPICS, type TopicName } from '../../contracts/events.ts';
import type { BusRecord, EventBus, OutgoingRecord, Subscription } from '../../ports/bus.ts';
import type { KafkaSettings } from '../../settings.ts';
import { registerCodecs, unpackProblem } from './codecs.ts';

/** Records handed over at once: bounds the transaction and the signals that they lead to. */
const CHUNK = 500;
const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 5_000;
/** New topics are led within a second on a healthy cluster. */
const LEADER_TIMEOUT_MS = 30_000;
const BATCH_BYTES = 700_000;
/** Key, headers and framing, generously. */
const RECORD_OVERHEAD_BYTES = 500;
/** Partitions of a new topic; more let more gateways share the work. */
const PARTITIONS = 4;

async function configOf(settings: KafkaSettings, logger: Logger): Promise<KafkaConfig> {
  const { ssl, sasl } = settings;
  return {
    clientId: settings.clientId,
    brokers: [...settings.brokers],
    retry: { initialRetryTime: 100, maxRetryTime: 5_000, retries: 5 },
    logLevel: logLevel.ERROR,
    logCreator:
      () =>
      ({ log }) => {
        logger.debug({ kafka: log }, log.message);
      },
    ...(ssl === undefined
      ? {}
      : {
          ssl: {
            ...(ssl.caPath === undefined ? {} : { ca: [await readFile(ssl.caPath, 'utf8')] }),
            ...(ssl.certPath === undefined ? {} : { cert: await readFile(ssl.certPath, 'utf8') }),
            ...(ssl.keyPath === undefined ? {} : { key: await readFile(ssl.keyPath, 'utf8') }),
          },
        }),
    ...(sasl === undefined ? {} : { sasl: saslOf(sasl) }),
  };
}

/** One object a mechanism: kafkajs tells them apart by type. */
function saslOf({
  mechanism,
  username,
  password,
}: NonNullable<KafkaSettings['sasl']>): NonNullable<KafkaConfig['sasl']> {
  const given = { username, password: password.reveal() };
  switch (mechanism) {
    case 'plain':
      return { mechanism: 'plain', ...given };
    case 'scram-sha-256':
      return { mechanism: 'scram-sha-256', ...given };
    case 'scram-sha-512':
      return { mechanism: 'scram-sha-512', ...given };
  }
}

/** Groups that fit into one batch: a larger one is refused by the broker (message.max.bytes, 1 MiB by default) as a whole. */
function sendable(records: readonly OutgoingRecord[]): readonly (readonly OutgoingRecord[])[] {
  const groups: OutgoingRecord[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const record of records) {
    const size = Buffer.byteLength(record.value ?? '') + RECORD_OVERHEAD_BYTES;
    if (bytes + size > BATCH_BYTES) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)?.push(record);
    bytes += size;
  }
  return groups;
}

function textHeaders(
  headers: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>> | undefined,
): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers ?? {})) {
    const one = Array.isArray(value) ? value[0] : value;
    if (one !== undefined && one !== null) texts[name.toLowerCase()] = one.toString();
  }
  return texts;
}

/** Until each partition has a leader: before, subscribing and publishing would fail. */
async function untilLed(admin: Admin, topics: readonly string[]): Promise<void> {
  for (const deadlineMs = Date.now() + LEADER_TIMEOUT_MS; ; ) {
    try {
      const found = await admin.fetchTopicMetadata({ topics: [...topics] });
      if (found.topics.every((topic) => topic.partitions.every((partition) => partition.leader >= 0))) return;
      if (Date.now() > deadlineMs) throw new Error(`not all partitions of ${topics.join(', ')} have a leader`);
    } catch (error) {
      const mayPass = error instanceof Error && 'retriable' in error && error.retriable === true;
      if (!mayPass || Date.now() > deadlineMs) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MIN_MS));
  }
}

export async function createKafkaBus(settings: KafkaSettings, logger: Logger): Promise<EventBus> {
  registerCodecs();
  const kafka = new Kafka(await configOf(settings, logger));
  const { topicPrefix } = settings;
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false });
  let connecting: Promise<void> | null = null;
  const connected = (): Promise<void> => {
    connecting ??= producer.connect().catch((error: unknown) => {
      connecting = null;
      throw error;
    });
    return connecting;
  };

  async function handleBatch(
    payload: EachBatchPayload,
    consumer: Consumer,
    handle: (records: readonly BusRecord[]) => Promise<void>,
  ): Promise<void> {
    const { batch, heartbeat, isRunning, isStale } = payload;
    const topic = batch.topic.slice(topicPrefix.length) as TopicName;
    for (const message of batch.messages) {
      const problem = unpackProblem(message);
      if (problem !== undefined) throw new Error(`${batch.topic}/${batch.partition} cannot be unpacked: ${problem}`);
    }
    const records = batch.messages.map(
      (message): BusRecord => ({
        topic,
        partition: batch.partition,
        offset: message.offset,
        key: message.key,
        value: message.value,
        headers: textHeaders(message.headers),
        timestampMs: Number(message.timestamp),
      }),
    );
    for (let at = 0; at < records.length; at += CHUNK) {
      const chunk = records.slice(at, at + CHUNK);
      const last = chunk.at(-1);
      if (!last || !isRunning() || isStale()) return;
      const next = String(BigInt(last.offset) + 1n);
      await untilHandled(chunk, payload, handle);
      // Only now: an offset that is committed before its effect is durable loses the event with the next crash.
      await consumer.commitOffsets([{ topic: batch.topic, partition: batch.partition, offset: next }]);
      payload.resolveOffset(last.offset);
      await heartbeat();
    }
  }

  /** An outage is waited for, not dead-lettered. A rebalance ends the wait: `heartbeat` throws then, and the new owner goes on. */
  async function untilHandled(
    chunk: readonly BusRecord[],
    { heartbeat, isRunning }: EachBatchPayload,
    handle: (records: readonly BusRecord[]) => Promise<void>,
  ): Promise<void> {
    for (let waitMs = RETRY_MIN_MS; ; waitMs = Math.min(waitMs * 2, RETRY_MAX_MS)) {
      const beat = setInterval(
        () =>
          void heartbeat().catch((error: unknown) =>
            logger.debug({ err: error }, 'heartbeat refused; the batch will be given up'),
          ),
        3_000,
      );
      try {
        await handle(chunk);
        return;
      } catch (error) {
        if (!isRunning()) throw error;
        logger.warn(
          { err: error, topic: chunk[0]?.topic, partition: chunk[0]?.partition, offset: chunk[0]?.offset, waitMs },
          'records held back, trying again',
        );
        await new Promise((resolve) => setTimeout(resolve, waitMs));
        await heartbeat();
      } finally {
        clearInterval(beat);
      }
    }
  }

  return {
    async publish(topic, records) {
      await connected();
      for (const part of sendable(records))
        await producer.send({
          topic: topicPrefix + topic,
          acks: -1,
          messages: part.map(({ key, value, headers }) => ({
            key,
            value,
            ...(headers === undefined ? {} : { headers: { ...headers } }),
          })),
        });
    },

    async subscribe({ group, topics, lingerMs, handle }): Promise<Subscription> {
      let consumer: Consumer | null = null;
      let stopped = false;
      let healthy = false;
      const start = async (): Promise<void> => {
        const next = kafka.consumer({
          groupId: topicPrefix + group,
          allowAutoTopicCreation: false,
          sessionTimeout: 15_000,
          heartbeatInterval: 3_000,
          maxWaitTimeInMs: Math.max(lingerMs, 50),
          minBytes: lingerMs > 0 ? 1_000_000 : 1,
          retry: { initialRetryTime: 100, maxRetryTime: 5_000, retries: 8 },
        });
        consumer = next;
        next.on(next.events.CRASH, ({ payload }) => {
          healthy = false;
          // kafkajs restarts by itself after errors it takes for passing; after others it would stop for good, silently.
          if (payload.restart || stopped) return;
          logger.error({ err: payload.error, group }, 'consumer crashed, building it anew');
          void rebuild(next);
        });
        next.on(next.events.GROUP_JOIN, () => {
          healthy = true;
        });
        await next.connect();
        await next.subscribe({ topics: topics.map((topic) => topicPrefix + topic), fromBeginning: true });
        await next.run({
          autoCommit: false,
          eachBatchAutoResolve: false,
          partitionsConsumedConcurrently: PARTITIONS,
          eachBatch: (payload) => handleBatch(payload, next, handle),
        });
      };
      const rebuild = async (broken: Consumer): Promise<void> => {
        for (let waitMs = RETRY_MIN_MS; !stopped; waitMs = Math.min(waitMs * 2, RETRY_MAX_MS)) {
          await new Promise((resolve) => setTimeout(resolve, waitMs));
          try {
            await broken.disconnect();
            await start();
            return;
          } catch (error) {
            logger.error({ err: error, group }, 'consumer could not be built, trying again');
          }
        }
      };
      await start();
      return {
        healthy: () => healthy,
        stop: async () => {
          stopped = true;
          await consumer?.disconnect();
        },
      };
    },

    async ensureTopics() {
      const admin = kafka.admin();
      await admin.connect();
      try {
        const topics = Object.values(TOPICS).map((topic) => topicPrefix + topic);
        const present = new Set(await admin.listTopics());
        const missing = topics.filter((topic) => !present.has(topic));
        // Not `waitForLeaders`: it fails where a broker does not know yet what the controller has made.
        if (missing.length > 0)
          await admin.createTopics({
            waitForLeaders: false,
            topics: missing.map((topic) => ({ topic, numPartitions: PARTITIONS })),
          });
        await untilLed(admin, topics);
      } finally {
        await admin.disconnect();
      }
    },

    async close() {
      if (connecting) await producer.disconnect();
    },
  };
}
