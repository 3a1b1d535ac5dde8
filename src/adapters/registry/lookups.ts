/** Keyed stores of joins: which are wanted, and the newest of each. Facts by content: the same again changes nothing. */
import type { LookupRecord, LookupRegistry } from '../../ports/registry/lookups.ts';
import type { Database, Row } from './database.ts';
import { int, json, text, textOrNull } from './rows.ts';

const lookupRecord = (row: Row): LookupRecord => ({
  spec: text(row, 'spec'),
  dataset: text(row, 'dataset'),
  datasetVersion: int(row, 'dataset_version'),
  digest: text(row, 'digest'),
  rows: int(row, 'rows'),
  maxTime: textOrNull(row, 'max_time'),
  at: text(row, 'at'),
});

export function createLookups(db: Database): LookupRegistry {
  return {
    wantLookup: (spec, document, at) =>
      db.transaction(async (tx) => {
        await tx.run(
          'INSERT INTO lookup_specs (spec, dataset, document, at) VALUES (?, ?, ?, ?) ON CONFLICT (spec) DO NOTHING',
          ...[spec, document.dataset, JSON.stringify(document), at],
        );
      }),
    wantedLookups: (dataset) =>
      db.read(async (tx) => {
        const rows = await tx.all('SELECT spec, document FROM lookup_specs WHERE dataset = ? ORDER BY spec', dataset);
        return rows.map((row) => ({ spec: text(row, 'spec'), document: json(row, 'document') }));
      }),
    recordLookup: ({ spec, dataset, datasetVersion, digest, rows, maxTime, at }) =>
      db.transaction(async (tx) => {
        await tx.run(
          `INSERT INTO lookups (spec, dataset, dataset_version, digest, rows, max_time, at) VALUES (?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (spec, dataset_version) DO NOTHING`,
          ...[spec, dataset, datasetVersion, digest, rows, maxTime, at],
        );
      }),
    lookup: (spec) =>
      db.read(async (tx) => {
        const row = await tx.get('SELECT * FROM lookups WHERE spec = ? ORDER BY dataset_version DESC LIMIT 1', spec);
        return row && lookupRecord(row);
      }),
    supersededLookups: (spec) =>
      db.read(async (tx) => {
        const newest = '(SELECT max(dataset_version) FROM lookups WHERE spec = ?)';
        const rows = await tx.all(`SELECT * FROM lookups WHERE spec = ? AND dataset_version < ${newest}`, spec, spec);
        return rows.map(lookupRecord);
      }),
    replaceLookup: ({ spec, datasetVersion, digest, rows, maxTime, at }) =>
      db.transaction(async (tx) => {
        await tx.run(
          'UPDATE lookups SET digest = ?, rows = ?, max_time = ?, at = ? WHERE spec = ? AND dataset_version = ?',
          ...[digest, rows, maxTime, at, spec, datasetVersion],
        );
      }),
    forgetLookup: (spec, datasetVersion) =>
      db.transaction(async (tx) => {
        await tx.run('DELETE FROM lookups WHERE spec = ? AND dataset_version = ?', spec, datasetVersion);
      }),
  };
}
