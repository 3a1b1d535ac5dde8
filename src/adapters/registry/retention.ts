/**
 * What is deleted once it is old. The chains keep a digest over it, so that a deletion can be told from a loss; numbers of arrival are
 * never given again.
 */
import type { Session } from './database.ts';
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

export async function pruneEvents(db: Session, before: string, limit: number, at: string): Promise<number> {
  const old = await db.all(OLD_EVENTS, before, before, before, limit);
  const events = old.map((row) => [int(row, 'seq')]);
  const models = await db.allEach("SELECT model FROM fates WHERE event = ? AND model <> ''", events);
  const chains = new Map<string, { key: string; digest: string }[]>();
  for (const [index, row] of old.entries()) {
    const target = targetChain({ kind: oneOf(row, 'target_kind', TARGETS), name: text(row, 'target_name') });
    for (const chain of new Set([target, ...(models[index] ?? []).map((fate) => text(fate, 'model'))])) {
      const ofChain = chains.get(chain) ?? [];
      ofChain.push({ key: text(row, 'key'), digest: text(row, 'digest') });
      chains.set(chain, ofChain);
    }
  }
  await db.runEach(
    'UPDATE runs SET pruned_events = pruned_events + 1 WHERE run IN (SELECT run FROM fates WHERE event = ?)',
    events,
  );
  for (const table of ['deliveries WHERE event', 'fates WHERE event', 'events WHERE seq'])
    await db.runEach(`DELETE FROM ${table} = ?`, events);
  for (const [model, ofChain] of chains) {
    const body = { before, events: eventSummary(ofChain) };
    await appendAudit(db, { model, action: 'events.pruned', actor: null, body, at });
  }
  return old.length;
}

/** No audit row of its own: each row of the outbox was written with one, and that stays. */
export const pruneOutbox = async (db: Session, before: string, limit: number): Promise<number> =>
  db.run(
    `DELETE FROM outbox WHERE sequence IN
       (SELECT sequence FROM outbox WHERE published_at < ? ORDER BY published_at, sequence LIMIT ?)`,
    before,
    limit,
  );
