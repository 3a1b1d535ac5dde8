/** Taking deliveries in: one record of Kafka each, identified by where it stood; what it says is an event, identified by source and id. */
import { eventKey } from '../../domain/ids.ts';
import type { Incoming, IncomingEvent, Receipt } from '../../ports/registry.ts';
import type { Database, Row } from './database.ts';
import { isDataset, isModel } from './definitions.ts';
import { DELIVERY_FATES } from './deliveries.ts';
import { findEvent, NO_MODEL, putFate, type StoredEvent, targetChain } from './fates.ts';
import { appendAudit, eventSummary } from './journal.ts';
import { int, intOrNull, oneOfOrNull, textOrNull, utc } from './rows.ts';

type Target = StoredEvent['target'];

/** What one batch shares: who is known, and whose labels it stored. */
interface Batch {
  readonly known: Map<string, boolean>;
  readonly labels: Map<
    string,
    { readonly at: string; readonly events: { key: string; digest: string }[]; stored: number }
  >;
}

function isKnown(db: Database, batch: Batch, target: Target): boolean {
  const chain = targetChain(target);
  const seen = batch.known.get(chain);
  if (seen !== undefined) return seen;
  const known = target.kind === 'model' ? isModel(db, target.name) : isDataset(db, target.name);
  batch.known.set(chain, known);
  return known;
}

const followsEvent = (settled: boolean, fate: Receipt['fate'], reason: string | null): Receipt => ({
  action: settled ? 'done' : 'signal',
  fate,
  reason,
});

/** The delivery as it was first taken in; undefined when it is new, also when its offset belongs to a topic created anew. */
function earlierDelivery(latest: Row | undefined, incoming: Incoming): Row | undefined {
  if (!latest) return undefined;
  if ('malformed' in incoming) return latest.fate === 'dead_lettered' ? latest : undefined;
  const same =
    latest.event_key === eventKey(incoming.event.source, incoming.event.id) && latest.digest === incoming.event.digest;
  return same ? latest : undefined;
}

function answerAgain(row: Row): Receipt {
  const fate = oneOfOrNull(row, 'fate', DELIVERY_FATES);
  const reason = textOrNull(row, 'reason');
  // Written again: the process may have died between this transaction and the dead-letter topic.
  if (fate === 'dead_lettered') return { action: 'dead_letter', fate, reason };
  if (fate === 'refused' || fate === 'ignored') return { action: 'done', fate, reason };
  return followsEvent(int(row, 'settled') === 1, fate, reason);
}

interface NewDelivery {
  readonly event: number | null;
  readonly digest: string | null;
  readonly receipt: Receipt;
  readonly detail: string | null;
}

function insertDelivery(db: Database, incoming: Incoming, generation: number, delivery: NewDelivery): Receipt {
  const { event, digest, receipt, detail } = delivery;
  const { origin, at, publishedAt, attempt, retryOf } = incoming;
  const identity = 'malformed' in incoming ? incoming.malformed.identity : undefined;
  db.run(
    `INSERT INTO deliveries (topic, partition, offset, generation, event, digest, fate, reason, detail, at, published_at, attempt,
       retry_topic, retry_partition, retry_offset, source, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ...[origin.topic, origin.partition, origin.offset, generation, event, digest, receipt.fate, receipt.reason, detail],
    ...[at, publishedAt, attempt ?? 1, retryOf?.topic ?? null, retryOf?.partition ?? null, retryOf?.offset ?? null],
    ...[identity?.source ?? null, identity?.id ?? null],
  );
  return receipt;
}

function insertEvent(db: Database, event: IncomingEvent, { at, publishedAt }: Incoming): StoredEvent {
  const key = eventKey(event.source, event.id);
  const { target, digest } = event;
  const row = db.get(
    `INSERT INTO events (key, source, id, type, subject, time, digest, body, target_kind, target_name, received_at, published_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
    ...[
      key,
      event.source,
      event.id,
      event.type,
      event.subject,
      event.time,
      digest,
      event.body,
      target.kind,
      target.name,
      at,
      publishedAt,
    ],
  );
  if (!row) throw new Error(`event ${key} was not stored`);
  return { seq: int(row, 'seq'), key, digest, settled: false, target };
}

function storeLabels(db: Database, batch: Batch, stored: StoredEvent, event: IncomingEvent, at: string): void {
  const model = event.target.name;
  const labels = event.labels ?? [];
  for (const { id, label, time } of labels) {
    // The newest outcome counts, whichever came first; of equal times the one that came later.
    db.run(
      `INSERT INTO labels (model, id, label, time, stored_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (model, id) DO UPDATE SET label = excluded.label, time = excluded.time,
         stored_at = CASE WHEN labels.label = excluded.label THEN labels.stored_at ELSE excluded.stored_at END
       WHERE excluded.time >= labels.time`,
      ...[model, id, label, utc(time) ?? at, at],
    );
  }
  const entry = batch.labels.get(model) ?? { at, events: [], stored: 0 };
  entry.events.push({ key: stored.key, digest: stored.digest });
  entry.stored += labels.length;
  batch.labels.set(model, entry);
}

function receiveNewEvent(
  db: Database,
  batch: Batch,
  event: IncomingEvent,
  incoming: Incoming,
): { stored: StoredEvent; receipt: Receipt } {
  const { at } = incoming;
  const stored = insertEvent(db, event, incoming);
  const { target } = event;
  if (!isKnown(db, batch, target)) {
    const reason = `no ${target.kind} ${target.name} was ever applied`;
    putFate(db, stored, NO_MODEL, { fate: 'ignored', reason }, at);
    return { stored, receipt: { action: 'done', fate: 'ignored', reason } };
  }
  if (event.labels && target.kind === 'model') {
    storeLabels(db, batch, stored, event, at);
    putFate(db, stored, target.name, { fate: 'acted_on', reason: `${event.labels.length} labels stored` }, at);
    return { stored, receipt: { action: 'done', fate: null, reason: null } };
  }
  putFate(db, stored, target.kind === 'model' ? target.name : NO_MODEL, { fate: 'received' }, at);
  return { stored, receipt: { action: 'signal', fate: null, reason: null } };
}

/** Another delivery of a known id: the same once more, or other content under that id. */
function receiveKnownEvent(
  db: Database,
  batch: Batch,
  stored: StoredEvent,
  event: IncomingEvent,
  incoming: Incoming,
): Receipt {
  if (stored.digest === event.digest) return followsEvent(stored.settled, 'duplicate', null);
  const reason = `another event has this source and id: digest ${stored.digest}, this one has ${event.digest}`;
  const body = {
    event: stored.key,
    digest: stored.digest,
    refusedDigest: event.digest,
    origin: incoming.origin,
    reason,
  };
  const targets = [stored.target, event.target].filter((one) => isKnown(db, batch, one));
  for (const model of new Set(targets.map(targetChain))) {
    appendAudit(db, { model, action: 'event.refused', actor: null, body, at: incoming.at });
  }
  return { action: 'done', fate: 'refused', reason };
}

function receiveOne(db: Database, batch: Batch, incoming: Incoming): Receipt {
  const { origin } = incoming;
  const latest = db.get(
    `SELECT d.generation, d.digest, d.fate, d.reason, e.key AS event_key, e.settled FROM deliveries d LEFT JOIN events e ON e.seq = d.event
     WHERE d.topic = ? AND d.partition = ? AND d.offset = ? ORDER BY d.generation DESC LIMIT 1`,
    ...[origin.topic, origin.partition, origin.offset],
  );
  const earlier = earlierDelivery(latest, incoming);
  if (earlier) return answerAgain(earlier);
  const generation = latest ? (intOrNull(latest, 'generation') ?? 0) + 1 : 0;
  if ('malformed' in incoming) {
    const { reason, detail } = incoming.malformed;
    const receipt: Receipt = { action: 'dead_letter', fate: 'dead_lettered', reason };
    return insertDelivery(db, incoming, generation, { event: null, digest: null, receipt, detail });
  }
  const { event } = incoming;
  const known = findEvent(db, eventKey(event.source, event.id));
  const { stored, receipt } = known
    ? { stored: known, receipt: receiveKnownEvent(db, batch, known, event, incoming) }
    : receiveNewEvent(db, batch, event, incoming);
  return insertDelivery(db, incoming, generation, { event: stored.seq, digest: event.digest, receipt, detail: null });
}

export function receive(db: Database, deliveries: readonly Incoming[]): Promise<readonly Receipt[]> {
  return db.transaction(() => {
    const batch: Batch = { known: new Map(), labels: new Map() };
    const receipts = deliveries.map((incoming) => receiveOne(db, batch, incoming));
    for (const [model, { at, events, stored }] of batch.labels) {
      appendAudit(db, {
        model,
        action: 'labels.stored',
        actor: null,
        body: { labels: stored, events: eventSummary(events) },
        at,
      });
    }
    return receipts;
  });
}
