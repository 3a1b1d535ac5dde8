/** The outbox: events that were written with their effect, in order, until the relay has published them. */
import { TOPICS } from '../../contracts/events.ts';
import type { OutboxRegistry } from '../../ports/registry/outbox.ts';
import type { Database } from './database.ts';
import { lifecycleEventExists, record } from './journal.ts';
import { pruneOutbox } from './retention.ts';
import { int, oneOf, text } from './rows.ts';

export function createOutbox(db: Database): OutboxRegistry {
  return {
    outbox: (limit) =>
      db.read(async (tx) =>
        (
          await tx.all(
            'SELECT sequence, topic, key, event FROM outbox WHERE published_at IS NULL ORDER BY sequence LIMIT ?',
            limit,
          )
        ).map((row) => ({
          sequence: int(row, 'sequence'),
          topic: oneOf(row, 'topic', Object.values(TOPICS)),
          key: text(row, 'key'),
          event: text(row, 'event'),
        })),
      ),

    outboxPublished: (sequences, at) =>
      db.transaction(async (tx) => {
        await tx.runEach(
          'UPDATE outbox SET published_at = ? WHERE sequence = ? AND published_at IS NULL',
          sequences.map((sequence) => [at, sequence]),
        );
      }),

    pruneOutbox: (before, limit) => db.transaction((tx) => pruneOutbox(tx, before, limit)),

    emit: (input) =>
      db.transaction(async (tx) => {
        if (await lifecycleEventExists(tx, input.model, input.id)) return;
        const body = { event: input.id, ...input.data };
        await record(tx, { model: input.model, action: input.type, actor: null, body, at: input.at }, input);
      }),
  };
}
