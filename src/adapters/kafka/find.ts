/** Reads a partition from a place on until a record is found. kafkajs reads by consumers of groups only, so it is one for this once. */
import type { Admin, Kafka } from 'kafkajs';
import type { Logger } from 'pino';
import type { BusRecord, EventBus } from '../../ports/bus.ts';
import { unpackProblem } from './codecs.ts';
import { busRecord } from './records.ts';

/** Joining a group takes Kafka up to some seconds. */
const TIMEOUT_MS = 30_000;

interface Finder {
  readonly kafka: Kafka;
  readonly admin: Admin;
  readonly topicPrefix: string;
  readonly logger: Logger;
  /** Makes the group's name its own. */
  readonly id: string;
}
type Place = Parameters<EventBus['find']>[0];

/** Where to begin, and where the partition ends; null when there is nothing between. */
async function rangeOf(
  { admin, topicPrefix }: Finder,
  { topic, partition, from }: Place,
): Promise<{ readonly start: bigint; readonly end: bigint } | null> {
  const name = topicPrefix + topic;
  const bounds = (await admin.fetchTopicOffsets(name)).find((one) => one.partition === partition);
  if (!bounds) return null;
  const wanted =
    'offset' in from
      ? from.offset
      : (await admin.fetchTopicOffsetsByTimestamp(name, from.timeMs)).find((one) => one.partition === partition)
          ?.offset;
  if (wanted === undefined || BigInt(wanted) < 0n) return null;
  const start = BigInt(wanted) < BigInt(bounds.low) ? BigInt(bounds.low) : BigInt(wanted);
  const end = BigInt(bounds.high);
  return start < end ? { start, end } : null;
}

export async function findRecord(
  finder: Finder,
  place: Place,
  wanted: (record: BusRecord) => boolean,
): Promise<BusRecord | undefined> {
  const range = await rangeOf(finder, place);
  if (!range) return undefined;
  const { kafka, admin, topicPrefix, logger, id } = finder;
  const { topic, partition, limit } = place;
  const name = topicPrefix + topic;
  const groupId = `${topicPrefix}find-${id}`;
  const consumer = kafka.consumer({ groupId, allowAutoTopicCreation: false, maxWaitTimeInMs: 100 });
  let timer: NodeJS.Timeout | undefined;
  try {
    await consumer.connect();
    await consumer.subscribe({ topics: [name], fromBeginning: true });
    return await new Promise<BusRecord | undefined>((resolve, reject) => {
      let seen = 0;
      timer = setTimeout(
        () => reject(new Error(`${topic}/${partition} could not be read within ${TIMEOUT_MS / 1000} s`)),
        TIMEOUT_MS,
      );
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
        const others = (payload.memberAssignment[name] ?? []).filter((one) => one !== partition);
        if (others.length > 0) consumer.pause([{ topic: name, partitions: others }]);
      });
      consumer
        .run({
          autoCommit: false,
          eachBatchAutoResolve: true,
          eachBatch: ({ batch }) => {
            if (batch.partition !== partition) return Promise.resolve();
            for (const message of batch.messages) {
              if (BigInt(message.offset) < range.start) continue;
              const record = busRecord(topic, partition, message);
              seen += 1;
              if (unpackProblem(message) === undefined && wanted(record)) resolve(record);
              if (seen >= limit) resolve(undefined);
            }
            if (BigInt(batch.lastOffset()) + 1n >= range.end) resolve(undefined);
            return Promise.resolve();
          },
        })
        .catch(reject);
      consumer.seek({ topic: name, partition, offset: String(range.start) });
    });
  } finally {
    clearTimeout(timer);
    await consumer.disconnect();
    await admin
      .deleteGroups([groupId])
      .catch((error: unknown) => logger.debug({ err: error, groupId }, 'a group of a search stays until it expires'));
  }
}
