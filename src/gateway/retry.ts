/**
 * Dead letters sent again: the original bytes where Refit takes them now, or a mended event of the same identity, as the next attempt. What is
 * sent goes the way of every event, over its topic; the dead letter then names the delivery that mended it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { TOPICS, type TopicName } from '../contracts/events.ts';
import { canonicalJson } from '../domain/canonical.ts';
import { type BusRecord, type EventBus, type OutgoingRecord, RecordTooLarge } from '../ports/bus.ts';
import type { DeadLetterRecord, EventRegistry, Identity, Origin } from '../ports/registry/events.ts';
import { OWN_HEADERS } from './dead-letters.ts';
import {
  ATTEMPT_HEADER,
  type Intake,
  intakeEvent,
  intakeRecord,
  originText,
  parseOrigin,
  RETRY_OF_HEADER,
} from './intake.ts';

export interface RetryAnswer {
  /** `topic/partition/offset` of the dead letter. */
  readonly origin: string;
  readonly status: 'sent' | 'would_send' | 'refused';
  /** Why it was refused; else what became of it, as far as it is known by now. */
  readonly reason: string;
  readonly attempt: number | null;
  readonly identity: Identity | null;
  /** Where it stands now, once it was taken in. */
  readonly delivery: string | null;
}
export interface RetryRequest {
  readonly origins: readonly string[];
  /** A whole CloudEvent, in place of the original bytes; for one origin. */
  readonly mended?: unknown;
  readonly dryRun: boolean;
}
export interface RetryOptions {
  readonly registry: Pick<EventRegistry, 'deadLetter'>;
  readonly bus: Pick<EventBus, 'publish' | 'find'>;
}

/** Of a partition, behind the first dead letter that is asked for. */
const SEARCH_RECORDS = 200_000;
/** Clocks of brokers and gateways differ. */
const CLOCK_SKEW_MS = 60_000;
/** Until the retry was taken in, so that a second request sees it. */
const SEEN_TIMEOUT_MS = 10_000;
const SEEN_POLL_MS = 50;
const EVENT_TOPICS = [TOPICS.data, TOPICS.labels, TOPICS.drift] as const;

type Letter = DeadLetterRecord & { readonly origin: Origin & { readonly topic: TopicName } };
interface Ready {
  readonly letter: Letter;
  readonly record: Pick<BusRecord, 'value' | 'headers' | 'key' | 'illegibleHeaders'>;
}

const isSame = (letter: DeadLetterRecord, record: BusRecord): boolean =>
  letter.publishedAt === null || Date.parse(letter.publishedAt) === record.timestampMs;

/** On the topic of its type: an event that came on the wrong one is mended by that alone. */
function intakeAnywhere(record: Ready['record']): { readonly intake: Intake; readonly topic: TopicName | null } {
  let intake: Intake | null = null;
  for (const topic of EVENT_TOPICS) {
    intake = intakeRecord({ ...record, topic });
    if ('event' in intake) return { intake, topic };
    if (intake.malformed.reason !== 'topic') break;
  }
  return { intake: intake ?? intakeEvent(null), topic: null };
}

export function createRetries({ registry, bus }: RetryOptions) {
  /** Dead letters that are being sent by this gateway. */
  const underWay = new Set<string>();

  const refused = (origin: string, reason: string, letter?: DeadLetterRecord): RetryAnswer => ({
    origin,
    status: 'refused',
    reason,
    attempt: letter?.attempt ?? null,
    identity: letter?.identity ?? null,
    delivery: null,
  });

  /** The dead letter, if it may be sent again. */
  async function letterOf(text: string): Promise<Letter | RetryAnswer> {
    const origin = parseOrigin(text);
    if (!origin) return refused(text, 'not TOPIC/PARTITION/OFFSET, such as data/0/17');
    const letter = await registry.deadLetter(origin);
    if (!letter) return refused(text, 'no dead letter came from there; refit events dead-letters lists them');
    const last = letter.retries.at(-1);
    if (!last) return { ...letter, origin };
    const at = originText(last.origin);
    return last.fate === 'dead_lettered'
      ? refused(text, `was sent again as ${at}, which is a dead letter too; retry that one`, letter)
      : refused(text, `was sent again already, as ${at} at ${last.at}; nothing was sent`, letter);
  }

  /** The original records: from their origins while these are kept, else from the dead-letter topic. */
  async function originals(letters: readonly Letter[]): Promise<ReadonlyMap<string, BusRecord>> {
    const found = new Map<string, BusRecord>();
    const byPartition = new Map<string, Letter[]>();
    for (const letter of letters) {
      const name = `${letter.origin.topic}/${letter.origin.partition}`;
      byPartition.set(name, [...(byPartition.get(name) ?? []), letter]);
    }
    for (const group of byPartition.values()) {
      const wanted = new Map(group.map((letter) => [letter.origin.offset, letter]));
      const [first] = [...group].sort((a, b) => (BigInt(a.origin.offset) < BigInt(b.origin.offset) ? -1 : 1));
      if (!first) continue;
      const { topic, partition, offset } = first.origin;
      await bus.find({ topic, from: { partition, offset }, limit: SEARCH_RECORDS }, (record) => {
        const letter = wanted.get(record.offset);
        if (letter && isSame(letter, record)) found.set(originText(letter.origin), record);
        wanted.delete(record.offset);
        return wanted.size === 0;
      });
    }
    const missing = letters.filter(({ origin }) => !found.has(originText(origin)));
    if (missing.length === 0) return found;
    const names = new Set(missing.map(({ origin }) => originText(origin)));
    const timeMs = Math.min(...missing.map((letter) => Date.parse(letter.at))) - CLOCK_SKEW_MS;
    await bus.find({ topic: TOPICS.deadLetter, from: { timeMs }, limit: SEARCH_RECORDS }, (record) => {
      const { headers } = record;
      const origin = `${headers['refit-topic']}/${headers['refit-partition']}/${headers['refit-offset']}`;
      if (names.delete(origin) && headers['refit-value'] === undefined) found.set(origin, record);
      return names.size === 0;
    });
    return found;
  }

  function judge({
    letter,
    record,
  }: Ready): RetryAnswer | { readonly topic: TopicName; readonly record: OutgoingRecord } {
    const origin = originText(letter.origin);
    const { intake, topic } = intakeAnywhere(record);
    if ('malformed' in intake || topic === null) {
      const { reason, detail } = 'malformed' in intake ? intake.malformed : { reason: 'topic', detail: '' };
      return refused(origin, `is no event (${reason}): ${detail}; mend it and name the file by --file`, letter);
    }
    const { source, id, target } = intake.event;
    const { identity } = letter;
    if (identity && (identity.source !== source || identity.id !== id)) {
      return refused(
        origin,
        `is ${identity.id} of ${identity.source}, but the mended event is ${id} of ${source}; a retry keeps source and id, and refit publish FILE sends an event of its own`,
        letter,
      );
    }
    const given = Object.entries(record.headers).filter(([name]) => !name.startsWith(OWN_HEADERS));
    return {
      topic,
      record: {
        key: target.name,
        value: record.value,
        headers: {
          ...Object.fromEntries(given),
          [ATTEMPT_HEADER]: String(letter.attempt + 1),
          [RETRY_OF_HEADER]: origin,
        },
      },
    };
  }

  async function untilSeen(letter: Letter): Promise<RetryAnswer> {
    const origin = originText(letter.origin);
    const answer = { origin, status: 'sent', attempt: letter.attempt + 1, identity: letter.identity } as const;
    for (const deadlineMs = Date.now() + SEEN_TIMEOUT_MS; ; ) {
      const seen = (await registry.deadLetter(letter.origin))?.retries.at(-1);
      if (seen) {
        const reason = seen.fate === null ? 'taken in' : `taken in: ${seen.fate}`;
        return { ...answer, reason, delivery: originText(seen.origin) };
      }
      if (Date.now() > deadlineMs) return { ...answer, reason: 'on its topic, not taken in yet', delivery: null };
      await delay(SEEN_POLL_MS);
    }
  }

  async function send(letter: Letter, record: Ready['record'] | undefined, dryRun: boolean): Promise<RetryAnswer> {
    const origin = originText(letter.origin);
    if (!record)
      return refused(
        origin,
        'its bytes are not on Kafka any more, neither at its origin nor as a dead letter; name the mended event by --file',
        letter,
      );
    const judged = judge({ letter, record });
    if ('status' in judged) return judged;
    const { attempt, identity } = letter;
    if (dryRun)
      return {
        origin,
        status: 'would_send',
        reason: `to ${judged.topic}`,
        attempt: attempt + 1,
        identity,
        delivery: null,
      };
    try {
      await bus.publish(judged.topic, [judged.record]);
    } catch (error) {
      if (error instanceof RecordTooLarge) return refused(origin, error.message, letter);
      throw error;
    }
    return untilSeen(letter);
  }

  /** @throws what Kafka or the registry throws; what was sent until then is listed with its dead letter */
  return async ({ origins, mended, dryRun }: RetryRequest): Promise<readonly RetryAnswer[]> => {
    const answers = new Map<string, RetryAnswer>();
    const mine: string[] = [];
    try {
      const letters: Letter[] = [];
      for (const text of new Set(origins)) {
        if (underWay.has(text)) {
          answers.set(text, refused(text, 'is being sent again at this moment, by another request'));
          continue;
        }
        // Before the registry is asked: the other request may be between its question and its answer.
        underWay.add(text);
        mine.push(text);
        const letter = await letterOf(text);
        if ('status' in letter) answers.set(text, letter);
        else letters.push(letter);
      }
      const records: ReadonlyMap<string, Ready['record']> =
        mended === undefined
          ? await originals(letters)
          : new Map(
              letters.map(({ origin }) => [
                originText(origin),
                {
                  key: null,
                  value: Buffer.from(canonicalJson(mended)),
                  headers: { 'content-type': 'application/cloudevents+json; charset=UTF-8' },
                },
              ]),
            );
      await Promise.all(
        letters.map(async (letter) => {
          const origin = originText(letter.origin);
          answers.set(origin, await send(letter, records.get(origin), dryRun));
        }),
      );
    } finally {
      for (const text of mine) underWay.delete(text);
    }
    return origins.flatMap((text) => answers.get(text) ?? []);
  };
}
