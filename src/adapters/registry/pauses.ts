/** The switch that holds a model's retraining. */
import type { PauseRegistry } from '../../ports/registry.ts';
import type { Database } from './database.ts';
import { appendAudit } from './journal.ts';
import { text, textOrNull } from './rows.ts';

function find(db: Database, model: string) {
  const row = db.get('SELECT * FROM pauses WHERE model = ?', model);
  return row ? { by: text(row, 'paused_by'), reason: textOrNull(row, 'reason'), at: text(row, 'at') } : null;
}

export function createPauses(db: Database): PauseRegistry {
  return {
    setPaused: (model, paused, at) =>
      db.transaction(() => {
        const before = find(db, model);
        if (!paused) {
          if (!before) return;
          db.run('DELETE FROM pauses WHERE model = ?', model);
          appendAudit(db, {
            model,
            action: 'retraining.resumed',
            actor: null,
            body: { pausedBy: before.by, pausedAt: before.at },
            at,
          });
          return;
        }
        if (before && before.by === paused.by && before.reason === paused.reason) return;
        db.run(
          `INSERT INTO pauses (model, paused_by, reason, at) VALUES (?, ?, ?, ?)
           ON CONFLICT (model) DO UPDATE SET paused_by = excluded.paused_by, reason = excluded.reason, at = excluded.at`,
          ...[model, paused.by, paused.reason, at],
        );
        appendAudit(db, { model, action: 'retraining.paused', actor: paused.by, body: { reason: paused.reason }, at });
      }),
    paused: (model) => db.read(() => find(db, model)),
  };
}
