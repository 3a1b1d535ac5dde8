/** Registered versions and who was champion when. At most one is champion: the table's own index holds that. */
import type { SourceColumn } from '../../contracts/data.ts';
import type { Evaluation, MetricValue } from '../../contracts/evaluation.ts';
import { RUN_OUTCOMES, VERSION_ROLES, type VersionRole } from '../../contracts/values.ts';
import type { VersionRecord, VersionRegistry } from '../../ports/registry/versions.ts';
import type { Database, Row, Session } from './database.ts';
import { record } from './journal.ts';
import { int, intOrNull, json, oneOf, oneOfOrNull, text, textOrNull } from './rows.ts';

const versionRecord = (row: Row): VersionRecord => ({
  model: text(row, 'model'),
  version: int(row, 'version'),
  run: text(row, 'run'),
  bundleDigest: text(row, 'bundle_digest'),
  role: oneOf(row, 'role', VERSION_ROLES),
  snapshot: text(row, 'snapshot'),
  metric: json<MetricValue>(row, 'metric'),
  evaluation: json<Evaluation>(row, 'evaluation'),
  source: json<readonly SourceColumn[]>(row, 'source'),
  createdAt: text(row, 'created_at'),
  promotedAt: textOrNull(row, 'promoted_at'),
});

export async function findVersion(db: Session, model: string, version: number): Promise<VersionRecord | undefined> {
  const row = await db.get('SELECT * FROM versions WHERE model = ? AND version = ?', model, version);
  return row && versionRecord(row);
}

export async function versionOfRun(db: Session, run: string): Promise<VersionRecord | undefined> {
  const row = await db.get('SELECT * FROM versions WHERE run = ?', run);
  return row && versionRecord(row);
}

export async function findChampion(db: Session, model: string): Promise<VersionRecord | undefined> {
  const row = await db.get("SELECT * FROM versions WHERE model = ? AND role = 'champion'", model);
  return row && versionRecord(row);
}

export const wasChampion = async (db: Session, model: string, version: number): Promise<boolean> =>
  (await db.get('SELECT 1 FROM champions WHERE model = ? AND version = ? LIMIT 1', model, version)) !== undefined;

export async function setRole(db: Session, model: string, version: number, role: VersionRole): Promise<void> {
  await db.run('UPDATE versions SET role = ? WHERE model = ? AND version = ?', role, model, version);
}

export async function makeChampion(
  db: Session,
  model: string,
  version: number,
  deployment: number,
  at: string,
): Promise<void> {
  await db.run(
    "UPDATE versions SET role = 'archived' WHERE model = ? AND role = 'champion' AND version <> ?",
    model,
    version,
  );
  // One that serves already, as after a rollback in the middle of a rollout, does so since before.
  await db.run(
    "UPDATE versions SET role = 'champion', promoted_at = ? WHERE model = ? AND version = ? AND role <> 'champion'",
    at,
    model,
    version,
  );
  await db.run(
    'INSERT INTO champions (model, version, deployment, at) VALUES (?, ?, ?, ?)',
    model,
    version,
    deployment,
    at,
  );
}

type NewVersion = Parameters<VersionRegistry['registerVersion']>[0];

/** A version of a run that ended meanwhile must not wait for a decision that never comes. */
async function firstRole(db: Session, run: string): Promise<VersionRole> {
  const row = await db.get('SELECT outcome FROM runs WHERE run = ?', run);
  if (!row) throw new Error(`there is no run ${run} to register a version of`);
  const outcome = oneOfOrNull(row, 'outcome', RUN_OUTCOMES);
  if (outcome === null || outcome === 'approved') return 'candidate';
  return outcome === 'superseded' ? 'archived' : 'rejected';
}

async function register(db: Session, input: NewVersion): Promise<VersionRecord> {
  const known = await versionOfRun(db, input.run);
  if (known) return known;
  const { model, run, bundleDigest, snapshot, metric, evaluation, source, createdAt } = input;
  const role = await firstRole(db, run);
  const last = await db.get('SELECT max(version) AS version FROM versions WHERE model = ?', model);
  const version = (last ? (intOrNull(last, 'version') ?? 0) : 0) + 1;
  await db.run(
    `INSERT INTO versions (model, version, run, bundle_digest, role, snapshot, metric, evaluation, source, created_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ...[model, version, run, bundleDigest, role, snapshot, JSON.stringify(metric), JSON.stringify(evaluation)],
    ...[JSON.stringify(source), createdAt],
  );
  await db.run('UPDATE runs SET version = ? WHERE run = ?', version, run);
  const facts = { version, run, bundleDigest, role, snapshot, metric };
  await record(
    db,
    { model, action: 'version.registered', actor: null, body: facts, at: createdAt },
    { model, type: 'version.registered', id: `version.registered:${model}:${version}`, data: facts, at: createdAt },
  );
  return { ...input, version, role, promotedAt: null };
}

export function createVersions(db: Database): VersionRegistry {
  return {
    registerVersion: (input) => db.transaction((tx) => register(tx, input)),
    version: (model, version) => db.read((tx) => findVersion(tx, model, version)),
    versions: (model) =>
      db.read(async (tx) =>
        (await tx.all('SELECT * FROM versions WHERE model = ? ORDER BY version', model)).map(versionRecord),
      ),
    champion: (model) => db.read((tx) => findChampion(tx, model)),
    formerChampions: (model) =>
      db.read(async (tx) =>
        (
          await tx.all(
            `SELECT v.* FROM versions v JOIN (SELECT version, max(seq) AS last FROM champions WHERE model = ? GROUP BY version) c
               ON c.version = v.version WHERE v.model = ? AND v.role <> 'champion' ORDER BY c.last DESC`,
            ...[model, model],
          )
        ).map(versionRecord),
      ),
    championBefore: (model, version) =>
      db.read(async (tx) => {
        const row = await tx.get(
          `SELECT from_version FROM deployments
           WHERE model = ? AND to_version = ? AND kind = 'rollout' AND outcome = 'promoted' ORDER BY deployment DESC LIMIT 1`,
          ...[model, version],
        );
        return row ? intOrNull(row, 'from_version') : null;
      }),
  };
}
