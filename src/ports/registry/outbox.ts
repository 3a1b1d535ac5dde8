/** Lifecycle events on their way to Kafka: written with what they tell, published afterwards. */
import type { LifecycleEvent, TopicName } from '../../contracts/events.ts';

export interface OutboxRow {
  readonly sequence: number;
  readonly topic: TopicName;
  readonly key: string;
  /** A whole CloudEvent as JSON; its id is stable. */
  readonly event: string;
}

export interface OutboxRegistry {
  outbox(limit: number): Promise<readonly OutboxRow[]>;
  outboxPublished(sequences: readonly number[], at: string): Promise<void>;
  /** Deletes at most `limit` rows that were published before this time; how many it were. Each stays bound by its audit row. */
  pruneOutbox(before: string, limit: number): Promise<number>;
  /** For effects that have no method of their own, such as alert.raised. Idempotent by id. */
  emit(input: {
    readonly model: string;
    readonly type: LifecycleEvent;
    readonly id: string;
    readonly data: Readonly<Record<string, unknown>>;
    readonly at: string;
  }): Promise<void>;
}
