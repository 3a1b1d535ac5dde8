/**
 * What is deleted once it is old. The chains keep a digest over it, so that a deletion can be told from a loss; numbers of arrival are
 * never given again.
 */

import type { SinkFile } from '../../ports/registry/monitoring.ts';
import type { RetentionRegistry, RunArtifacts } from '../../ports/registry/retention.ts';
import type { RunRecord } from '../../ports/registry/runs.ts';
import type { Database, Row, Session } from './database.ts';
import { TARGETS, targetChain } from './fates.ts';
import { appendAudit, eventSummary } from './journal.ts';
import { int, json, oneOf, text, textOrNull } from './rows.ts';

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
  // Published again it is a new event, which may open a run of its own: the one that it opened gives the name of its request free.
  await db.runEach(
    `UPDATE runs SET request_key = request_key || ' of ' || run
     WHERE run IN (SELECT run FROM fates WHERE event = ?) AND request_key = ?`,
    old.map((row) => [int(row, 'seq'), `event:${text(row, 'key')}`]),
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

function runArtifacts(row: Row): RunArtifacts {
  const training = json<RunRecord['training']>(row, 'training');
  return {
    run: text(row, 'run'),
    snapshot: textOrNull(row, 'snapshot'),
    artifacts: training === null ? [] : [training.onnx, training.predictions, training.log],
  };
}

/** What neither serves nor can be gone back to. */
const DISPENSABLE = `r.finished_at IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM versions v WHERE v.run = r.run AND (v.promoted_at IS NOT NULL OR v.role NOT IN ('rejected', 'archived')))`;

export function createRetention(db: Database): RetentionRegistry {
  return {
    oldSinkFiles: (before, limit) =>
      db.read(async (tx) =>
        (await tx.all('SELECT file FROM sink_files ORDER BY seq LIMIT ?', limit))
          .map((row) => json<SinkFile>(row, 'file'))
          .filter((file) => Date.parse(file.maxTime) < Date.parse(before)),
      ),
    dropSinkFile: (file) =>
      db.transaction(async (tx) => {
        // Its place alone may be that of several: a topic that was created anew counts from the start again.
        const where = 'topic = ? AND partition = ? AND start_offset = ? AND file = ?';
        const found = [file.topic, file.partition, file.startOffset, JSON.stringify(file)];
        await tx.run(
          `DELETE FROM sink_file_models WHERE file IN (SELECT seq FROM sink_files WHERE ${where})`,
          ...found,
        );
        await tx.run(`DELETE FROM sink_files WHERE ${where}`, ...found);
      }),
    oldRuns: (before, limit) =>
      db.read(async (tx) =>
        (
          await tx.all(
            `SELECT run, snapshot, training FROM runs r WHERE r.artifacts_deleted_at IS NULL AND r.finished_at < ?
               AND (r.snapshot IS NOT NULL OR r.training <> 'null') AND ${DISPENSABLE} ORDER BY r.finished_at, r.run LIMIT ?`,
            ...[before, limit],
          )
        ).map(runArtifacts),
      ),
    runsKept: (but) =>
      db.read(async (tx) => {
        const left = new Set(but);
        const rows = await tx.all(
          "SELECT run, snapshot, training FROM runs WHERE artifacts_deleted_at IS NULL AND (snapshot IS NOT NULL OR training <> 'null')",
        );
        return rows.map(runArtifacts).filter(({ run }) => !left.has(run));
      }),
    artifactsDeleted: (run, count, at) =>
      db.transaction(async (tx) => {
        const row = await tx.get('SELECT model, artifacts_deleted_at FROM runs WHERE run = ?', run);
        if (!row || textOrNull(row, 'artifacts_deleted_at') !== null) return;
        await tx.run('UPDATE runs SET artifacts_deleted_at = ? WHERE run = ?', at, run);
        const body = { run, artifacts: count };
        await appendAudit(tx, { model: text(row, 'model'), action: 'run.artifacts_deleted', actor: null, body, at });
      }),
    correctedDatasets: (before) =>
      db.read(async (tx) =>
        (
          await tx.all(
            "SELECT DISTINCT dataset FROM dataset_versions WHERE created_at < ? AND (corrects <> 'null' OR event_key LIKE 'refit/erasure %') ORDER BY dataset",
            before,
          )
        ).map((row) => text(row, 'dataset')),
      ),
  };
}
