/** Dataset versions: numbered without a gap, one for each event that changes the bytes. */
import type { DatasetManifest } from '../../contracts/data.ts';
import type { Correction } from '../../domain/dataset-versions.ts';
import type { DatasetRegistry, DatasetVersionRecord } from '../../ports/registry/datasets.ts';
import type { Database, Row, Session } from './database.ts';
import { findEvent } from './fates.ts';
import { appendAudit, datasetChain } from './journal.ts';
import { int, json, text } from './rows.ts';

export const versionRecord = (row: Row): DatasetVersionRecord => ({
  dataset: text(row, 'dataset'),
  version: int(row, 'version'),
  manifestDigest: text(row, 'manifest_digest'),
  manifest: json<DatasetManifest>(row, 'manifest'),
  eventKey: text(row, 'event_key'),
  newRows: int(row, 'new_rows'),
  createdAt: text(row, 'created_at'),
  corrects: json<Correction | null>(row, 'corrects'),
});

async function latest(db: Session, dataset: string): Promise<DatasetVersionRecord | undefined> {
  const row = await db.get('SELECT * FROM dataset_versions WHERE dataset = ? ORDER BY version DESC LIMIT 1', dataset);
  return row && versionRecord(row);
}

async function ofEvent(db: Session, dataset: string, eventKey: string): Promise<DatasetVersionRecord | undefined> {
  const row = await db.get('SELECT * FROM dataset_versions WHERE dataset = ? AND event_key = ?', dataset, eventKey);
  return row && versionRecord(row);
}

async function commit(db: Session, record: DatasetVersionRecord): Promise<DatasetVersionRecord | 'conflict'> {
  const there = await ofEvent(db, record.dataset, record.eventKey);
  if (there) return there;
  if (record.version !== ((await latest(db, record.dataset))?.version ?? 0) + 1) return 'conflict';
  const { dataset, version, manifestDigest, manifest, eventKey, newRows, createdAt, corrects } = record;
  await db.run(
    `INSERT INTO dataset_versions (dataset, version, manifest_digest, manifest, event_key, new_rows, created_at, corrects)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ...[dataset, version, manifestDigest, JSON.stringify(manifest), eventKey, newRows, createdAt],
    JSON.stringify(corrects),
  );
  const eventDigest = (await findEvent(db, eventKey))?.digest ?? null;
  const body = {
    dataset,
    version,
    manifest: manifestDigest,
    rows: manifest.rows,
    newRows,
    event: eventKey,
    eventDigest,
    ...(corrects === null ? {} : { corrects }),
  };
  await appendAudit(db, {
    model: datasetChain(dataset),
    action: 'dataset.versioned',
    actor: null,
    body,
    at: createdAt,
  });
  return record;
}

export function createDatasets(db: Database): DatasetRegistry {
  return {
    latestDatasetVersion: (dataset) => db.read((tx) => latest(tx, dataset)),
    datasetVersion: (dataset, version) =>
      db.read(async (tx) => {
        const row = await tx.get('SELECT * FROM dataset_versions WHERE dataset = ? AND version = ?', dataset, version);
        return row && versionRecord(row);
      }),
    datasetVersionOfEvent: (dataset, eventKey) => db.read((tx) => ofEvent(tx, dataset, eventKey)),
    datasetVersions: (dataset, limit) =>
      db.read(async (tx) =>
        (
          await tx.all('SELECT * FROM dataset_versions WHERE dataset = ? ORDER BY version DESC LIMIT ?', dataset, limit)
        ).map(versionRecord),
      ),
    commitDatasetVersion: (record) => db.transaction((tx) => commit(tx, record)),
  };
}
