/**
 * Notifications become events of the topic `data`, and enter there as all others do. The order of acts: the events, then the delivery in the registry,
 * then (by the bus) the offset; a crash between any two repeats the later ones, and the events have the same ids then.
 */
import type { Logger } from 'pino';
import { MAX_EVENT_BYTES, TOPICS } from '../../contracts/events.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import type { BusRecord, EventBus } from '../../ports/bus.ts';
import type { DefinitionRegistry } from '../../ports/registry/definitions.ts';
import type { EventRegistry, Incoming } from '../../ports/registry/events.ts';
import { type Dead, publishDead } from '../dead-letters.ts';
import { isoOf } from '../inbox.ts';
import { attemptOf, contentProblem, type Malformed, parsed } from '../intake.ts';
import type { InboxMetrics } from '../metrics.ts';
import { type MappedEvent, mapNotices } from './map.ts';
import { readNotification } from './read.ts';

export interface NotificationOptions {
  readonly registry: Pick<EventRegistry, 'receive'> & Pick<DefinitionRegistry, 'datasets'>;
  readonly bus: Pick<EventBus, 'publish' | 'publishFirst'>;
  readonly logger: Logger;
  readonly now: () => Date;
  readonly metrics: InboxMetrics;
}

type Judged =
  | {
      readonly events: readonly MappedEvent[];
      readonly noted: { readonly fate: 'acted_on' | 'ignored'; readonly reason: string };
    }
  | { readonly malformed: Malformed };

const MAX_REASON = 2_000;
const SHOWN = 5;
const listed = (texts: readonly string[]): string =>
  texts.slice(0, SHOWN).join('; ') + (texts.length > SHOWN ? `; and ${texts.length - SHOWN} more` : '');

export function judgeNotification(value: Buffer | null, datasets: Parameters<typeof mapNotices>[1]): Judged {
  const no = (reason: Malformed['reason'], detail: string): Judged => ({
    malformed: { reason, detail: detail.slice(0, 500) },
  });
  if (value === null) return no('tombstone', 'the record has no value');
  if (value.length > MAX_EVENT_BYTES) return no('oversized', `${value.length} bytes, at most ${MAX_EVENT_BYTES}`);
  const json = parsed(value, 'the notification');
  if ('malformed' in json) return json;
  const content = contentProblem(json.json);
  if (content !== null) return no('json', content);
  const reading = readNotification(json.json);
  if ('problem' in reading) return no('data', reading.problem);
  const { events, ignored } = mapNotices(reading.notices, datasets);
  const others = [...ignored, ...reading.passed];
  const named = events.map(({ id, subject }) => `${id} of dataset ${subject}`);
  const reason =
    (events.length > 0 ? `became ${listed(named)}` : '') +
    (events.length > 0 && others.length > 0 ? '; ignored: ' : '') +
    listed(others);
  return { events, noted: { fate: events.length > 0 ? 'acted_on' : 'ignored', reason: reason.slice(0, MAX_REASON) } };
}

export function createNotifications({ registry, bus, logger, now, metrics }: NotificationOptions) {
  return async (records: readonly BusRecord[]): Promise<void> => {
    const started = performance.now();
    const at = now().toISOString();
    const datasets = (await registry.datasets()).map(({ document }) => ({
      name: document.name,
      // A dataset that was registered before there were any has none.
      arrivals: document.arrivals ?? [],
    }));
    const events: MappedEvent[] = [];
    const incoming = records.map((record): Incoming => {
      const judged = judgeNotification(record.value, datasets);
      if ('events' in judged) events.push(...judged.events);
      return {
        origin: { topic: record.topic, partition: record.partition, offset: record.offset },
        ...{ at, publishedAt: isoOf(record.timestampMs), ...attemptOf(record.headers) },
        ...('malformed' in judged ? { malformed: judged.malformed } : { noted: judged.noted }),
      };
    });
    if (events.length > 0)
      await bus.publish(
        TOPICS.data,
        events.map((event) => ({
          ...{ key: event.subject, value: canonicalJson(event) },
          headers: { 'content-type': 'application/cloudevents+json; charset=UTF-8' },
        })),
      );
    const receipts = await registry.receive(incoming);
    const dead = incoming.flatMap((one, index): readonly Dead[] => {
      const record = records[index];
      return record && receipts[index]?.action === 'dead_letter' ? [{ record, incoming: one }] : [];
    });
    await publishDead({ bus, logger, metrics }, dead);
    metrics.batch(receipts, (performance.now() - started) / 1_000);
  };
}
