/** The event bus. Every Kafka call stays behind this port, so that the client can be changed. */
import type { TopicName } from '../contracts/events.ts';

export interface BusRecord {
  /** Without the prefix. */
  readonly topic: TopicName;
  readonly partition: number;
  readonly offset: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly timestampMs: number;
}
export interface OutgoingRecord {
  readonly key: string;
  readonly value: string | Buffer | null;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Subscription {
  /** True while the consumer is a member of its group or about to be. */
  readonly healthy: () => boolean;
  /** Finishes the batch in hand, then leaves the group. */
  readonly stop: () => Promise<void>;
}

export interface EventBus {
  /** Resolves when all in-sync replicas have the records. @throws BusUnavailable */
  publish(topic: TopicName, records: readonly OutgoingRecord[]): Promise<void>;
  /**
   * Hands over records of one partition at a time, in order. The offset is committed only after `handle` has resolved; while it
   * rejects, the same records come again, with backoff.
   */
  subscribe(options: {
    readonly group: string;
    readonly topics: readonly TopicName[];
    /** How long a fetch may wait to gather more. */
    readonly lingerMs: number;
    readonly handle: (records: readonly BusRecord[]) => Promise<void>;
  }): Promise<Subscription>;
  ensureTopics(): Promise<void>;
  close(): Promise<void>;
}
