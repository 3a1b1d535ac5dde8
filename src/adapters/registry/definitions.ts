/** What `apply` registers: datasets, models, policies. A definition is never changed, only followed by a newer one. */
import type { DatasetDocument, ModelDocument, PolicyDocument } from '../../contracts/documents.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import type {
  ApplyChange,
  ApplyInput,
  DatasetRecord,
  DefinitionRegistry,
  ModelRecord,
} from '../../ports/registry/definitions.ts';
import type { Database, Row, Session } from './database.ts';
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

export async function newestDefinition(db: Session, model: string): Promise<ModelRecord | undefined> {
  const row = await db.get('SELECT * FROM definitions WHERE model = ? ORDER BY revision DESC LIMIT 1', model);
  return row && modelRecord(row);
}

export const isModel = async (db: Session, name: string): Promise<boolean> =>
  (await db.get('SELECT 1 FROM definitions WHERE model = ? LIMIT 1', name)) !== undefined;

export async function allPolicies(db: Session): Promise<readonly PolicyDocument[]> {
  return (await db.all('SELECT document FROM policies ORDER BY name')).map((row) =>
    json<PolicyDocument>(row, 'document'),
  );
}

async function applyDataset(db: Session, document: DatasetDocument, input: ApplyInput): Promise<ApplyChange['status']> {
  const content = canonicalJson(document);
  const known = await db.get('SELECT document, root FROM datasets WHERE name = ?', document.name);
  // The root counts: it decides from where files may come.
  if (known && text(known, 'document') === content && text(known, 'root') === input.root) return 'unchanged';
  await db.run(
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
  await appendAudit(db, {
    model: datasetChain(document.name),
    action: 'dataset.applied',
    actor: input.actor,
    body,
    at: input.at,
  });
  return known ? 'changed' : 'created';
}

async function applyModel(
  db: Session,
  document: ModelDocument,
  digest: string,
  input: ApplyInput,
): Promise<ApplyChange['status']> {
  const known = await newestDefinition(db, document.name);
  if (known?.definitionDigest === digest) return 'unchanged';
  const revision = (known?.revision ?? 0) + 1;
  await db.run(
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
  await appendAudit(db, { model: document.name, action: 'definition.applied', actor: input.actor, body, at: input.at });
  return known ? 'changed' : 'created';
}

async function applyPolicy(db: Session, document: PolicyDocument, input: ApplyInput): Promise<ApplyChange['status']> {
  const content = canonicalJson(document);
  const known = await db.get('SELECT document FROM policies WHERE name = ?', document.name);
  if (known && text(known, 'document') === content) return 'unchanged';
  await db.run(
    `INSERT INTO policies (name, document, applied_at) VALUES (?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET document = excluded.document, applied_at = excluded.applied_at`,
    ...[document.name, content, input.at],
  );
  // Whole, before and after: it says who was entitled when.
  const body = { policy: document, before: known ? json<PolicyDocument>(known, 'document') : null };
  await appendAudit(db, {
    model: policyChain(document.name),
    action: 'policy.applied',
    actor: input.actor,
    body,
    at: input.at,
  });
  return known ? 'changed' : 'created';
}

async function apply(db: Session, input: ApplyInput): Promise<readonly ApplyChange[]> {
  const changes: ApplyChange[] = [];
  for (const document of input.datasets)
    changes.push({ kind: 'Dataset', name: document.name, status: await applyDataset(db, document, input) });
  for (const { document, definitionDigest } of input.models)
    changes.push({
      kind: 'Model',
      name: document.name,
      status: await applyModel(db, document, definitionDigest, input),
    });
  for (const document of input.policies)
    changes.push({ kind: 'Policy', name: document.name, status: await applyPolicy(db, document, input) });
  return changes;
}

export function createDefinitions(db: Database): DefinitionRegistry {
  return {
    apply: (input) => db.transaction((tx) => apply(tx, input)),

    dataset: (name) =>
      db.read(async (tx) => {
        const row = await tx.get('SELECT * FROM datasets WHERE name = ?', name);
        return row && datasetRecord(row);
      }),
    datasets: () => db.read(async (tx) => (await tx.all('SELECT * FROM datasets ORDER BY name')).map(datasetRecord)),

    model: (name) => db.read((tx) => newestDefinition(tx, name)),
    models: () => db.read(async (tx) => (await tx.all(`${NEWEST} ORDER BY model`)).map(modelRecord)),
    modelsOfDataset: (dataset) =>
      db.read(async (tx) =>
        (await tx.all(`${NEWEST} AND dataset = ? ORDER BY model`, dataset)).map((row) => text(row, 'model')),
      ),
    definition: (model, definitionDigest) =>
      db.read(async (tx) => {
        const row = await tx.get(
          'SELECT * FROM definitions WHERE model = ? AND digest = ? ORDER BY revision DESC LIMIT 1',
          model,
          definitionDigest,
        );
        return row && modelRecord(row);
      }),

    policies: () => db.read((tx) => allPolicies(tx)),
  };
}
