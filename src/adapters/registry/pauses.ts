/** The switch that holds a model's retraining. */
import type { PauseRegistry } from '../../ports/registry/pauses.ts';
import type { Database, Session } from './database.ts';
import { appendAudit } from './journal.ts';
import { text, textOrNull } from './rows.ts';

async function find(db: Session, model: string) {
  const row = await db.get('SELECT * FROM pauses WHERE model = ?', model);
  return row ? { by: text(row, 'paused_by'), reason: textOrNull(row, 'reason'), at: text(row, 'at') } : null;
}

export function createPauses(db: Database): PauseRegistry {
  return {
    setPaused: (model, paused, at) =>
      db.transaction(async (tx) => {
        const before = await find(tx, model);
        if (!paused) {
          if (!before) return;
          await tx.run('DELETE FROM pauses WHERE model = ?', model);
          await appendAudit(tx, {
            model,
            action: 'retraining.resumed',
            actor: null,
            body: { pausedBy: before.by, pausedAt: before.at },
            at,
          });
          return;
        }
        if (before && before.by === paused.by && before.reason === paused.reason) return;
        await tx.run(
          `INSERT INTO pauses (model, paused_by, reason, at) VALUES (?, ?, ?, ?)
           ON CONFLICT (model) DO UPDATE SET paused_by = excluded.paused_by, reason = excluded.reason, at = excluded.at`,
          ...[model, paused.by, paused.reason, at],
        );
        await appendAudit(tx, {
          model,
          action: 'retraining.paused',
          actor: paused.by,
          body: { reason: paused.reason },
          at,
        });
      }),
    paused: (model) => db.read((tx) => find(tx, model)),
  };
}
