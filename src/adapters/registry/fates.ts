/**
 * The fate of each (event, model), and when an event is settled: once none of its rows can change any more. Until a dataset has
 * delivered an event to its subscribers, a row without a model stands for it.
 */
import { FATES, type Fate, SETTLED_FATES } from '../../contracts/values.ts';
import type { FateRecord } from '../../ports/registry.ts';
import type { Database, Row } from './database.ts';
import { datasetChain } from './journal.ts';
import { int, oneOf, text, textOrNull } from './rows.ts';

export interface StoredEvent {
  readonly seq: number;
  readonly key: string;
  readonly digest: string;
  readonly settled: boolean;
  readonly target: { readonly kind: 'dataset' | 'model'; readonly name: string };
}

export interface NewFate {
  readonly fate: Fate;
  readonly run?: string;
  readonly reason?: string;
  readonly waitsFor?: string;
}

export const NO_MODEL = '';

const isSettled = (fate: Fate): boolean => SETTLED_FATES.some((settled) => settled === fate);

export const TARGETS = ['dataset', 'model'] as const;

export function findEvent(db: Database, key: string): StoredEvent | undefined {
  const row = db.get('SELECT seq, key, digest, settled, target_kind, target_name FROM events WHERE key = ?', key);
  return (
    row && {
      seq: int(row, 'seq'),
      key: text(row, 'key'),
      digest: text(row, 'digest'),
      settled: int(row, 'settled') === 1,
      target: { kind: oneOf(row, 'target_kind', TARGETS), name: text(row, 'target_name') },
    }
  );
}

/** The audit chain of what an event is about. */
export const targetChain = (target: StoredEvent['target']): string =>
  target.kind === 'model' ? target.name : datasetChain(target.name);

export const fateRecord = (row: Row): FateRecord => ({
  model: text(row, 'model'),
  fate: oneOf(row, 'fate', FATES),
  run: textOrNull(row, 'run'),
  reason: textOrNull(row, 'reason'),
  waitsFor: textOrNull(row, 'waits_for'),
  at: text(row, 'at'),
});

export function findFate(db: Database, event: number, model: string): FateRecord | undefined {
  const row = db.get('SELECT * FROM fates WHERE event = ? AND model = ?', event, model);
  return row && fateRecord(row);
}

export function settleIfDone(db: Database, event: number): void {
  db.run(
    `UPDATE events SET settled = 1 WHERE seq = ? AND settled = 0
     AND NOT EXISTS (SELECT 1 FROM fates WHERE event = events.seq AND fate IN ('received', 'held'))`,
    event,
  );
}

/** True when this call settled the row. A row that is settled stays as it is, and so does an event that is settled as a whole. */
export function putFate(db: Database, event: StoredEvent, model: string, fate: NewFate, at: string): boolean {
  if (event.settled) return false;
  const changed = db.run(
    `INSERT INTO fates (event, model, fate, run, reason, waits_for, at) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (event, model) DO UPDATE SET fate = excluded.fate, run = excluded.run, reason = excluded.reason,
       waits_for = excluded.waits_for, at = excluded.at WHERE fates.fate IN ('received', 'held')`,
    ...[event.seq, model, fate.fate, fate.run ?? null, fate.reason ?? null, fate.waitsFor ?? null, at],
  );
  if (changed === 0 || !isSettled(fate.fate)) return false;
  settleIfDone(db, event.seq);
  return true;
}
