/** The event bus on Kafka, by kafkajs. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Admin, Kafka } from 'kafkajs';
import type { Logger } from 'pino';
import { TOPICS, type TopicName } from '../../contracts/events.ts';
import { type EventBus, type OutgoingRecord, RecordTooLarge, type Settled } from '../../ports/bus.ts';
import type { KafkaSettings } from '../../settings.ts';
import { registerCodecs } from './codecs.ts';
import { configOf } from './config.ts';
import { startConsumer } from './consumer.ts';
import { findRecord } from './find.ts';
import { batchFrom } from './records.ts';
import { createSender, isTooLarge, type Sender } from './sender.ts';

const RETRY_MS = 200;
/** New topics are led within a second on a healthy cluster. */
const LEADER_TIMEOUT_MS = 30_000;
const PING_TIMEOUT_MS = 2_000;
/** Partitions of a new topic; more let more gateways share the work. */
const PARTITIONS = 4;

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
    await delay(RETRY_MS);
  }
}

export async function createKafkaBus(settings: KafkaSettings, logger: Logger): Promise<EventBus> {
  registerCodecs();
  const kafka = new Kafka(await configOf(settings, logger));
  const { topicPrefix } = settings;
  const senders = new Map<TopicName, Sender>();
  function senderOf(topic: TopicName): Sender {
    const sender = senders.get(topic) ?? createSender(kafka, topicPrefix + topic, logger);
    senders.set(topic, sender);
    return sender;
  }

  async function withAdmin<T>(work: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = kafka.admin();
    await admin.connect();
    try {
      return await work(admin);
    } finally {
      await admin.disconnect();
    }
  }

  async function publishFirst(topic: TopicName, records: readonly OutgoingRecord[], start = 0): Promise<Settled> {
    // The broker's limit may be lower than what is usual: then fewer records fit.
    for (let batch = batchFrom(records, start); ; batch = batch.slice(0, Math.ceil(batch.length / 2))) {
      try {
        await senderOf(topic).send(batch);
        return { settled: batch.length, refusal: null };
      } catch (error) {
        if (!isTooLarge(error)) throw error;
        if (batch.length === 1) return { settled: 1, refusal: error.message };
      }
    }
  }

  return {
    async publish(topic, records) {
      for (let start = 0; start < records.length; ) {
        const { settled, refusal } = await publishFirst(topic, records, start);
        if (refusal !== null) throw new RecordTooLarge(topic, refusal);
        start += settled;
      }
    },

    publishFirst,

    subscribe: (options) => startConsumer(kafka, topicPrefix, options, logger),

    find: (place, wanted) =>
      withAdmin((admin) => findRecord({ kafka, admin, topicPrefix, logger, id: randomUUID() }, place, wanted)),

    ensureTopics: () =>
      withAdmin(async (admin) => {
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
      }),

    async ping() {
      const timeout = new AbortController();
      try {
        await Promise.race([
          withAdmin((admin) => admin.describeCluster()),
          delay(PING_TIMEOUT_MS, undefined, { signal: timeout.signal, ref: false }).then(() => {
            throw new Error(`no broker of ${settings.brokers.join(', ')} answered within ${PING_TIMEOUT_MS / 1000} s`);
          }),
        ]);
      } finally {
        timeout.abort();
      }
    },

    async close() {
      await Promise.all([...senders.values()].map((sender) => sender.close()));
    },
  };
}
