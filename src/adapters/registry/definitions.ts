/** What `apply` registers: datasets, models, policies. A definition is never changed, only followed by a newer one. */
import type { DatasetDocument, ModelDocument, PolicyDocument } from '../../contracts/documents.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import type { ApplyChange, ApplyInput, DatasetRecord, DefinitionRegistry, ModelRecord } from '../../ports/registry.ts';
import type { Database, Row } from './database.ts';
import { appendAudit, datasetChain, policyChain, sha256 } from './journal.ts';
import { int, json, text, textOrNull } from './rows.ts';

const datasetRecord = (row: Row): DatasetRecord => ({
  name: text(row, 'name'),
  document: json<DatasetDocument>(row, 'document'),
  root: text(row, 'root'),
});

const modelRecord = (row: Row): ModelRecord => ({
  name: text(row, 'model'),
  document: json<ModelDocument>(row, 'document'),
  definitionDigest: text(row, 'digest'),
  projectDigest: text(row, 'project_digest'),
  revision: int(row, 'revision'),
  gitCommit: textOrNull(row, 'git_commit'),
  actor: text(row, 'actor'),
  appliedAt: text(row, 'applied_at'),
});

/** The newest definition of each model. */
const NEWEST =
  'SELECT * FROM definitions AS d WHERE revision = (SELECT max(revision) FROM definitions WHERE model = d.model)';

export function newestDefinition(db: Database, model: string): ModelRecord | undefined {
  const row = db.get('SELECT * FROM definitions WHERE model = ? ORDER BY revision DESC LIMIT 1', model);
  return row && modelRecord(row);
}

export const isModel = (db: Database, name: string): boolean =>
  db.get('SELECT 1 FROM definitions WHERE model = ? LIMIT 1', name) !== undefined;
export const isDataset = (db: Database, name: string): boolean =>
  db.get('SELECT 1 FROM datasets WHERE name = ?', name) !== undefined;

export function allPolicies(db: Database): readonly PolicyDocument[] {
  return db.all('SELECT document FROM policies ORDER BY name').map((row) => json<PolicyDocument>(row, 'document'));
}

function applyDataset(db: Database, document: DatasetDocument, input: ApplyInput): ApplyChange['status'] {
  const content = canonicalJson(document);
  const known = db.get('SELECT document, root FROM datasets WHERE name = ?', document.name);
  // The root counts: it decides from where files may come.
  if (known && text(known, 'document') === content && text(known, 'root') === input.root) return 'unchanged';
  db.run(
    `INSERT INTO datasets (name, document, root, applied_at) VALUES (?, ?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET document = excluded.document, root = excluded.root, applied_at = excluded.applied_at`,
    ...[document.name, content, input.root, input.at],
  );
  const body = {
    dataset: document.name,
    digest: sha256(content),
    root: input.root,
    project: input.projectDigest,
    gitCommit: input.gitCommit,
  };
  appendAudit(db, {
    model: datasetChain(document.name),
    action: 'dataset.applied',
    actor: input.actor,
    body,
    at: input.at,
  });
  return known ? 'changed' : 'created';
}

function applyModel(db: Database, document: ModelDocument, digest: string, input: ApplyInput): ApplyChange['status'] {
  const known = newestDefinition(db, document.name);
  if (known?.definitionDigest === digest) return 'unchanged';
  const revision = (known?.revision ?? 0) + 1;
  db.run(
    `INSERT INTO definitions (model, revision, digest, dataset, document, project_digest, git_commit, actor, applied_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ...[
      document.name,
      revision,
      digest,
      document.dataset,
      canonicalJson(document),
      input.projectDigest,
      input.gitCommit,
    ],
    ...[input.actor, input.at],
  );
  const before = known?.definitionDigest ?? null;
  const body = {
    definition: digest,
    before,
    revision,
    dataset: document.dataset,
    project: input.projectDigest,
    gitCommit: input.gitCommit,
  };
  appendAudit(db, { model: document.name, action: 'definition.applied', actor: input.actor, body, at: input.at });
  return known ? 'changed' : 'created';
}

function applyPolicy(db: Database, document: PolicyDocument, input: ApplyInput): ApplyChange['status'] {
  const content = canonicalJson(document);
  const known = db.get('SELECT document FROM policies WHERE name = ?', document.name);
  if (known && text(known, 'document') === content) return 'unchanged';
  db.run(
    `INSERT INTO policies (name, document, applied_at) VALUES (?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET document = excluded.document, applied_at = excluded.applied_at`,
    ...[document.name, content, input.at],
  );
  // Whole, before and after: it says who was entitled when.
  const body = { policy: document, before: known ? json<PolicyDocument>(known, 'document') : null };
  appendAudit(db, {
    model: policyChain(document.name),
    action: 'policy.applied',
    actor: input.actor,
    body,
    at: input.at,
  });
  return known ? 'changed' : 'created';
}

export function createDefinitions(db: Database): DefinitionRegistry {
  return {
    apply: (input) =>
      db.transaction(() => [
        ...input.datasets.map(
          (one): ApplyChange => ({ kind: 'Dataset', name: one.name, status: applyDataset(db, one, input) }),
        ),
        ...input.models.map(
          ({ document, definitionDigest }): ApplyChange => ({
            kind: 'Model',
            name: document.name,
            status: applyModel(db, document, definitionDigest, input),
          }),
        ),
        ...input.policies.map(
          (one): ApplyChange => ({ kind: 'Policy', name: one.name, status: applyPolicy(db, one, input) }),
        ),
      ]),

    dataset: (name) =>
      db.read(() => {
        const row = db.get('SELECT * FROM datasets WHERE name = ?', name);
        return row && datasetRecord(row);
      }),
    datasets: () => db.read(() => db.all('SELECT * FROM datasets ORDER BY name').map(datasetRecord)),

    model: (name) => db.read(() => newestDefinition(db, name)),
    models: () => db.read(() => db.all(`${NEWEST} ORDER BY model`).map(modelRecord)),
    modelsOfDataset: (dataset) =>
      db.read(() => db.all(`${NEWEST} AND dataset = ? ORDER BY model`, dataset).map((row) => text(row, 'model'))),
    definition: (model, definitionDigest) =>
      db.read(() => {
        const row = db.get(
          'SELECT * FROM definitions WHERE model = ? AND digest = ? ORDER BY revision DESC LIMIT 1',
          model,
          definitionDigest,
        );
        return row && modelRecord(row);
      }),

    policies: () => db.read(() => allPolicies(db)),
  };
}
