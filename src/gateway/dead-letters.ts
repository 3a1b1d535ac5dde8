/** A dead letter as it stands on its topic: the original bytes with their headers, and why and where from. */
import type { Logger } from 'pino';
import type { BusRecord, EventBus, OutgoingRecord } from '../ports/bus.ts';
import type { Incoming } from '../ports/registry/events.ts';
import { originText } from './intake.ts';
import type { InboxMetrics } from './metrics.ts';

/** The broker refuses records of more than 1 MiB by default, with headers. What is larger stays at its origin only. */
const MAX_VALUE_BYTES = 700_000;
const MAX_HEADER_BYTES = 65_536;
const MAX_KEY_BYTES = 65_536;
/** Headers of a dead letter that say what happened; all others are the publisher's. */
export const OWN_HEADERS = 'refit-';

/** The publisher's headers, so that a binary-mode event can be sent again from here. Dropped where there are too many to carry. */
function givenHeaders(headers: BusRecord['headers']): Readonly<Record<string, string>> {
  const given = Object.entries(headers).filter(([name]) => !name.startsWith(OWN_HEADERS));
  const bytes = given.reduce((sum, [name, text]) => sum + Buffer.byteLength(name) + Buffer.byteLength(text), 0);
  return bytes > MAX_HEADER_BYTES ? {} : Object.fromEntries(given);
}

/** The same without what makes it large, for a broker that takes less than is usual. */
const withoutContent = ({ headers = {} }: OutgoingRecord): OutgoingRecord => ({
  key: null,
  value: '',
  headers: {
    ...Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith(OWN_HEADERS))),
    'refit-value': 'at-origin',
  },
});

const whyDead = (incoming: Incoming): { readonly reason: string; readonly detail: string } =>
  'malformed' in incoming ? incoming.malformed : { reason: 'unknown', detail: '' };

function deadLetterRecord(record: BusRecord, incoming: Incoming): OutgoingRecord {
  const { topic, partition, offset, value, key, headers } = record;
  const { reason, detail } = whyDead(incoming);
  const isCarried = (value?.length ?? 0) <= MAX_VALUE_BYTES;
  return {
    key: (key?.length ?? 0) <= MAX_KEY_BYTES ? key : null,
    value: isCarried ? value : '',
    headers: {
      ...givenHeaders(headers),
      'refit-reason': reason,
      'refit-detail': detail,
      'refit-topic': topic,
      'refit-partition': String(partition),
      'refit-offset': offset,
      'refit-time': incoming.publishedAt ?? incoming.at,
      'refit-attempt': String(incoming.attempt ?? 1),
      ...(incoming.retryOf === undefined ? {} : { 'refit-retry-of': originText(incoming.retryOf) }),
      ...(isCarried ? {} : { 'refit-value': 'at-origin' }),
    },
  };
}

export interface Dead {
  readonly record: BusRecord;
  readonly incoming: Incoming;
}

interface DeadLetterOptions {
  readonly bus: Pick<EventBus, 'publish' | 'publishFirst'>;
  readonly logger: Logger;
  readonly metrics: Pick<InboxMetrics, 'deadLetter'>;
}

/** Resolves once all are on the dead-letter topic, in order, and told: what is too large for it goes without its content, and so holds nobody up. */
export async function publishDead({ bus, logger, metrics }: DeadLetterOptions, dead: readonly Dead[]): Promise<void> {
  const letters = dead.map(({ record, incoming }) => deadLetterRecord(record, incoming));
  for (let start = 0; start < letters.length; ) {
    const { settled, refusal } = await bus.publishFirst('dead-letter', letters.slice(start));
    const [large] = letters.slice(start, start + 1);
    if (refusal !== null && large) await bus.publish('dead-letter', [withoutContent(large)]);
    start += settled;
  }
  for (const { record, incoming } of dead) {
    const { reason, detail } = whyDead(incoming);
    const { topic, partition, offset } = record;
    logger.warn({ topic, partition, offset, reason, detail }, 'dead letter');
    metrics.deadLetter(reason);
  }
}
