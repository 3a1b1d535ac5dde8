/** The inbox as others see it: events with their deliveries and fates, subscriptions, counts, labels. */
import { setImmediate } from 'node:timers/promises';
import { withoutExamples } from '../../domain/rejection.ts';
import type { DeliveryCounts, EventRecord, EventRegistry } from '../../ports/registry/events.ts';
import type { Database, Row, Session, SqlValue } from './database.ts';
import { deadLetter, deadLetters, deliveriesOf } from './deliveries.ts';
import {
  fateRecord,
  findEvent,
  findEvents,
  findFates,
  type NewFate,
  NO_MODEL,
  putFates,
  settleIfDone,
  TARGETS,
  targetChain,
} from './fates.ts';
import { receive } from './inbox.ts';
import { appendAudit, eventSummary } from './journal.ts';
import { pruneEvents } from './retention.ts';
import { count, int, intOrNull, oneOf, oneOfOrNull, text, textOrNull } from './rows.ts';

const COUNTED = [
  'acted_on',
  'coalesced',
  'duplicate',
  'refused',
  'ignored',
  'dead_lettered',
  'held',
  'received',
] as const;

/** A delivery without a fate of its own counts as its event does; over several models the first of these. */
const EVENT_RANK = ['acted_on', 'coalesced', 'refused', 'held', 'received', 'ignored'] as const;
const RANK = `CASE fate ${EVENT_RANK.map((fate, rank) => `WHEN '${fate}' THEN ${rank}`).join(' ')} END`;

async function eventRecord(db: Session, row: Row): Promise<EventRecord> {
  const seq = int(row, 'seq');
  return {
    key: text(row, 'key'),
    source: text(row, 'source'),
    id: text(row, 'id'),
    type: text(row, 'type'),
    target: { kind: oneOf(row, 'target_kind', TARGETS), name: text(row, 'target_name') },
    body: text(row, 'body'),
    publishedAt: textOrNull(row, 'published_at'),
    receivedAt: text(row, 'received_at'),
    settled: int(row, 'settled') === 1,
    deliveries: await deliveriesOf(db, seq),
    fates: (await db.all('SELECT * FROM fates WHERE event = ? ORDER BY model', seq)).map(fateRecord),
  };
}

type EventFilter = Parameters<EventRegistry['events']>[0];

async function listEvents(db: Session, filter: EventFilter): Promise<readonly EventRecord[]> {
  const where: string[] = [];
  const values: SqlValue[] = [];
  const add = (condition: string, ...given: readonly SqlValue[]): void => {
    where.push(condition);
    values.push(...given);
  };
  const { model, fate, run, type, since, before } = filter;
  if (before !== undefined) add('seq < (SELECT seq FROM events WHERE key = ?)', before);
  if (run !== undefined) add('seq IN (SELECT event FROM fates WHERE run = ?)', run);
  if (type !== undefined) add('type = ?', type);
  if (since !== undefined) add('received_at >= ?', since);
  if (model !== undefined) {
    add(
      "(seq IN (SELECT event FROM fates WHERE model = ?) OR (target_kind = 'model' AND target_name = ?))",
      model,
      model,
    );
  }
  if (fate !== undefined) {
    const ofModel = model === undefined ? '' : " AND f.model IN (?, '')";
    add(
      `(EXISTS (SELECT 1 FROM fates f WHERE f.event = events.seq AND f.fate = ?${ofModel})
        OR EXISTS (SELECT 1 FROM deliveries d WHERE d.event = events.seq AND d.fate = ?))`,
      ...[fate, ...(model === undefined ? [] : [model]), fate],
    );
  }
  const condition = where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`;
  const rows = await db.all(`SELECT * FROM events ${condition} ORDER BY seq DESC LIMIT ?`, ...values, filter.limit);
  return Promise.all(rows.map((row) => eventRecord(db, row)));
}

/** Deliveries that are counted at once. SQLite holds the event loop meanwhile, for some milliseconds. */
const COUNTED_AT_ONCE = 2_000;
type Place = readonly [topic: string, partition: number, offset: string, generation: number];
const BEFORE_ALL: Place = ['', -1, '', -1];
const PLACE = 'd.topic, d.partition, d."offset", d.generation';

/** Those behind a place, up to another; `end` is null where there are no more. */
async function countSlice(
  db: Session,
  after: Place,
): Promise<{ readonly rows: readonly Row[]; readonly end: Place | null }> {
  const last = await db.get(
    `SELECT ${PLACE} FROM deliveries d WHERE (${PLACE}) > (?, ?, ?, ?) ORDER BY ${PLACE} LIMIT 1 OFFSET ${COUNTED_AT_ONCE - 1}`,
    ...after,
  );
  const end: Place | null = last
    ? [text(last, 'topic'), int(last, 'partition'), text(last, 'offset'), int(last, 'generation')]
    : null;
  const rows = await db.all(
    `SELECT fate, "rank", count(*) AS n FROM (
       SELECT d.fate, CASE WHEN d.fate IS NULL THEN (SELECT min(${RANK}) FROM fates WHERE event = d.event) END AS "rank"
       FROM deliveries d WHERE (${PLACE}) > (?, ?, ?, ?)${end ? ` AND (${PLACE}) <= (?, ?, ?, ?)` : ''}
     ) AS counted GROUP BY fate, "rank"`,
    ...[...after, ...(end ?? [])],
  );
  return { rows, end };
}

/** Slice by slice, with turns for everything else between: there may be millions. What comes meanwhile may be in it or not. */
async function deliveryCounts(db: Database): Promise<DeliveryCounts> {
  const counts: Record<(typeof COUNTED)[number], number> = {
    acted_on: 0,
    coalesced: 0,
    duplicate: 0,
    refused: 0,
    ignored: 0,
    dead_lettered: 0,
    held: 0,
    received: 0,
  };
  let published = 0;
  for (let from: Place | null = BEFORE_ALL; from !== null; ) {
    const after: Place = from;
    const { rows, end } = await db.read((tx) => countSlice(tx, after));
    for (const row of rows) {
      const fate = oneOfOrNull(row, 'fate', COUNTED) ?? EVENT_RANK[intOrNull(row, 'rank') ?? -1] ?? 'received';
      counts[fate] += int(row, 'n');
      published += int(row, 'n');
    }
    from = end;
    await setImmediate();
  }
  return { published, counts };
}

async function subscribe(db: Session, key: string, models: readonly string[], at: string): Promise<readonly string[]> {
  const event = await findEvent(db, key);
  if (!event) throw new Error(`event ${key} is not in the registry, so it cannot be delivered`);
  const isFirst =
    (await db.run('UPDATE events SET subscribed = 1 WHERE seq = ? AND subscribed = 0 AND settled = 0', event.seq)) ===
    1;
  if (isFirst && models.length === 0) {
    const fate = { fate: 'ignored', reason: 'no model takes this dataset' } as const;
    await putFates(db, [{ event, model: NO_MODEL, fate, at }]);
  } else if (isFirst) {
    // From here on the models' own rows say how far the event is.
    await db.run("DELETE FROM fates WHERE event = ? AND model = '' AND fate IN ('received', 'held')", event.seq);
    await db.runEach(
      "INSERT INTO fates (event, model, fate, at) VALUES (?, ?, 'received', ?) ON CONFLICT DO NOTHING",
      [...new Set(models)].map((model) => [event.seq, model, at]),
    );
    await settleIfDone(db, [event.seq]);
  }
  if (isFirst) {
    const body = { event: key, digest: event.digest, models: [...new Set(models)] };
    await appendAudit(db, { model: targetChain(event.target), action: 'event.delivered', actor: null, body, at });
  }
  const rows = await db.all("SELECT model FROM fates WHERE event = ? AND model <> '' ORDER BY model", event.seq);
  return rows.map((row) => text(row, 'model'));
}

type FateInput = Parameters<EventRegistry['setFates']>[1][number];

interface Settled {
  readonly chain: string;
  readonly fate: NewFate;
  readonly reason: string | null;
  readonly events: { readonly key: string; readonly digest: string }[];
}

/** What is settled is audited, one row for each reason; what is only held passes and is not. */
async function setFates(db: Session, model: string, fates: readonly FateInput[], at: string): Promise<void> {
  const events = await findEvents(
    db,
    fates.map((fate) => fate.key),
  );
  const known = fates.flatMap((fate) => {
    const event = events.get(fate.key);
    return event ? [{ event, model, fate, at }] : [];
  });
  const groups = new Map<string, Settled>();
  for (const { event, fate } of await putFates(db, known)) {
    const chain = model === NO_MODEL ? targetChain(event.target) : model;
    // Examples may name a person, and a chain cannot forget: the events of one refusal may differ in them.
    const reason = fate.reason == null ? null : withoutExamples(fate.reason);
    const name = JSON.stringify([chain, fate.fate, fate.run, reason]);
    const group = groups.get(name) ?? { chain, fate, reason, events: [] };
    group.events.push({ key: event.key, digest: event.digest });
    groups.set(name, group);
  }
  for (const { chain, fate, reason, events: settled } of groups.values()) {
    const body = { fate: fate.fate, run: fate.run ?? null, reason, events: eventSummary(settled) };
    await appendAudit(db, { model: chain, action: `events.${fate.fate}`, actor: null, body, at });
  }
}

/** Keys of events with an open row for a model, in order of arrival; for none, of those that are about a dataset. */
async function unsettled(
  db: Session,
  { model, dataset }: { readonly model: string; readonly dataset?: string },
  limit: number,
  after: string | undefined,
): Promise<readonly string[]> {
  const about = dataset === undefined ? '' : " AND e.target_kind = 'dataset' AND e.target_name = ?";
  const last = after === undefined ? { seq: 0 } : await findEvent(db, after);
  if (!last) throw new Error(`event ${after} is not in the registry, so nothing can be read after it`);
  return (
    await db.all(
      `SELECT e.key FROM fates f JOIN events e ON e.seq = f.event
       WHERE f.model = ? AND f.fate IN ('received', 'held') AND f.event > ?${about} ORDER BY f.event LIMIT ?`,
      ...[model, last.seq, ...(dataset === undefined ? [] : [dataset]), limit],
    )
  ).map((row) => text(row, 'key'));
}

async function held(db: Session, model: string): ReturnType<EventRegistry['held']> {
  // The first condition is that of the index, so that what is settled is not looked at.
  const rows = "FROM fates WHERE model = ? AND fate IN ('received', 'held') AND fate = 'held'";
  const last = await db.get(`SELECT * ${rows} ORDER BY event DESC LIMIT 1`, model);
  return { events: await count(db, `SELECT count(*) AS n ${rows}`, model), last: last ? fateRecord(last) : null };
}

export function createEvents(db: Database): EventRegistry {
  return {
    receive: (batch) => db.transaction((tx) => receive(tx, batch)),

    event: (key) =>
      db.read(async (tx) => {
        const row = await tx.get('SELECT * FROM events WHERE key = ?', key);
        return row && (await eventRecord(tx, row));
      }),
    eventBodies: (keys) =>
      db.read(async (tx) => {
        const sql = 'SELECT key, type, target_kind, target_name, body, received_at FROM events WHERE key = ?';
        const found = await tx.allEach(
          sql,
          keys.map((key) => [key]),
        );
        return found.flat().map((row) => ({
          ...{ key: text(row, 'key'), type: text(row, 'type'), body: text(row, 'body') },
          target: { kind: oneOf(row, 'target_kind', TARGETS), name: text(row, 'target_name') },
          receivedAt: text(row, 'received_at'),
        }));
      }),
    eventsById: (id) =>
      db.read(async (tx) => {
        const rows = await tx.all('SELECT * FROM events WHERE id = ? ORDER BY seq LIMIT 10', id);
        return Promise.all(rows.map((row) => eventRecord(tx, row)));
      }),
    events: (filter) => db.read((tx) => listEvents(tx, filter)),
    deadLetters: (limit, before) => db.read((tx) => deadLetters(tx, limit, before)),
    deadLetter: (origin) => db.read((tx) => deadLetter(tx, origin)),

    setFates: (model, fates, at) => db.transaction((tx) => setFates(tx, model, fates, at)),
    subscribe: (key, models, at) => db.transaction((tx) => subscribe(tx, key, models, at)),
    unsettled: (model, limit, after) => db.read((tx) => unsettled(tx, { model }, limit, after)),
    undelivered: (dataset, limit, after) => db.read((tx) => unsettled(tx, { model: NO_MODEL, dataset }, limit, after)),
    held: (model) => db.read((tx) => held(tx, model)),
    fates: (model, keys) => db.read((tx) => findFates(tx, model, keys)),

    deliveryCounts: () => deliveryCounts(db),
    labelCount: (model) => db.read((tx) => count(tx, 'SELECT count(*) AS n FROM labels WHERE model = ?', model)),
    labelsSince: (model, since) =>
      db.read((tx) => count(tx, 'SELECT count(*) AS n FROM labels WHERE model = ? AND stored_at > ?', model, since)),
    labels: (model, afterId, limit) =>
      db.read(async (tx) =>
        (
          await tx.all(
            'SELECT id, label, time FROM labels WHERE model = ? AND id > ? ORDER BY id LIMIT ?',
            model,
            afterId,
            limit,
          )
        ).map((row) => ({ id: text(row, 'id'), label: text(row, 'label'), time: text(row, 'time') })),
      ),

    pruneEvents: (before, limit, at) => db.transaction((tx) => pruneEvents(tx, before, limit, at)),
  };
}
