/** The inbox: events, their deliveries, fates and dead letters. */
import type { Fate } from '../../contracts/values.ts';

export interface Origin {
  readonly topic: string;
  readonly partition: number;
  /** As text: offsets are 64 bit. */
  readonly offset: string;
}

export interface IncomingEvent {
  readonly source: string;
  readonly id: string;
  readonly type: string;
  readonly subject: string | null;
  readonly time: string | null;
  /** sha256 of the canonical JSON of {type, subject, data}. */
  readonly digest: string;
  /** The whole event as canonical JSON. */
  readonly body: string;
  /** What it is about: a dataset's or a model's name. */
  readonly target: { readonly kind: 'dataset' | 'model'; readonly name: string };
  /** Labels are stored with the event itself. `label` is JSON of the value. */
  readonly labels?: readonly { readonly id: string; readonly label: string; readonly time?: string }[];
}

interface IncomingRecord {
  readonly origin: Origin;
  /** When it is taken in. */
  readonly at: string;
  /** When it was published: the record's own time in Kafka. */
  readonly publishedAt: string | null;
  /** 1 unless it is a dead letter sent again. */
  readonly attempt?: number;
  /** The dead letter that this one mends. */
  readonly retryOf?: Origin;
}

export interface Identity {
  readonly source: string;
  readonly id: string;
}

export type Incoming =
  | (IncomingRecord & { readonly event: IncomingEvent })
  | (IncomingRecord & {
      /** `identity`: source and id of the event that it was to be, where they could be read. */
      readonly malformed: { readonly reason: string; readonly detail: string; readonly identity?: Identity };
    })
  /** A notification, which is no event itself: it became events of the topic `data` (acted_on), or none (ignored). */
  | (IncomingRecord & { readonly noted: { readonly fate: 'acted_on' | 'ignored'; readonly reason: string } });

/**
 * What is to be done about a delivery:
 * signal: (again) hand its reference to the workflow; done: nothing; dead_letter: write it to the dead-letter topic
 * (also when the same delivery is read again before its offset was committed).
 */
export interface Receipt {
  readonly action: 'signal' | 'done' | 'dead_letter';
  /** The delivery's own fate where it does not follow its event: duplicate, refused (other body), ignored, dead_lettered; of a notification acted_on or ignored. */
  readonly fate: 'acted_on' | 'duplicate' | 'refused' | 'ignored' | 'dead_lettered' | null;
  readonly reason: string | null;
}

export interface FateRecord {
  /** A model's name; '' for an event that no model saw (ignored, refused before any model, labels have their model). */
  readonly model: string;
  readonly fate: Fate;
  readonly run: string | null;
  readonly reason: string | null;
  readonly waitsFor: string | null;
  readonly at: string;
}

export interface EventRecord {
  readonly key: string;
  readonly source: string;
  readonly id: string;
  readonly type: string;
  readonly target: { readonly kind: 'dataset' | 'model'; readonly name: string };
  readonly body: string;
  /** Of its first delivery: the record's time in Kafka. */
  readonly publishedAt: string | null;
  readonly receivedAt: string;
  readonly settled: boolean;
  readonly deliveries: readonly DeliveryRecord[];
  readonly fates: readonly FateRecord[];
}

export interface DeliveryRecord {
  readonly origin: Origin;
  readonly fate: Receipt['fate'];
  readonly at: string;
  readonly publishedAt: string | null;
  readonly attempt: number;
  readonly retryOf: Origin | null;
}

export interface DeadLetterRecord {
  readonly origin: Origin;
  readonly reason: string;
  readonly detail: string;
  readonly at: string;
  readonly publishedAt: string | null;
  readonly attempt: number;
  readonly identity: Identity | null;
  /** Deliveries that were sent to mend it. A fate of null follows the event. */
  readonly retries: readonly { readonly origin: Origin; readonly fate: Receipt['fate']; readonly at: string }[];
}

export type EventBody = Pick<EventRecord, 'key' | 'type' | 'target' | 'body' | 'receivedAt'>;

export interface DeliveryCounts {
  readonly published: number;
  readonly counts: Readonly<
    Record<
      'acted_on' | 'coalesced' | 'duplicate' | 'refused' | 'ignored' | 'dead_lettered' | 'held' | 'received',
      number
    >
  >;
}

export interface EventRegistry {
  /** One transaction for a batch. Keyed by (topic, partition, offset). An unknown dataset or model: ignored. Labels: stored, acted_on. */
  receive(batch: readonly Incoming[]): Promise<readonly Receipt[]>;
  event(key: string): Promise<EventRecord | undefined>;
  /** What these events say, in their order; unknown keys are left out. Without deliveries and fates: for hundreds at a time. */
  eventBodies(keys: readonly string[]): Promise<readonly EventBody[]>;
  /** Events with this CloudEvents id, of whatever source; at most 10. */
  eventsById(id: string): Promise<readonly EventRecord[]>;
  /** Newest first. `since` is a time of receipt; `before` is the key of the last event of the page before. */
  events(filter: {
    readonly model?: string;
    readonly fate?: Fate;
    readonly run?: string;
    readonly type?: string;
    readonly since?: string;
    readonly limit: number;
    readonly before?: string;
  }): Promise<readonly EventRecord[]>;
  /** Newest first. `before` is the origin of the last one of the page before; nothing follows one that is not there. */
  deadLetters(limit: number, before?: Origin): Promise<readonly DeadLetterRecord[]>;
  deadLetter(origin: Origin): Promise<DeadLetterRecord | undefined>;
  /**
   * Sets the fate of events for one model ('' for none). A settled fate never changes: such a row is left as it is.
   * An event is settled once each (event, model) that has a row is settled and `expectModels` (given by the dataset's
   * delivery) all have one.
   */
  setFates(
    model: string,
    fates: readonly {
      readonly key: string;
      readonly fate: Fate;
      readonly run?: string;
      readonly reason?: string;
      readonly waitsFor?: string;
    }[],
    at: string,
  ): Promise<void>;
  /** Records to which models an event is delivered (rows `received`); none: the event is ignored. Idempotent: the first call decides. */
  subscribe(key: string, models: readonly string[], at: string): Promise<readonly string[]>;
  /**
   * Keys of events for this model that are not settled, in the order of their arrival: what a reconciling lifecycle must still hold.
   * With `after`, only those that arrived after that event. @throws when that event is not in the registry
   */
  unsettled(model: string, limit: number, after?: string): Promise<readonly string[]>;
  /** Keys of arrivals that a dataset has not delivered yet, oldest first; those after one. */
  undelivered(dataset: string, limit: number, after?: string): Promise<readonly string[]>;
  /** Fates of these events for one model; unknown keys are left out. */
  fates(model: string, keys: readonly string[]): Promise<Readonly<Record<string, FateRecord>>>;
  /** How many events a model holds, and what stands with the one that came last. */
  held(model: string): Promise<{ readonly events: number; readonly last: FateRecord | null }>;
  /** Each delivery that is kept, counted once (over several models: the first of acted_on, coalesced, refused). */
  deliveryCounts(): Promise<DeliveryCounts>;
  /** Only grows. */
  labelCount(model: string): Promise<number>;
  /** Labels that were stored, or got another value, after this time. */
  labelsSince(model: string, since: string): Promise<number>;
  /** Labels of a model as [id, JSON of the label] pairs, streamed in pages by id. */
  labels(
    model: string,
    afterId: string,
    limit: number,
  ): Promise<readonly { readonly id: string; readonly label: string; readonly time: string }[]>;
  /**
   * Deletes at most `limit` settled events, with their deliveries and fates, whose last change is older than `before`; how many it were.
   * What made a dataset version stays, and so does what an open run stands on. An event that was deleted and is published again is a new one.
   */
  pruneEvents(before: string, limit: number, at: string): Promise<number>;
}
