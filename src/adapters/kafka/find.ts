/** Reads a topic from a place on until a record is found. kafkajs reads by consumers of groups only, so it is one for this once. */
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

interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** Where to begin in each partition, and where it ends; without those that have nothing between. */
async function rangesOf({ admin, topicPrefix }: Finder, { topic, from }: Place): Promise<ReadonlyMap<number, Range>> {
  const name = topicPrefix + topic;
  const starts =
    'offset' in from
      ? new Map([[from.partition, from.offset]])
      : new Map(
          (await admin.fetchTopicOffsetsByTimestamp(name, from.timeMs)).map((one) => [one.partition, one.offset]),
        );
  const ranges = new Map<number, Range>();
  for (const { partition, low, high } of await admin.fetchTopicOffsets(name)) {
    const wanted = BigInt(starts.get(partition) ?? -1);
    const start = wanted < BigInt(low) ? BigInt(low) : wanted;
    if (wanted >= 0n && start < BigInt(high)) ranges.set(partition, { start, end: BigInt(high) });
  }
  return ranges;
}

export async function findRecord(
  finder: Finder,
  place: Place,
  wanted: (record: BusRecord) => boolean,
): Promise<BusRecord | undefined> {
  const ranges = new Map(await rangesOf(finder, place));
  if (ranges.size === 0) return undefined;
  const { kafka, admin, topicPrefix, logger, id } = finder;
  const { topic, limit } = place;
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
        () => reject(new Error(`topic ${topic} could not be read within ${TIMEOUT_MS / 1000} s`)),
        TIMEOUT_MS,
      );
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
        const others = (payload.memberAssignment[name] ?? []).filter((one) => !ranges.has(one));
        if (others.length > 0) consumer.pause([{ topic: name, partitions: others }]);
      });
      consumer
        .run({
          autoCommit: false,
          eachBatchAutoResolve: true,
          eachBatch: ({ batch }) => {
            const range = ranges.get(batch.partition);
            if (!range) return Promise.resolve();
            for (const message of batch.messages) {
              if (BigInt(message.offset) < range.start) continue;
              const record = busRecord(topic, batch.partition, message);
              seen += 1;
              if (unpackProblem(message) === undefined && wanted(record)) resolve(record);
              if (seen >= limit) resolve(undefined);
            }
            if (BigInt(batch.lastOffset()) + 1n >= range.end) ranges.delete(batch.partition);
            if (ranges.size === 0) resolve(undefined);
            return Promise.resolve();
          },
        })
        .catch(reject);
      for (const [partition, { start }] of ranges) consumer.seek({ topic: name, partition, offset: String(start) });
    });
  } finally {
    clearTimeout(timer);
    await consumer.disconnect();
    await admin
      .deleteGroups([groupId])
      .catch((error: unknown) => logger.debug({ err: error, groupId }, 'a group of a search stays until it expires'));
  }
}
