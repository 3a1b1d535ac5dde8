/** The event bus. Every Kafka call stays behind this port, so that the client can be changed. */
import type { TopicName } from '../contracts/events.ts';

export interface BusRecord {
  /** Without the prefix. */
  readonly topic: TopicName;
  readonly partition: number;
  readonly offset: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Headers whose bytes are no UTF-8; what stands for them in `headers` is not what was sent. Default: none. */
  readonly illegibleHeaders?: readonly string[];
  readonly timestampMs: number;
}
export interface OutgoingRecord {
  readonly key: string | Buffer | null;
  readonly value: string | Buffer | null;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Settled {
  /** How many of the first records are done with, at least one. */
  readonly settled: number;
  /** Why they will never be kept, such as one that is larger than the broker takes; null where they are. */
  readonly refusal: string | null;
}

export interface PartitionState {
  /** Without the prefix. */
  readonly topic: TopicName;
  readonly partition: number;
  /** Records that are published and not handled yet; null while nobody has been able to ask the broker. */
  readonly lag: number | null;
  /** When the oldest record in hand was published; null when none is in hand. */
  readonly oldestAtMs: number | null;
  /** Since when nothing more was handled although there is something to handle; null while it goes on. */
  readonly waitsSinceMs: number | null;
  /** No more is fetched: enough is in hand, or it stands still. */
  readonly paused: boolean;
  /** Why it does not go on: what the handler said last, or why the records cannot be read; with the offset. */
  readonly problem: string | null;
  /** It does not go on by itself: the batch at its offset cannot be read. */
  readonly blocked: boolean;
}
export interface SubscriptionState {
  /** Why nothing is consumed at all; null while the consumer is a member of its group. */
  readonly problem: string | null;
  readonly problemSinceMs: number | null;
  readonly partitions: readonly PartitionState[];
  /** Batches that were handed over again, since the start. */
  readonly retries: number;
  /** Consumers that crashed or stood still and were built anew, since the start. */
  readonly rebuilds: number;
}

export interface Subscription {
  readonly state: () => SubscriptionState;
  /** Finishes what is in hand, or leaves it uncommitted after the deadline, then leaves the group. */
  readonly stop: () => Promise<void>;
}

export interface SubscribeOptions {
  readonly group: string;
  readonly topics: readonly TopicName[];
  /** How long the first record of a batch may wait for others, in milliseconds. */
  readonly lingerMs: number;
  /** Partitions that are handled at the same time. */
  readonly concurrency: number;
  readonly handle: (records: readonly BusRecord[]) => Promise<void>;
}

export interface EventBus {
  /** Resolves when all in-sync replicas have the records. Rejects when they cannot be kept. */
  publish(topic: TopicName, records: readonly OutgoingRecord[]): Promise<void>;
  /**
   * Publishes the first of the records, as many as fit into one batch, so that a caller who offers the rest again offers nothing twice. Rejects
   * when none of them can be kept now.
   */
  publishFirst(topic: TopicName, records: readonly OutgoingRecord[]): Promise<Settled>;
  /**
   * Hands over records of one partition at a time, in order. The offset is committed only after `handle` has resolved; while it
   * rejects, the same records come again, with backoff. Records of a partition that was taken away are handled by its new owner again.
   */
  subscribe(options: SubscribeOptions): Promise<Subscription>;
  /**
   * The first record for which `wanted` says so, of a partition from an offset on, or of all partitions from a time on; undefined when there is none,
   * or none any more. It reads at most `limit` records, in order within a partition.
   */
  find(
    place: {
      readonly topic: TopicName;
      readonly from: { readonly partition: number; readonly offset: string } | { readonly timeMs: number };
      readonly limit: number;
    },
    wanted: (record: BusRecord) => boolean,
  ): Promise<BusRecord | undefined>;
  ensureTopics(): Promise<void>;
  /** Rejects when no broker answers. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** A record that the broker refuses by itself, however often it is sent. */
export class RecordTooLarge extends Error {
  override readonly name = 'RecordTooLarge';
  constructor(topic: TopicName, said: string) {
    super(`a record is larger than the broker takes on topic ${topic} (${said}); raise max.message.bytes of the topic`);
  }
}
