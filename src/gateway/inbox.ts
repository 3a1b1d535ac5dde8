/**
 * The gateway's order of acts, for each batch of records: inbox row, then signal, then (by the bus, when this has resolved) the
 * offset. A crash between any two repeats the later ones only, and repeating them is harmless.
 */
import type { Logger } from 'pino';
import { eventKey } from '../domain/ids.ts';
import type { BusRecord, EventBus } from '../ports/bus.ts';
import type { Messenger } from '../ports/messenger.ts';
import type { EventRegistry, Incoming } from '../ports/registry.ts';
import { intakeRecord } from './intake.ts';

export interface InboxOptions {
  readonly registry: Pick<EventRegistry, 'receive'>;
  readonly messenger: Pick<Messenger, 'dataArrived' | 'eventsArrived'>;
  readonly bus: Pick<EventBus, 'publish'>;
  readonly logger: Logger;
  readonly now: () => Date;
}

/** Signals in flight at once: more only adds latency. */
const SIGNALS_IN_FLIGHT = 8;

export function createInbox({ registry, messenger, bus, logger, now }: InboxOptions) {
  async function signal(
    wanted: ReadonlyMap<
      string,
      { readonly kind: 'dataset' | 'model'; readonly name: string; readonly keys: readonly string[] }
    >,
  ): Promise<void> {
    const sends = [...wanted.values()];
    for (let at = 0; at < sends.length; at += SIGNALS_IN_FLIGHT) {
      await Promise.all(
        sends
          .slice(at, at + SIGNALS_IN_FLIGHT)
          .map(({ kind, name, keys }) =>
            kind === 'dataset' ? messenger.dataArrived(name, keys) : messenger.eventsArrived(name, keys),
          ),
      );
    }
  }

  return async (records: readonly BusRecord[]): Promise<void> => {
    const at = now().toISOString();
    const incoming = records.map((record): Incoming => {
      const origin = { topic: record.topic, partition: record.partition, offset: record.offset };
      const publishedAt = new Date(record.timestampMs).toISOString();
      return { origin, at, publishedAt, ...intakeRecord(record) };
    });
    const receipts = await registry.receive(incoming);
    const wanted = new Map<string, { kind: 'dataset' | 'model'; name: string; keys: string[] }>();
    const dead: BusRecord[] = [];
    for (const [index, receipt] of receipts.entries()) {
      const one = incoming[index];
      const record = records[index];
      if (!one || !record) throw new Error('the registry answered for more records than it was given');
      if (receipt.action === 'dead_letter') dead.push(record);
      if (receipt.action !== 'signal' || !('event' in one)) continue;
      const { target, source, id } = one.event;
      const group = wanted.get(`${target.kind}/${target.name}`) ?? { ...target, keys: [] };
      const key = eventKey(source, id);
      if (!group.keys.includes(key)) group.keys.push(key);
      wanted.set(`${target.kind}/${target.name}`, group);
    }
    if (dead.length > 0) {
      const malformed = new Map(
        incoming.map((one) => [
          `${one.origin.partition}/${one.origin.offset}`,
          'malformed' in one ? one.malformed : null,
        ]),
      );
      await bus.publish(
        'dead-letter',
        dead.map((record) => {
          const why = malformed.get(`${record.partition}/${record.offset}`);
          logger.warn(
            {
              topic: record.topic,
              partition: record.partition,
              offset: record.offset,
              reason: why?.reason,
              detail: why?.detail,
            },
            'dead letter',
          );
          return {
            key: record.key?.toString('utf8') ?? '',
            value: record.value,
            headers: {
              'refit-reason': why?.reason ?? 'unknown',
              'refit-detail': why?.detail ?? '',
              'refit-topic': record.topic,
              'refit-partition': String(record.partition),
              'refit-offset': record.offset,
              'refit-time': new Date(record.timestampMs).toISOString(),
              'refit-attempt': '1',
            },
          };
        }),
      );
    }
    await signal(wanted);
  };
}
