/** The inbox as others see it: events with their deliveries and fates, subscriptions, counts, labels. */
import type { DeliveryCounts, EventRecord, EventRegistry, FateRecord } from '../../ports/registry.ts';
import type { Database, Row, SqlValue } from './database.ts';
import { deadLetter, deadLetters, deliveriesOf } from './deliveries.ts';
import { fateRecord, findEvent, findFate, NO_MODEL, putFate, settleIfDone, TARGETS, targetChain } from './fates.ts';
import { receive } from './inbox.ts';
import { appendAudit, eventSummary } from './journal.ts';
import { pruneEvents } from './retention.ts';
import { count, int, oneOf, text, textOrNull } from './rows.ts';

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

function eventRecord(db: Database, row: Row): EventRecord {
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
    deliveries: deliveriesOf(db, seq),
    fates: db.all('SELECT * FROM fates WHERE event = ? ORDER BY model', seq).map(fateRecord),
  };
}

type EventFilter = Parameters<EventRegistry['events']>[0];

function findEvents(db: Database, filter: EventFilter): readonly EventRecord[] {
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
  return db
    .all(`SELECT * FROM events ${condition} ORDER BY seq DESC LIMIT ?`, ...values, filter.limit)
    .map((row) => eventRecord(db, row));
}

function deliveryCounts(db: Database): DeliveryCounts {
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
  for (const row of db.all('SELECT fate, count(*) AS n FROM deliveries WHERE fate IS NOT NULL GROUP BY fate')) {
    counts[oneOf(row, 'fate', COUNTED)] += int(row, 'n');
    published += int(row, 'n');
  }
  const following = db.all(
    `SELECT rank, count(*) AS n FROM (
       SELECT (SELECT min(${RANK}) FROM fates WHERE event = d.event) AS rank FROM deliveries d WHERE d.fate IS NULL
     ) GROUP BY rank`,
  );
  for (const row of following) {
    counts[EVENT_RANK[int(row, 'rank')] ?? 'received'] += int(row, 'n');
    published += int(row, 'n');
  }
  return { published, counts };
}

function subscribe(db: Database, key: string, models: readonly string[], at: string): readonly string[] {
  const event = findEvent(db, key);
  if (!event) throw new Error(`event ${key} is not in the registry, so it cannot be delivered`);
  const first =
    db.run('UPDATE events SET subscribed = 1 WHERE seq = ? AND subscribed = 0 AND settled = 0', event.seq) === 1;
  if (first && models.length === 0) {
    putFate(db, event, NO_MODEL, { fate: 'ignored', reason: 'no model takes this dataset' }, at);
  } else if (first) {
    // From here on the models' own rows say how far the event is.
    db.run("DELETE FROM fates WHERE event = ? AND model = '' AND fate IN ('received', 'held')", event.seq);
    for (const model of new Set(models)) {
      db.run(
        "INSERT INTO fates (event, model, fate, at) VALUES (?, ?, 'received', ?) ON CONFLICT DO NOTHING",
        event.seq,
        model,
        at,
      );
    }
    settleIfDone(db, event.seq);
  }
  if (first) {
    const body = { event: key, digest: event.digest, models: [...new Set(models)] };
    appendAudit(db, { model: targetChain(event.target), action: 'event.delivered', actor: null, body, at });
  }
  return db
    .all("SELECT model FROM fates WHERE event = ? AND model <> '' ORDER BY model", event.seq)
    .map((row) => text(row, 'model'));
}

type FateInput = Parameters<EventRegistry['setFates']>[1][number];

interface Settled {
  readonly chain: string;
  readonly fate: FateInput;
  readonly events: { readonly key: string; readonly digest: string }[];
}

/** What is settled is audited, one row for each reason; what is only held passes and is not. */
function setFates(db: Database, model: string, fates: readonly FateInput[], at: string): void {
  const groups = new Map<string, Settled>();
  for (const fate of fates) {
    const event = findEvent(db, fate.key);
    if (!event || !putFate(db, event, model, fate, at)) continue;
    const chain = model === NO_MODEL ? targetChain(event.target) : model;
    const name = JSON.stringify([chain, fate.fate, fate.run, fate.reason]);
    const group = groups.get(name) ?? { chain, fate, events: [] };
    group.events.push({ key: event.key, digest: event.digest });
    groups.set(name, group);
  }
  for (const { chain, fate, events } of groups.values()) {
    const body = { fate: fate.fate, run: fate.run ?? null, reason: fate.reason ?? null, events: eventSummary(events) };
    appendAudit(db, { model: chain, action: `events.${fate.fate}`, actor: null, body, at });
  }
}

function unsettled(db: Database, model: string, limit: number, after: string | undefined): readonly string[] {
  const last = after === undefined ? { seq: 0 } : findEvent(db, after);
  if (!last) throw new Error(`event ${after} is not in the registry, so nothing can be read after it`);
  return db
    .all(
      `SELECT e.key FROM fates f JOIN events e ON e.seq = f.event
       WHERE f.model = ? AND f.fate IN ('received', 'held') AND f.event > ? ORDER BY f.event LIMIT ?`,
      ...[model, last.seq, limit],
    )
    .map((row) => text(row, 'key'));
}

export function createEvents(db: Database): EventRegistry {
  return {
    receive: (batch) => receive(db, batch),

    event: (key) =>
      db.read(() => {
        const row = db.get('SELECT * FROM events WHERE key = ?', key);
        return row && eventRecord(db, row);
      }),
    eventsById: (id) =>
      db.read(() =>
        db.all('SELECT * FROM events WHERE id = ? ORDER BY seq LIMIT 10', id).map((row) => eventRecord(db, row)),
      ),
    events: (filter) => db.read(() => findEvents(db, filter)),
    deadLetters: (limit, before) => db.read(() => deadLetters(db, limit, before)),
    deadLetter: (origin) => db.read(() => deadLetter(db, origin)),

    setFates: (model, fates, at) => db.transaction(() => setFates(db, model, fates, at)),
    subscribe: (key, models, at) => db.transaction(() => subscribe(db, key, models, at)),
    unsettled: (model, limit, after) => db.read(() => unsettled(db, model, limit, after)),
    fates: (model, keys) =>
      db.read(() => {
        const found: Record<string, FateRecord> = {};
        for (const key of keys) {
          const event = findEvent(db, key);
          const fate = event && findFate(db, event.seq, model);
          if (fate) found[key] = fate;
        }
        return found;
      }),

    deliveryCounts: () => db.read(() => deliveryCounts(db)),
    labelCount: (model) => db.read(() => count(db, 'SELECT count(*) AS n FROM labels WHERE model = ?', model)),
    labelsSince: (model, since) =>
      db.read(() => count(db, 'SELECT count(*) AS n FROM labels WHERE model = ? AND stored_at > ?', model, since)),
    labels: (model, afterId, limit) =>
      db.read(() =>
        db
          .all(
            'SELECT id, label, time FROM labels WHERE model = ? AND id > ? ORDER BY id LIMIT ?',
            model,
            afterId,
            limit,
          )
          .map((row) => ({ id: text(row, 'id'), label: text(row, 'label'), time: text(row, 'time') })),
      ),

    pruneEvents: (before, limit, at) => db.transaction(() => pruneEvents(db, before, limit, at)),
  };
}
