/** Batch scoring: what was asked for, and the file that it gave. */
import type { BatchRecord, BatchRegistry } from '../../ports/registry/batches.ts';
import type { Database, Row, Session } from './database.ts';
import { appendAudit } from './journal.ts';
import { count, int, intOrNull, json, text, textOrNull } from './rows.ts';

const batchRecord = (row: Row): BatchRecord => ({
  model: text(row, 'model'),
  batch: int(row, 'batch'),
  version: int(row, 'version'),
  dataset: text(row, 'dataset'),
  datasetVersion: int(row, 'dataset_version'),
  joined: json<BatchRecord['joined']>(row, 'joined'),
  actor: text(row, 'actor'),
  requestedAt: text(row, 'requested_at'),
  finishedAt: textOrNull(row, 'finished_at'),
  rows: intOrNull(row, 'rows'),
  output: textOrNull(row, 'output'),
  failure: textOrNull(row, 'failure'),
});

async function find(db: Session, model: string, batch: number): Promise<BatchRecord | undefined> {
  const row = await db.get('SELECT * FROM batches WHERE model = ? AND batch = ?', model, batch);
  return row && batchRecord(row);
}

async function existing(db: Session, model: string, batch: number): Promise<BatchRecord> {
  const found = await find(db, model, batch);
  if (!found) throw new Error(`there is no batch ${batch} of ${model}`);
  return found;
}

type Request = Parameters<BatchRegistry['requestBatch']>[0];

async function request(db: Session, input: Request): Promise<BatchRecord> {
  const { model, requestKey, version, dataset, datasetVersion, joined, actor, at } = input;
  const known = await db.get('SELECT * FROM batches WHERE model = ? AND request_key = ?', model, requestKey);
  if (known) return batchRecord(known);
  const last = await db.get('SELECT max(batch) AS batch FROM batches WHERE model = ?', model);
  const batch = (last ? (intOrNull(last, 'batch') ?? 0) : 0) + 1;
  const erasures = await count(
    db,
    'SELECT count(*) AS n FROM erasures WHERE dataset = ? AND finished_at IS NOT NULL',
    dataset,
  );
  await db.run(
    'INSERT INTO batches (model, batch, request_key, version, dataset, dataset_version, joined, actor, requested_at, erasures) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    ...[model, batch, requestKey, version, dataset, datasetVersion, JSON.stringify(joined), actor, at, erasures],
  );
  const body = { batch, version, dataset, datasetVersion, joined };
  await appendAudit(db, { model, action: 'batch.requested', actor, body, at });
  return existing(db, model, batch);
}

type End = Parameters<BatchRegistry['finishBatch']>[2];

/**
 * Rows may have been read before they were erased, and the erasure knew of no file that holds them. By count and not by time: the clocks of
 * several hosts differ.
 */
async function erasedMeanwhile(db: Session, { model, batch, dataset }: BatchRecord): Promise<string | null> {
  const row = await db.get(
    `SELECT max(erasure) AS erasure FROM erasures WHERE dataset = ? HAVING count(*) >
       (SELECT erasures FROM batches WHERE model = ? AND batch = ?)`,
    ...[dataset, model, batch],
  );
  if (!row) return null;
  return `rows of dataset ${dataset} were erased while they were scored (erasure ${int(row, 'erasure')}); once that is done, ask for the batch again`;
}

async function finish(db: Session, model: string, batch: number, end: End, at: string): Promise<BatchRecord> {
  const before = await existing(db, model, batch);
  if (before.finishedAt !== null) return before;
  const refused = 'failure' in end ? end.failure : await erasedMeanwhile(db, before);
  const made = 'failure' in end || refused !== null ? null : end;
  await db.run(
    'UPDATE batches SET finished_at = ?, rows = ?, output = ?, failure = ? WHERE model = ? AND batch = ?',
    ...[at, made?.rows ?? null, made?.output ?? null, refused, model, batch],
  );
  const { version, dataset, datasetVersion } = before;
  const body = { batch, version, dataset, datasetVersion, ...(made ?? { failure: refused }) };
  await appendAudit(db, { model, action: made ? 'batch.done' : 'batch.failed', actor: null, body, at });
  return existing(db, model, batch);
}

export function createBatches(db: Database): BatchRegistry {
  const list = (sql: string, ...values: readonly (string | number)[]): Promise<readonly BatchRecord[]> =>
    db.read(async (tx) => (await tx.all(sql, ...values)).map(batchRecord));
  return {
    requestBatch: (input) => db.transaction((tx) => request(tx, input)),
    batch: (model, batch) => db.read((tx) => find(tx, model, batch)),
    batches: (model, limit) =>
      list('SELECT * FROM batches WHERE model = ? ORDER BY batch DESC LIMIT ?', ...[model, limit]),
    openBatches: () => list('SELECT * FROM batches WHERE finished_at IS NULL ORDER BY model, batch'),
    finishBatch: (model, batch, end, at) => db.transaction((tx) => finish(tx, model, batch, end, at)),
    batchesOfDataset: (dataset) =>
      list('SELECT * FROM batches WHERE dataset = ? AND output IS NOT NULL ORDER BY model, batch', dataset),
    replaceBatchOutput: (model, batch, output, rows) =>
      db.transaction(async (tx) => {
        await tx.run(
          'UPDATE batches SET output = ?, rows = ? WHERE model = ? AND batch = ?',
          ...[output, rows, model, batch],
        );
      }),
  };
}
