/**
 * Erasure of rows by id, and artifacts that are gone for good. While a request is open its ids stand here and nowhere else: not in a
 * signal, a history or the audit chain, from which nothing can be taken back.
 */

import type { DatasetManifest } from '../../contracts/data.ts';
import type { Evaluation } from '../../contracts/evaluation.ts';
import { datasetOfReason } from '../../domain/ids.ts';
import { namesAny, withoutExamples } from '../../domain/rejection.ts';
import type {
  DeletedArtifact,
  ErasureRecord,
  ErasureRegistry,
  ErasureReport,
  RunHoldings,
} from '../../ports/registry/erasures.ts';
import type { SinkFile, SweepRecord } from '../../ports/registry/monitoring.ts';
import type { RunRecord } from '../../ports/registry/runs.ts';
import type { Database, Row, Session } from './database.ts';
import { versionRecord } from './datasets.ts';
import { appendAudit, datasetChain } from './journal.ts';
import { count, int, intOrNull, json, text, textOrNull } from './rows.ts';

const erasureRecord = (row: Row): ErasureRecord => ({
  dataset: text(row, 'dataset'),
  erasure: int(row, 'erasure'),
  actor: text(row, 'actor'),
  reason: textOrNull(row, 'reason'),
  count: int(row, 'count'),
  requestedAt: text(row, 'requested_at'),
  finishedAt: textOrNull(row, 'finished_at'),
  report: json<ErasureReport | null>(row, 'report'),
});

async function find(db: Session, dataset: string, erasure: number): Promise<ErasureRecord | undefined> {
  const row = await db.get('SELECT * FROM erasures WHERE dataset = ? AND erasure = ?', dataset, erasure);
  return row && erasureRecord(row);
}

type Request = Parameters<ErasureRegistry['requestErasure']>[0];

async function request(db: Session, { dataset, requestKey, ids, actor, reason, at }: Request): Promise<ErasureRecord> {
  const known = await db.get('SELECT * FROM erasures WHERE dataset = ? AND request_key = ?', dataset, requestKey);
  if (known) return erasureRecord(known);
  const last = await db.get('SELECT max(erasure) AS erasure FROM erasures WHERE dataset = ?', dataset);
  const erasure = (last ? (intOrNull(last, 'erasure') ?? 0) : 0) + 1;
  const given = [...new Set(ids)];
  await db.run(
    'INSERT INTO erasures (dataset, erasure, request_key, actor, reason, ids, count, requested_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    ...[dataset, erasure, requestKey, actor, reason, JSON.stringify(given), given.length, at],
  );
  const body = { erasure, reason, ids: given.length };
  await appendAudit(db, { model: datasetChain(dataset), action: 'erasure.requested', actor, body, at });
  const made = await find(db, dataset, erasure);
  if (!made) throw new Error(`erasure ${erasure} of ${dataset} was not stored`);
  return made;
}

async function finish(
  db: Session,
  dataset: string,
  erasure: number,
  report: ErasureReport,
  at: string,
): Promise<ErasureRecord> {
  const before = await find(db, dataset, erasure);
  if (!before) throw new Error(`there is no erasure ${erasure} of ${dataset}`);
  if (before.finishedAt !== null) return before;
  // The ids go with the request: who was erased is known to nobody from here on.
  await db.run(
    'UPDATE erasures SET ids = NULL, finished_at = ?, report = ? WHERE dataset = ? AND erasure = ?',
    ...[at, JSON.stringify(report), dataset, erasure],
  );
  const { actor } = before;
  const body = { erasure, ...report };
  const action = report.failure === undefined ? 'erasure.done' : 'erasure.failed';
  await appendAudit(db, { model: datasetChain(dataset), action, actor, body, at });
  const models = new Map<string, string[]>();
  for (const { model, run } of report.unrepeatable) models.set(model, [...(models.get(model) ?? []), run]);
  for (const [model, runs] of models) {
    const told = { dataset, erasure, unrepeatable: runs };
    await appendAudit(db, { model, action: 'erasure.done', actor, body: told, at });
  }
  return { ...before, finishedAt: at, report };
}

/** How many erasures of the dataset have listed the runs that hold its rows. */
export const erasuresListed = (db: Session, dataset: string): Promise<number> =>
  count(db, 'SELECT count(*) AS n FROM erasures WHERE dataset = ? AND listed = 1', dataset);

/** Every run with a snapshot of a model whose definition then named the dataset. */
async function runsOf(db: Session, dataset: string): Promise<readonly RunHoldings[]> {
  const rows = await db.all(
    `SELECT r.run, r.model, r.snapshot, r.training FROM runs r WHERE r.snapshot IS NOT NULL AND EXISTS (
       SELECT 1 FROM definitions d WHERE d.model = r.model AND d.digest = r.definition_digest AND d.dataset = ?) ORDER BY r.model, r.number`,
    dataset,
  );
  return rows.map((row) => {
    const { predictions = null, log = null } = json<RunRecord['training']>(row, 'training') ?? {};
    return { run: text(row, 'run'), model: text(row, 'model'), snapshot: text(row, 'snapshot'), predictions, log };
  });
}

async function deleteArtifact(db: Session, { digest, replacement, reason, at }: DeletedArtifact): Promise<void> {
  await db.run(
    'INSERT INTO deleted_artifacts (digest, replacement, reason, at) VALUES (?, ?, ?, ?) ON CONFLICT (digest, reason) DO NOTHING',
    ...[digest, replacement, reason, at],
  );
}

const deletedArtifact = (row: Row): DeletedArtifact => ({
  digest: text(row, 'digest'),
  replacement: textOrNull(row, 'replacement'),
  reason: text(row, 'reason'),
  at: text(row, 'at'),
});

interface LabelsBody {
  readonly data?: { readonly labels?: readonly { readonly id: string }[] };
}

/** Labels, and the events that brought them. Their digests stay: a repetition of such an event is still a duplicate. */
async function eraseLabels(db: Session, models: readonly string[], ids: ReadonlySet<string>): Promise<number> {
  let erased = 0;
  for (const model of models) {
    const changed = await db.runEach(
      'DELETE FROM labels WHERE model = ? AND id = ?',
      [...ids].map((id) => [model, id]),
    );
    erased += changed.reduce((sum, one) => sum + one, 0);
    const events = await db.all(
      "SELECT seq, body FROM events WHERE target_kind = 'model' AND target_name = ? AND type LIKE '%.labels.arrived.%'",
      model,
    );
    for (const row of events) {
      const body = json<LabelsBody>(row, 'body');
      const labels = body.data?.labels ?? [];
      const kept = labels.filter((label) => !ids.has(String(label.id)));
      if (kept.length === labels.length) continue;
      const left = JSON.stringify({ ...body, data: { ...body.data, labels: kept } });
      await db.run('UPDATE events SET body = ? WHERE seq = ?', left, int(row, 'seq'));
    }
  }
  return erased;
}

/** Sentences that name an id as an example or among a trainer's last lines: of refusals, of runs, of their checks and evaluations. */
async function redact(
  db: Session,
  dataset: string,
  models: readonly string[],
  ids: ReadonlySet<string>,
): Promise<void> {
  const fates = await db.all(
    `SELECT f.event, f.model, f.reason FROM fates f JOIN events e ON e.seq = f.event
     WHERE e.target_kind = 'dataset' AND e.target_name = ? AND f.reason LIKE '%for example%'`,
    dataset,
  );
  for (const row of fates) {
    const reason = text(row, 'reason');
    if (namesAny(reason, ids))
      await db.run(
        'UPDATE fates SET reason = ? WHERE event = ? AND model = ?',
        withoutExamples(reason),
        int(row, 'event'),
        text(row, 'model'),
      );
  }
  for (const model of models) {
    const runs = await db.all(
      "SELECT run, outcome_reason, checks FROM runs WHERE model = ? AND (checks <> '[]' OR outcome_reason IS NOT NULL)",
      model,
    );
    for (const row of runs) {
      const reason = textOrNull(row, 'outcome_reason');
      const checks = json<readonly { readonly examples?: readonly string[] }[]>(row, 'checks');
      const left = checks.map((check) =>
        (check.examples ?? []).some((example) => namesAny(example, ids)) ? { ...check, examples: [] } : check,
      );
      await db.run(
        'UPDATE runs SET outcome_reason = ?, checks = ? WHERE run = ?',
        ...[
          reason !== null && namesAny(reason, ids) ? withoutExamples(reason) : reason,
          JSON.stringify(left),
          text(row, 'run'),
        ],
      );
    }
    for (const table of ['runs', 'versions']) await redactEvaluations(db, table, model, ids);
  }
}

/** Why there is no comparison may name a value that could not be read. */
async function redactEvaluations(db: Session, table: string, model: string, ids: ReadonlySet<string>): Promise<void> {
  const rows = await db.all(
    `SELECT run, evaluation FROM ${table} WHERE model = ? AND evaluation LIKE '%, for example %'`,
    model,
  );
  for (const row of rows) {
    const evaluation = json<Evaluation | null>(row, 'evaluation');
    if (evaluation?.notCompared === undefined || !namesAny(evaluation.notCompared, ids)) continue;
    const left = { ...evaluation, notCompared: withoutExamples(evaluation.notCompared) };
    await db.run(`UPDATE ${table} SET evaluation = ? WHERE run = ?`, JSON.stringify(left), text(row, 'run'));
  }
}

/** Examples of skew name rows. */
async function redactSkew(db: Session, models: readonly string[], ids: ReadonlySet<string>): Promise<void> {
  for (const model of models) {
    const rows = await db.all(
      `SELECT window_end, record FROM sweeps WHERE model = ? AND record LIKE '%"skew"%'`,
      model,
    );
    for (const row of rows) {
      const sweep = json<SweepRecord>(row, 'record');
      if (!sweep.skew?.features.some(({ examples }) => examples.some(({ id }) => ids.has(id)))) continue;
      const features = sweep.skew.features.map((one) => ({
        ...one,
        examples: one.examples.filter(({ id }) => !ids.has(id)),
      }));
      const left = JSON.stringify({ ...sweep, skew: { ...sweep.skew, features } });
      await db.run(
        'UPDATE sweeps SET record = ? WHERE model = ? AND window_end = ?',
        left,
        model,
        text(row, 'window_end'),
      );
    }
  }
}

/** Datasets that gave an artifact up by an erasure of their own, as `DIGEST DATASET`. */
async function givenUp(db: Database, digests: readonly string[]): Promise<ReadonlySet<string>> {
  const found = await db.read((tx) =>
    tx.allEach(
      'SELECT digest, reason FROM deleted_artifacts WHERE digest = ?',
      digests.map((digest) => [digest]),
    ),
  );
  return new Set(
    found.flat().flatMap((row) => {
      const dataset = datasetOfReason(text(row, 'reason'));
      return dataset === undefined ? [] : [`${text(row, 'digest')} ${dataset}`];
    }),
  );
}

/**
 * The newest version of a dataset holds what it names, for the same rows may have come back after an erasure; an older one does not hold what an
 * erasure of that dataset took out. Manifests are read one by one: all of them would be more than fits into memory.
 */
async function heldElsewhere(db: Database, dataset: string, digests: readonly string[]): Promise<ReadonlySet<string>> {
  const wanted = new Set(digests);
  const held = new Set<string>();
  if (wanted.size === 0) return held;
  const out = await givenUp(db, [...wanted]);
  const versions = await db.read((tx) =>
    tx.all(
      `SELECT dataset, version, (SELECT max(version) FROM dataset_versions n WHERE n.dataset = v.dataset) AS newest
       FROM dataset_versions v WHERE dataset <> ? ORDER BY dataset, version DESC`,
      dataset,
    ),
  );
  for (const key of versions) {
    if (held.size === wanted.size) break;
    const [holder, version] = [text(key, 'dataset'), int(key, 'version')];
    const row = await db.read((tx) =>
      tx.get('SELECT manifest FROM dataset_versions WHERE dataset = ? AND version = ?', holder, version),
    );
    if (!row) continue;
    const { files, profile } = json<DatasetManifest>(row, 'manifest');
    const isNewest = version === int(key, 'newest');
    for (const digest of [...files.map((file) => file.digest), ...(profile === undefined ? [] : [profile])])
      if (wanted.has(digest) && (isNewest || !out.has(`${digest} ${holder}`))) held.add(digest);
  }
  return held;
}

export function createErasures(db: Database): ErasureRegistry {
  return {
    requestErasure: (input) => db.transaction((tx) => request(tx, input)),
    erasure: (dataset, erasure) => db.read((tx) => find(tx, dataset, erasure)),
    erasures: (dataset, limit) =>
      db.read(async (tx) =>
        (await tx.all('SELECT * FROM erasures WHERE dataset = ? ORDER BY erasure DESC LIMIT ?', dataset, limit)).map(
          erasureRecord,
        ),
      ),
    openErasures: () =>
      db.read(async (tx) =>
        (await tx.all('SELECT * FROM erasures WHERE finished_at IS NULL ORDER BY dataset, erasure')).map(erasureRecord),
      ),
    erasureIds: (dataset, erasure) =>
      db.read(async (tx) => {
        const row = await tx.get('SELECT ids FROM erasures WHERE dataset = ? AND erasure = ?', dataset, erasure);
        return row && textOrNull(row, 'ids') !== null ? json<readonly string[]>(row, 'ids') : [];
      }),
    finishErasure: (dataset, erasure, report, at) => db.transaction((tx) => finish(tx, dataset, erasure, report, at)),
    listRuns: (dataset, erasure) =>
      db.transaction(async (tx) => {
        await tx.run('UPDATE erasures SET listed = 1 WHERE dataset = ? AND erasure = ?', dataset, erasure);
        return runsOf(tx, dataset);
      }),
    erasuresListed: (dataset) => db.read((tx) => erasuresListed(tx, dataset)),
    modelsEverOf: (dataset) =>
      db.read(async (tx) =>
        (await tx.all('SELECT DISTINCT model FROM definitions WHERE dataset = ? ORDER BY model', dataset)).map((row) =>
          text(row, 'model'),
        ),
      ),
    erasedFrom: (dataset, digests) =>
      db.read(async (tx) => {
        const found = await tx.allEach(
          'SELECT reason FROM deleted_artifacts WHERE digest = ?',
          digests.map((digest) => [digest]),
        );
        return found
          .flat()
          .map((row) => text(row, 'reason'))
          .find((reason) => datasetOfReason(reason) === dataset);
      }),
    allDatasetVersions: (dataset) =>
      db.read(async (tx) =>
        (await tx.all('SELECT * FROM dataset_versions WHERE dataset = ? ORDER BY version', dataset)).map(versionRecord),
      ),
    eraseSources: (dataset, digests, erasure) =>
      db.transaction(async (tx) => {
        await tx.runEach(
          'INSERT INTO erased_sources (dataset, source_digest, erasure) VALUES (?, ?, ?) ON CONFLICT (dataset, source_digest) DO NOTHING',
          digests.map((digest) => [dataset, digest, erasure]),
        );
      }),
    erasedSource: (dataset, sourceDigest) =>
      db.read(async (tx) => {
        const row = await tx.get(
          'SELECT erasure FROM erased_sources WHERE dataset = ? AND source_digest = ?',
          ...[dataset, sourceDigest],
        );
        return row ? int(row, 'erasure') : undefined;
      }),
    eraseLabels: (models, ids) => db.transaction((tx) => eraseLabels(tx, models, new Set(ids))),
    redact: (dataset, models, ids) =>
      db.transaction(async (tx) => {
        await redact(tx, dataset, models, new Set(ids));
        await redactSkew(tx, models, new Set(ids));
      }),
    sinkFilesAfter: (after, limit) =>
      db.read(async (tx) =>
        (await tx.all('SELECT seq, file FROM sink_files WHERE seq > ? ORDER BY seq LIMIT ?', after, limit)).map(
          (row) => ({ seq: int(row, 'seq'), file: json<SinkFile>(row, 'file') }),
        ),
      ),
    replaceSinkFile: (file, digest, rows) =>
      db.transaction(async (tx) => {
        await tx.run(
          // Its place alone may be that of several: a topic that was created anew counts from the start again.
          'UPDATE sink_files SET file = ? WHERE topic = ? AND partition = ? AND start_offset = ? AND file = ?',
          ...[JSON.stringify({ ...file, digest, rows }), file.topic, file.partition, file.startOffset],
          JSON.stringify(file),
        );
      }),
    deleteArtifact: (artifact) => db.transaction((tx) => deleteArtifact(tx, artifact)),
    deletedArtifact: (digest) =>
      db.read(async (tx) => {
        const row = await tx.get(
          'SELECT * FROM deleted_artifacts WHERE digest = ? ORDER BY replacement IS NULL, at DESC, reason LIMIT 1',
          digest,
        );
        return row && deletedArtifact(row);
      }),
    erasedArtifact: (dataset, digest) =>
      db.read(async (tx) =>
        (await tx.all('SELECT * FROM deleted_artifacts WHERE digest = ? ORDER BY at DESC, reason', digest))
          .map(deletedArtifact)
          .find(({ reason }) => datasetOfReason(reason) === dataset),
      ),
    deletedFor: (reason) =>
      db.read(async (tx) =>
        (await tx.all('SELECT digest FROM deleted_artifacts WHERE reason = ? ORDER BY digest', reason)).map((row) =>
          text(row, 'digest'),
        ),
      ),
    heldElsewhere: (dataset, digests) => heldElsewhere(db, dataset, digests),
  };
}
