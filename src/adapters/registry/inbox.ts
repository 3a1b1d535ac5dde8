/**
 * Taking deliveries in: one record of Kafka each, identified by where it stood; what it says is an event, identified by source and id. A batch is
 * read at once, judged in memory one after another, and written at once: with a server each statement of its own would be a round trip.
 */
import { eventKey } from '../../domain/ids.ts';
import type { Incoming, IncomingEvent, Receipt } from '../../ports/registry/events.ts';
import type { Row, Session } from './database.ts';
import { DELIVERY_FATES } from './deliveries.ts';
import { findEvents, insertFates, type NewFate, NO_MODEL, type StoredEvent, targetChain } from './fates.ts';
import { type AuditInput, appendAudit, eventSummary } from './journal.ts';
import { int, oneOfOrNull, text, textOrNull, utc } from './rows.ts';

type Target = StoredEvent['target'];

/** A delivery as it was first taken in. */
interface Taken {
  readonly generation: number;
  readonly event: StoredEvent | null;
  readonly digest: string | null;
  readonly fate: Receipt['fate'];
  readonly reason: string | null;
}

interface NewEvent {
  /** With a number: one that was ignored for want of its dataset or model, and is taken in now. */
  readonly stored: StoredEvent;
  readonly event: IncomingEvent;
  readonly incoming: Incoming;
  readonly model: string;
  readonly fate: NewFate;
}

interface NewDelivery extends Taken {
  readonly incoming: Incoming;
}

/** What was there before the batch, with what the batch adds. */
interface Batch {
  readonly known: ReadonlySet<string>;
  /** Keys of events that nobody applied for when they came. */
  readonly untaken: Set<string>;
  readonly taken: Map<string, Taken>;
  readonly events: Map<string, StoredEvent>;
  readonly newEvents: NewEvent[];
  readonly newDeliveries: NewDelivery[];
  readonly refusals: AuditInput[];
}

const originKey = ({ origin }: Incoming): string => `${origin.topic}/${origin.partition}/${origin.offset}`;
const keyOf = (event: IncomingEvent): string => eventKey(event.source, event.id);
const isEvent = (incoming: Incoming): incoming is Extract<Incoming, { event: IncomingEvent }> => 'event' in incoming;
const unique = (keys: readonly string[]): readonly string[] => [...new Set(keys)];

// ---- reading ----------------------------------------------------------------------------------------------------------

const LATEST = `
SELECT d.generation, d.digest, d.fate, d.reason, e.key AS event_key FROM deliveries d LEFT JOIN events e ON e.seq = d.event
WHERE d.topic = ? AND d.partition = ? AND d."offset" = ? ORDER BY d.generation DESC LIMIT 1`;

async function knownTargets(db: Session, targets: readonly Target[]): Promise<ReadonlySet<string>> {
  const names = (kind: Target['kind']) => unique(targets.filter((one) => one.kind === kind).map((one) => one.name));
  const models = names('model');
  const datasets = names('dataset');
  const [ofModels, ofDatasets] = await Promise.all([
    db.allEach(
      'SELECT model FROM definitions WHERE model = ? LIMIT 1',
      models.map((name) => [name]),
    ),
    db.allEach(
      'SELECT name FROM datasets WHERE name = ?',
      datasets.map((name) => [name]),
    ),
  ]);
  return new Set([
    ...models
      .filter((_name, index) => ofModels[index]?.length === 1)
      .map((name) => targetChain({ kind: 'model', name })),
    ...datasets
      .filter((_name, index) => ofDatasets[index]?.length === 1)
      .map((name) => targetChain({ kind: 'dataset', name })),
  ]);
}

/** What no dataset has passed on to anybody is ignored for one reason only: that nothing of its name was applied. */
async function untakenOf(db: Session, events: Iterable<StoredEvent>): Promise<Set<string>> {
  const settled = [...events].filter((event) => event.settled);
  const found = await db.allEach(
    `SELECT e.key FROM events e JOIN fates f ON f.event = e.seq
     WHERE e.seq = ? AND e.subscribed = 0 AND f.model = '' AND f.fate = 'ignored'`,
    settled.map(({ seq }) => [seq]),
  );
  return new Set(found.flat().map((row) => text(row, 'key')));
}

async function readBatch(db: Session, deliveries: readonly Incoming[]): Promise<Batch> {
  const latest = await db.allEach(
    LATEST,
    deliveries.map(({ origin }) => [origin.topic, origin.partition, origin.offset]),
  );
  const before = new Map<string, Row>();
  for (const [index, rows] of latest.entries()) {
    const incoming = deliveries[index];
    if (incoming && rows[0]) before.set(originKey(incoming), rows[0]);
  }
  const keysBefore = [...before.values()].map((row) => textOrNull(row, 'event_key')).filter((key) => key !== null);
  const incomingEvents = deliveries.filter(isEvent).map(({ event }) => event);
  const events = await findEvents(db, unique([...incomingEvents.map(keyOf), ...keysBefore]));
  const taken = new Map<string, Taken>();
  for (const [origin, row] of before) {
    const key = textOrNull(row, 'event_key');
    taken.set(origin, {
      generation: int(row, 'generation'),
      event: key === null ? null : (events.get(key) ?? null),
      digest: textOrNull(row, 'digest'),
      fate: oneOfOrNull(row, 'fate', DELIVERY_FATES),
      reason: textOrNull(row, 'reason'),
    });
  }
  const targets = [
    ...incomingEvents.map((event) => event.target),
    ...[...events.values()].map((event) => event.target),
  ];
  const known = await knownTargets(db, targets);
  const untaken = await untakenOf(db, events.values());
  return { known, untaken, taken, events, newEvents: [], newDeliveries: [], refusals: [] };
}

// ---- judging ----------------------------------------------------------------------------------------------------------

/** The delivery as it was first taken in; undefined when it is new, also when its offset belongs to a topic created anew. */
function earlierDelivery(latest: Taken | undefined, incoming: Incoming): Taken | undefined {
  if (!latest) return undefined;
  if ('malformed' in incoming) return latest.fate === 'dead_lettered' ? latest : undefined;
  if ('noted' in incoming) return latest.event === null && latest.fate !== 'dead_lettered' ? latest : undefined;
  return latest.event?.key === keyOf(incoming.event) && latest.digest === incoming.event.digest ? latest : undefined;
}

const followsEvent = (settled: boolean, fate: Receipt['fate'], reason: string | null): Receipt => ({
  action: settled ? 'done' : 'signal',
  fate,
  reason,
});

function answerAgain({ fate, reason, event }: Taken): Receipt {
  // Written again: the process may have died between this transaction and the dead-letter topic.
  if (fate === 'dead_lettered') return { action: 'dead_letter', fate, reason };
  if (fate === 'refused' || fate === 'ignored' || fate === 'acted_on') return { action: 'done', fate, reason };
  return followsEvent(event?.settled ?? true, fate, reason);
}

function firstFate(batch: Batch, event: IncomingEvent): { model: string; fate: NewFate; receipt: Receipt } {
  const { target, labels } = event;
  if (!batch.known.has(targetChain(target))) {
    const reason = `no ${target.kind} ${target.name} was ever applied; once it is, the same event is taken in when it is published again`;
    return { model: NO_MODEL, fate: { fate: 'ignored', reason }, receipt: { action: 'done', fate: 'ignored', reason } };
  }
  if (labels && target.kind === 'model') {
    const fate: NewFate = { fate: 'acted_on', reason: `${labels.length} labels stored` };
    return { model: target.name, fate, receipt: { action: 'done', fate: null, reason: null } };
  }
  const model = target.kind === 'model' ? target.name : NO_MODEL;
  return { model, fate: { fate: 'received' }, receipt: { action: 'signal', fate: null, reason: null } };
}

/** @param seq its number; 0 where that is known once it is written */
function receiveNewEvent(batch: Batch, event: IncomingEvent, incoming: Incoming, seq = 0): [StoredEvent, Receipt] {
  const { model, fate, receipt } = firstFate(batch, event);
  const { digest, target } = event;
  const stored: StoredEvent = { seq, key: keyOf(event), digest, settled: fate.fate !== 'received', target };
  batch.events.set(stored.key, stored);
  batch.newEvents.push({ stored, event, incoming, model, fate });
  return [stored, receipt];
}

/** Another delivery of a known id: the same once more, or other content under that id. */
function receiveKnownEvent(batch: Batch, stored: StoredEvent, event: IncomingEvent, { origin, at }: Incoming): Receipt {
  if (stored.digest === event.digest) return followsEvent(stored.settled, 'duplicate', null);
  const reason = `another event has this source and id: digest ${stored.digest}, this one has ${event.digest}`;
  const body = { event: stored.key, digest: stored.digest, refusedDigest: event.digest, origin, reason };
  for (const model of new Set([stored.target, event.target].map(targetChain))) {
    if (batch.known.has(model)) batch.refusals.push({ model, action: 'event.refused', actor: null, body, at });
  }
  return { action: 'done', fate: 'refused', reason };
}

function receiveEvent(batch: Batch, event: IncomingEvent, incoming: Incoming): [StoredEvent, Receipt] {
  const known = batch.events.get(keyOf(event));
  if (known?.digest === event.digest && batch.untaken.has(known.key) && batch.known.has(targetChain(known.target))) {
    batch.untaken.delete(known.key);
    return receiveNewEvent(batch, event, incoming, known.seq);
  }
  return known ? [known, receiveKnownEvent(batch, known, event, incoming)] : receiveNewEvent(batch, event, incoming);
}

function receiveOne(batch: Batch, incoming: Incoming): Receipt {
  const latest = batch.taken.get(originKey(incoming));
  const earlier = earlierDelivery(latest, incoming);
  if (earlier) return answerAgain(earlier);
  const [event, receipt]: [StoredEvent | null, Receipt] = isEvent(incoming)
    ? receiveEvent(batch, incoming.event, incoming)
    : [
        null,
        'noted' in incoming
          ? { action: 'done', ...incoming.noted }
          : { action: 'dead_letter', fate: 'dead_lettered', reason: incoming.malformed.reason },
      ];
  const taken: Taken = {
    generation: latest ? latest.generation + 1 : 0,
    event,
    digest: isEvent(incoming) ? incoming.event.digest : null,
    fate: receipt.fate,
    reason: receipt.reason,
  };
  batch.taken.set(originKey(incoming), taken);
  batch.newDeliveries.push({ ...taken, incoming });
  return receipt;
}

// ---- writing ----------------------------------------------------------------------------------------------------------

/** As if they were new, but under their numbers; what was said of them goes, and the chain says so. */
async function takeInAgain(db: Session, again: readonly NewEvent[]): Promise<void> {
  await db.runEach(
    'UPDATE events SET time = ?, body = ?, received_at = ?, published_at = ?, settled = ? WHERE seq = ?',
    again.map(({ stored, event, incoming }) => [
      ...[event.time, event.body, incoming.at, incoming.publishedAt, stored.settled ? 1 : 0, stored.seq],
    ]),
  );
  await db.runEach(
    "DELETE FROM fates WHERE event = ? AND model = '' AND fate = 'ignored'",
    again.map(({ stored }) => [stored.seq]),
  );
  for (const { stored, incoming } of again) {
    const body = { event: stored.key, digest: stored.digest, origin: incoming.origin };
    const model = targetChain(stored.target);
    await appendAudit(db, { model, action: 'event.taken_in', actor: null, body, at: incoming.at });
  }
}

async function insertEvents(db: Session, all: readonly NewEvent[]): Promise<void> {
  const news = all.filter(({ stored }) => stored.seq === 0);
  await takeInAgain(
    db,
    all.filter(({ stored }) => stored.seq > 0),
  );
  const rows = await db.allEach(
    `INSERT INTO events (key, source, id, type, subject, time, digest, body, target_kind, target_name, received_at, published_at, settled)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
    news.map(({ stored, event, incoming }) => [
      ...[stored.key, event.source, event.id, event.type, event.subject, event.time, event.digest, event.body],
      ...[event.target.kind, event.target.name, incoming.at, incoming.publishedAt, stored.settled ? 1 : 0],
    ]),
  );
  for (const [index, { stored }] of news.entries()) {
    const row = rows[index]?.[0];
    if (!row) throw new Error(`event ${stored.key} was not stored`);
    stored.seq = int(row, 'seq');
  }
  await insertFates(
    db,
    all.map(({ stored, model, fate, incoming }) => ({ event: stored, model, fate, at: incoming.at })),
  );
}

const insertDeliveries = (db: Session, news: readonly NewDelivery[]): Promise<unknown> =>
  db.runEach(
    `INSERT INTO deliveries (topic, partition, "offset", generation, event, digest, fate, reason, detail, at, published_at, attempt,
       retry_topic, retry_partition, retry_offset, source, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    news.map(({ incoming, generation, event, digest, fate, reason }) => {
      const { origin, at, publishedAt, attempt, retryOf } = incoming;
      const malformed = 'malformed' in incoming ? incoming.malformed : undefined;
      return [
        ...[origin.topic, origin.partition, origin.offset, generation, event?.seq ?? null, digest, fate, reason],
        ...[malformed?.detail ?? null, at, publishedAt, attempt ?? 1],
        ...[retryOf?.topic ?? null, retryOf?.partition ?? null, retryOf?.offset ?? null],
        ...[malformed?.identity?.source ?? null, malformed?.identity?.id ?? null],
      ];
    }),
  );

async function storeLabels(db: Session, news: readonly NewEvent[]): Promise<void> {
  const withLabels = news.filter(({ fate, event }) => fate.fate === 'acted_on' && event.labels);
  // The newest outcome counts, whichever came first; of equal times the one that came later.
  await db.runEach(
    `INSERT INTO labels (model, id, label, time, stored_at) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (model, id) DO UPDATE SET label = excluded.label, time = excluded.time,
       stored_at = CASE WHEN labels.label = excluded.label THEN labels.stored_at ELSE excluded.stored_at END
     WHERE excluded.time >= labels.time`,
    withLabels.flatMap(({ event, model, incoming: { at, publishedAt } }) =>
      (event.labels ?? []).map(({ id, label, time }) => [model, id, label, utc(time ?? publishedAt ?? at) ?? at, at]),
    ),
  );
  for (const model of unique(withLabels.map((one) => one.model))) {
    const own = withLabels.filter((one) => one.model === model);
    const labels = own.reduce((sum, { event }) => sum + (event.labels?.length ?? 0), 0);
    const body = { labels, events: eventSummary(own.map(({ stored }) => stored)) };
    const at = own[0]?.incoming.at ?? '';
    await appendAudit(db, { model, action: 'labels.stored', actor: null, body, at });
  }
}

export async function receive(db: Session, deliveries: readonly Incoming[]): Promise<readonly Receipt[]> {
  const batch = await readBatch(db, deliveries);
  const receipts = deliveries.map((incoming) => receiveOne(batch, incoming));
  await insertEvents(db, batch.newEvents);
  await insertDeliveries(db, batch.newDeliveries);
  for (const refusal of batch.refusals) await appendAudit(db, refusal);
  await storeLabels(db, batch.newEvents);
  return receipts;
}
