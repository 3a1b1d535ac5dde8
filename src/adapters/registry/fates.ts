/**
 * The fate of each (event, model), and when an event is settled: once none of its rows can change any more. Until a dataset has
 * delivered an event to its subscribers, a row without a model stands for it.
 */
import { FATES, type Fate, SETTLED_FATES } from '../../contracts/values.ts';
import type { FateRecord } from '../../ports/registry/events.ts';
import type { Row, Session } from './database.ts';
import { datasetChain } from './journal.ts';
import { int, oneOf, text, textOrNull } from './rows.ts';

export interface StoredEvent {
  /** Of one that is not yet written: 0. */
  seq: number;
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

const EVENT = 'SELECT seq, key, digest, settled, target_kind, target_name FROM events WHERE key = ?';

const storedEvent = (row: Row): StoredEvent => ({
  seq: int(row, 'seq'),
  key: text(row, 'key'),
  digest: text(row, 'digest'),
  settled: int(row, 'settled') === 1,
  target: { kind: oneOf(row, 'target_kind', TARGETS), name: text(row, 'target_name') },
});

export async function findEvent(db: Session, key: string): Promise<StoredEvent | undefined> {
  const row = await db.get(EVENT, key);
  return row && storedEvent(row);
}

/** Those that are there, by key, in the order of the keys. */
export async function findEvents(db: Session, keys: readonly string[]): Promise<Map<string, StoredEvent>> {
  const found = await db.allEach(
    EVENT,
    keys.map((key) => [key]),
  );
  return new Map(found.flat().map((row) => [text(row, 'key'), storedEvent(row)]));
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

/** Fates of these events for one model; keys without one are left out. */
export async function findFates(
  db: Session,
  model: string,
  keys: readonly string[],
): Promise<Record<string, FateRecord>> {
  const found = await db.allEach(
    'SELECT f.*, e.key FROM events e JOIN fates f ON f.event = e.seq WHERE e.key = ? AND f.model = ?',
    keys.map((key) => [key, model]),
  );
  return Object.fromEntries(found.flat().map((row) => [text(row, 'key'), fateRecord(row)]));
}

export async function settleIfDone(db: Session, events: readonly number[]): Promise<void> {
  await db.runEach(
    `UPDATE events SET settled = 1 WHERE seq = ? AND settled = 0
     AND NOT EXISTS (SELECT 1 FROM fates WHERE event = events.seq AND fate IN ('received', 'held'))`,
    events.map((event) => [event]),
  );
}

export interface FateOfEvent {
  readonly event: StoredEvent;
  readonly model: string;
  readonly fate: NewFate;
  readonly at: string;
}

/** The first fates of new events, which say themselves whether they are settled. */
export async function insertFates(db: Session, fates: readonly FateOfEvent[]): Promise<readonly number[]> {
  return db.runEach(
    `INSERT INTO fates (event, model, fate, run, reason, waits_for, at) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (event, model) DO UPDATE SET fate = excluded.fate, run = excluded.run, reason = excluded.reason,
       waits_for = excluded.waits_for, at = excluded.at WHERE fates.fate IN ('received', 'held')`,
    fates.map(({ event, model, fate, at }) => [
      ...[event.seq, model, fate.fate, fate.run ?? null, fate.reason ?? null, fate.waitsFor ?? null, at],
    ]),
  );
}

/** Those that this call settled. A row that is settled stays as it is, and so does an event that is settled as a whole. */
export async function putFates<T extends FateOfEvent>(db: Session, fates: readonly T[]): Promise<readonly T[]> {
  const open = fates.filter(({ event }) => !event.settled);
  const changed = await insertFates(db, open);
  const settled = open.filter(({ fate }, index) => changed[index] !== 0 && isSettled(fate.fate));
  await settleIfDone(
    db,
    settled.map(({ event }) => event.seq),
  );
  return settled;
}
