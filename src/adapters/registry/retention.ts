/**
 * What is deleted once it is old. The chains keep a digest over it, so that a deletion can be told from a loss; numbers of arrival are
 * never given again.
 */
import type { Database } from './database.ts';
import { TARGETS, targetChain } from './fates.ts';
import { appendAudit, eventSummary } from './journal.ts';
import { int, oneOf, text } from './rows.ts';

/**
 * Settled, untouched since `before`, and nothing stands on it: what made a dataset version says where the version is from, and an open run
 * still names its events.
 */
const OLD_EVENTS = `
SELECT e.seq, e.key, e.digest, e.target_kind, e.target_name FROM events e
WHERE e.settled = 1 AND e.received_at < ?
  AND NOT EXISTS (SELECT 1 FROM fates f WHERE f.event = e.seq AND f.at >= ?)
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = e.seq AND d.at >= ?)
  AND NOT EXISTS (SELECT 1 FROM dataset_versions v WHERE v.dataset = e.target_name AND v.event_key = e.key)
  AND NOT EXISTS (SELECT 1 FROM fates f JOIN runs r ON r.run = f.run WHERE f.event = e.seq AND r.outcome IS NULL)
ORDER BY e.received_at, e.seq LIMIT ?`;

export function pruneEvents(db: Database, before: string, limit: number, at: string): number {
  const chains = new Map<string, { key: string; digest: string }[]>();
  const old = db.all(OLD_EVENTS, before, before, before, limit);
  for (const row of old) {
    const seq = int(row, 'seq');
    const one = { key: text(row, 'key'), digest: text(row, 'digest') };
    const target = targetChain({ kind: oneOf(row, 'target_kind', TARGETS), name: text(row, 'target_name') });
    const models = db.all("SELECT model FROM fates WHERE event = ? AND model <> ''", seq);
    for (const chain of new Set([target, ...models.map((fate) => text(fate, 'model'))])) {
      const events = chains.get(chain) ?? [];
      events.push(one);
      chains.set(chain, events);
    }
    db.run(
      'UPDATE runs SET pruned_events = pruned_events + 1 WHERE run IN (SELECT run FROM fates WHERE event = ?)',
      seq,
    );
    db.run('DELETE FROM deliveries WHERE event = ?', seq);
    db.run('DELETE FROM fates WHERE event = ?', seq);
    db.run('DELETE FROM events WHERE seq = ?', seq);
  }
  for (const [model, events] of chains) {
    const body = { before, events: eventSummary(events) };
    appendAudit(db, { model, action: 'events.pruned', actor: null, body, at });
  }
  return old.length;
}

/** No audit row of its own: each row of the outbox was written with one, and that stays. */
export const pruneOutbox = (db: Database, before: string, limit: number): number =>
  db.run(
    `DELETE FROM outbox WHERE sequence IN
       (SELECT sequence FROM outbox WHERE published_at < ? ORDER BY published_at, sequence LIMIT ?)`,
    before,
    limit,
  );
