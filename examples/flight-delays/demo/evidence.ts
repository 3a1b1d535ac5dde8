/**
 * What Kafka, Temporal and the registry themselves say of the story, read without any code of Refit: the figures of the
 * report are recomputed from it.
 */
import { DatabaseSync } from '@photostructure/sqlite';
import { Client, Connection } from '@temporalio/client';
import { Kafka, logLevel } from 'kafkajs';
import { type Addresses, MODEL } from './story.ts';

export interface KafkaRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly value: string;
}

const READ_MS = 300_000;

/** All records of some topics, from the first to those that are there when this is called. */
export async function readTopics(addresses: Addresses, names: readonly string[]): Promise<readonly KafkaRecord[]> {
  const kafka = new Kafka({ clientId: 'demo-checker', brokers: [...addresses.kafka], logLevel: logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  const ends = new Map<string, bigint>();
  for (const name of names) {
    for (const { partition, high, low } of await admin.fetchTopicOffsets(addresses.topicPrefix + name)) {
      if (BigInt(high) > BigInt(low)) ends.set(`${name}/${partition}`, BigInt(high));
    }
  }
  await admin.disconnect();
  if (ends.size === 0) return [];
  /** By place: a consumer that starts anew reads them once more. */
  const records = new Map<string, KafkaRecord>();
  const consumer = kafka.consumer({ groupId: `demo-checker-${process.pid}-${Date.now()}` });
  await consumer.connect();
  await consumer.subscribe({ topics: names.map((name) => addresses.topicPrefix + name), fromBeginning: true });
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(
      () =>
        reject(
          new Error(`Kafka did not give ${[...ends.keys()].join(', ')} to their ends within ${READ_MS / 1_000} s`),
        ),
      READ_MS,
    );
    // From others it starts anew by itself.
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (!payload.restart) reject(payload.error);
    });
    consumer
      .run({
        autoCommit: false,
        eachMessage: async ({ topic, partition, message }) => {
          const name = topic.slice(addresses.topicPrefix.length);
          const end = ends.get(`${name}/${partition}`);
          if (end === undefined || BigInt(message.offset) >= end) return;
          records.set(`${name}/${partition}/${message.offset}`, {
            topic: name,
            partition,
            offset: message.offset,
            value: message.value?.toString('utf8') ?? '',
          });
          if (BigInt(message.offset) + 1n >= end) ends.delete(`${name}/${partition}`);
          if (ends.size > 0) return;
          clearTimeout(late);
          resolve();
        },
      })
      .catch(reject);
  });
  await consumer.disconnect();
  return [...records.values()];
}

export interface WorkflowEvidence {
  readonly id: string;
  readonly type: string;
  readonly status: string;
  readonly signals: readonly string[];
  readonly updates: readonly string[];
}

/** Runs and rollouts of the model, with the signals and updates in their histories. */
export async function readWorkflows(address: string): Promise<readonly WorkflowEvidence[]> {
  const connection = await Connection.connect({ address });
  const client = new Client({ connection });
  const found: WorkflowEvidence[] = [];
  try {
    for await (const info of client.workflow.list({ query: `RefitModel = '${MODEL}'` })) {
      if (info.type !== 'run' && info.type !== 'rollout') continue;
      const { events } = await client.workflow.getHandle(info.workflowId, info.runId).fetchHistory();
      const all = events ?? [];
      found.push({
        id: info.workflowId,
        type: info.type,
        status: info.status.name,
        signals: all.flatMap((event) => event.workflowExecutionSignaledEventAttributes?.signalName ?? []),
        updates: all.flatMap(
          (event) => event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input?.name ?? [],
        ),
      });
    }
  } finally {
    await connection.close();
  }
  return found;
}

/** Rows of the registry's file. */
export function readRegistry(path: string, sql: string): readonly Record<string, unknown>[] {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return database.prepare(sql).all() as Record<string, unknown>[];
  } finally {
    database.close();
  }
}
