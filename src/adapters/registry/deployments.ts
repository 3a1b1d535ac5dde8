/** Deployments: rollouts and rollbacks, their steps and outcome, and the one place where a version becomes champion. */
import type { ReplicaReport } from '../../contracts/plan.ts';
import { ROLLOUT_OUTCOMES, type RolloutOutcome } from '../../contracts/values.ts';
import type { DeploymentRecord, DeploymentRegistry } from '../../ports/registry/deployments.ts';
import { findApproval } from './approvals.ts';
import type { Database, Row, Session } from './database.ts';
import { appendAudit, record } from './journal.ts';
import { allPlans, currentPlan, writePlan } from './plans.ts';
import { promote } from './promotion.ts';
import { int, intOrNull, json, oneOf, oneOfOrNull, text, textOrNull } from './rows.ts';
import { findChampion, findVersion, setRole, wasChampion } from './versions.ts';

const KINDS = ['rollout', 'rollback'] as const;

async function deploymentRecord(db: Session, row: Row): Promise<DeploymentRecord> {
  const model = text(row, 'model');
  const deployment = int(row, 'deployment');
  return {
    model,
    deployment,
    kind: oneOf(row, 'kind', KINDS),
    run: textOrNull(row, 'run'),
    fromVersion: intOrNull(row, 'from_version'),
    toVersion: int(row, 'to_version'),
    actor: textOrNull(row, 'actor'),
    reason: textOrNull(row, 'reason'),
    outcome: oneOfOrNull(row, 'outcome', ROLLOUT_OUTCOMES),
    outcomeReason: textOrNull(row, 'outcome_reason'),
    startedAt: text(row, 'started_at'),
    finishedAt: textOrNull(row, 'finished_at'),
    steps: (
      await db.all(
        'SELECT step, status, detail, at FROM deployment_steps WHERE model = ? AND deployment = ? ORDER BY seq',
        model,
        deployment,
      )
    ).map((one) => ({
      step: text(one, 'step'),
      status: text(one, 'status'),
      detail: text(one, 'detail'),
      at: text(one, 'at'),
    })),
  };
}

export async function findDeployment(
  db: Session,
  model: string,
  deployment: number,
): Promise<DeploymentRecord | undefined> {
  const row = await db.get('SELECT * FROM deployments WHERE model = ? AND deployment = ?', model, deployment);
  return row && (await deploymentRecord(db, row));
}

async function existingDeployment(db: Session, model: string, deployment: number): Promise<DeploymentRecord> {
  const found = await findDeployment(db, model, deployment);
  if (!found) throw new Error(`there is no deployment ${deployment} of ${model}`);
  return found;
}

/** Nothing takes traffic without its decision: a rollout needs its own, a rollback goes to a version that was champion under one. */
async function undecided(db: Session, { model, kind, run, toVersion }: NewDeployment): Promise<string | null> {
  if (kind === 'rollback')
    return (await wasChampion(db, model, toVersion)) ? null : `${model}@${toVersion} was never champion`;
  const approval = run === null ? undefined : await findApproval(db, run);
  if (approval?.outcome === 'approved' && approval.version === toVersion) return null;
  return `${model}@${toVersion} is not approved (${run ?? 'no run'}: ${approval?.outcome ?? 'no decision'})`;
}

type NewDeployment = Parameters<DeploymentRegistry['openDeployment']>[0];

async function deploymentOf(db: Session, model: string, requestKey: string): Promise<DeploymentRecord | undefined> {
  const row = await db.get('SELECT * FROM deployments WHERE model = ? AND request_key = ?', model, requestKey);
  return row && (await deploymentRecord(db, row));
}

async function open(db: Session, input: NewDeployment): Promise<DeploymentRecord> {
  const { model, requestKey, kind, run, toVersion, actor, reason, at } = input;
  const known = await deploymentOf(db, model, requestKey);
  if (known) return known;
  const version = await findVersion(db, model, toVersion);
  if (!version) throw new Error(`there is no version ${model}@${toVersion} to deploy`);
  const obstacle = await undecided(db, input);
  if (obstacle !== null) throw new Error(`no ${kind} can be opened: ${obstacle}`);
  const last = await db.get('SELECT max(deployment) AS deployment FROM deployments WHERE model = ?', model);
  const deployment = (last ? (intOrNull(last, 'deployment') ?? 0) : 0) + 1;
  const fromVersion = (await findChampion(db, model))?.version ?? null;
  await db.run(
    `INSERT INTO deployments (model, deployment, request_key, kind, run, from_version, to_version, actor, reason, started_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ...[model, deployment, requestKey, kind, run, fromVersion, toVersion, actor, reason, at],
  );
  if (kind === 'rollout' && version.role === 'candidate') await setRole(db, model, toVersion, 'challenger');
  const body = {
    deployment,
    kind,
    run,
    fromVersion,
    toVersion,
    bundleDigest: version.bundleDigest,
    reason,
    requestKey,
  };
  await appendAudit(db, { model, action: 'deployment.opened', actor, body, at });
  return existingDeployment(db, model, deployment);
}

type Step = Parameters<DeploymentRegistry['recordStep']>[2];

async function recordStep(
  db: Session,
  model: string,
  deployment: number,
  { step, status, detail }: Step,
  at: string,
): Promise<void> {
  await existingDeployment(db, model, deployment);
  const added = await db.run(
    'INSERT INTO deployment_steps (model, deployment, step, status, detail, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
    ...[model, deployment, step, status, detail, at],
  );
  if (added === 0) return;
  await appendAudit(db, { model, action: 'rollout.step', actor: null, body: { deployment, step, status, detail }, at });
}

async function finish(
  db: Session,
  model: string,
  deployment: number,
  outcome: RolloutOutcome,
  reason: string,
  at: string,
): Promise<DeploymentRecord> {
  const before = await existingDeployment(db, model, deployment);
  if (before.outcome !== null) return before;
  if (outcome === 'promoted')
    throw new Error(`deployment ${deployment} of ${model} is not promoted: only promote() decides that`);
  await db.run(
    'UPDATE deployments SET outcome = ?, outcome_reason = ?, finished_at = ? WHERE model = ? AND deployment = ?',
    ...[outcome, reason, at, model, deployment],
  );
  const { kind, run, toVersion } = before;
  const version = await findVersion(db, model, toVersion);
  if (kind === 'rollout' && version?.role === 'challenger') await setRole(db, model, toVersion, 'archived');
  const facts = {
    deployment,
    kind,
    run,
    outcome,
    from: toVersion,
    to: (await findChampion(db, model))?.version ?? null,
    bundleDigest: version?.bundleDigest ?? null,
    reason,
  };
  const audit = { model, action: 'rollout.finished', actor: before.actor, body: facts, at };
  if (outcome === 'rolled_back') {
    await record(db, audit, {
      model,
      type: 'version.rolledback',
      id: `version.rolledback:${model}:${deployment}`,
      data: facts,
      at,
    });
  } else await appendAudit(db, audit);
  return existingDeployment(db, model, deployment);
}

export function createDeployments(db: Database): DeploymentRegistry {
  return {
    openDeployment: (input) => db.transaction((tx) => open(tx, input)),
    deploymentOf: (model, requestKey) => db.read((tx) => deploymentOf(tx, model, requestKey)),
    deployment: (model, deployment) => db.read((tx) => findDeployment(tx, model, deployment)),
    deployments: (model, limit) =>
      db.read(async (tx) => {
        const newest = 'SELECT * FROM deployments WHERE model = ? ORDER BY deployment DESC LIMIT ?';
        return Promise.all((await tx.all(newest, model, limit)).map((row) => deploymentRecord(tx, row)));
      }),
    writePlan: (plan, note, at) => db.transaction((tx) => writePlan(tx, plan, note, at)),
    plan: (model) => db.read((tx) => currentPlan(tx, model)),
    plans: () => db.read((tx) => allPlans(tx)),
    recordStep: (model, deployment, step, at) => db.transaction((tx) => recordStep(tx, model, deployment, step, at)),
    promote: ({ model, deployment, plan }, verify, at) =>
      db.transaction(async (tx) => promote(tx, await existingDeployment(tx, model, deployment), plan, verify, at)),
    finishDeployment: (model, deployment, outcome, reason, at) =>
      db.transaction((tx) => finish(tx, model, deployment, outcome, reason, at)),

    /** Telemetry of the last seconds and not a fact for later, so neither audited nor told. */
    reportReplica: (report, at) =>
      db.transaction(async (tx) => {
        await tx.run(
          `INSERT INTO replicas (model, replica, report, at) VALUES (?, ?, ?, ?)
           ON CONFLICT (model, replica) DO UPDATE SET report = excluded.report, at = excluded.at WHERE excluded.at >= replicas.at`,
          ...[report.model, report.replica, JSON.stringify(report), at],
        );
      }),
    replicas: (model, since) =>
      db.read(async (tx) =>
        (
          await tx.all('SELECT report, at FROM replicas WHERE model = ? AND at >= ? ORDER BY replica', model, since)
        ).map((row) => ({ ...json<ReplicaReport>(row, 'report'), at: text(row, 'at') })),
      ),
  };
}
