/**
 * The traffic plan and its fence. A plan is written by compare-and-set on (deployment, revision); a deployment that is over, or that
 * a later rollback has fenced off, writes no more, however late its writer wakes up.
 */
import type { TrafficPlan } from '../../contracts/plan.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import type { PlanWrite } from '../../ports/registry/deployments.ts';
import type { Session } from './database.ts';
import { record } from './journal.ts';
import { int, json, textOrNull } from './rows.ts';
import { findVersion } from './versions.ts';

export async function currentPlan(db: Session, model: string): Promise<TrafficPlan | undefined> {
  const row = await db.get(
    'SELECT plan FROM plans WHERE model = ? ORDER BY deployment DESC, revision DESC LIMIT 1',
    model,
  );
  return row && json<TrafficPlan>(row, 'plan');
}

export async function allPlans(db: Session): Promise<readonly TrafficPlan[]> {
  return (
    await db.all(
      `SELECT plan FROM plans p WHERE NOT EXISTS (SELECT 1 FROM plans n WHERE n.model = p.model
         AND (n.deployment > p.deployment OR (n.deployment = p.deployment AND n.revision > p.revision))) ORDER BY model`,
    )
  ).map((row) => json<TrafficPlan>(row, 'plan'));
}

/** Why this deployment may not write any more; null while it may. */
export async function fencedOff(db: Session, model: string, deployment: number): Promise<string | null> {
  const row = await db.get('SELECT outcome FROM deployments WHERE model = ? AND deployment = ?', model, deployment);
  if (!row) throw new Error(`there is no deployment ${deployment} of ${model}`);
  const outcome = textOrNull(row, 'outcome');
  if (outcome !== null) return `deployment ${deployment} of ${model} is over: ${outcome}`;
  const rollback = await db.get(
    "SELECT min(deployment) AS deployment FROM deployments WHERE model = ? AND deployment > ? AND kind = 'rollback'",
    ...[model, deployment],
  );
  if (rollback && rollback.deployment !== null)
    return `rollback ${int(rollback, 'deployment')} of ${model} came after deployment ${deployment}`;
  return null;
}

export type Fence = 'free' | 'same' | { readonly stale: string };

/** Whether this plan may follow the one in force. */
export async function checkFence(db: Session, plan: TrafficPlan): Promise<Fence> {
  const current = await currentPlan(db, plan.model);
  if (current && canonicalJson(current) === canonicalJson(plan)) return 'same';
  const over = await fencedOff(db, plan.model, plan.deployment);
  if (over !== null) return { stale: over };
  if (!current || plan.deployment > current.deployment) return 'free';
  if (plan.deployment === current.deployment && plan.revision > current.revision) return 'free';
  return {
    stale: `plan ${plan.deployment}.${plan.revision} of ${plan.model} is not newer than the plan in force, ${current.deployment}.${current.revision}`,
  };
}

export interface PlanNote {
  readonly step: string;
  readonly detail: string;
}

export async function insertPlan(db: Session, plan: TrafficPlan, note: PlanNote, at: string): Promise<void> {
  for (const { version } of plan.entries) {
    if (!(await findVersion(db, plan.model, version)))
      throw new Error(`the plan of ${plan.model} names version ${version}, which is not registered`);
  }
  await db.run(
    'INSERT INTO plans (model, deployment, revision, plan, step, detail, at) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ...[plan.model, plan.deployment, plan.revision, JSON.stringify(plan), note.step, note.detail, at],
  );
}

export async function writePlan(db: Session, plan: TrafficPlan, note: PlanNote, at: string): Promise<PlanWrite> {
  const fence = await checkFence(db, plan);
  if (fence === 'same') return { status: 'same' };
  if (fence !== 'free') return { status: 'stale', current: (await currentPlan(db, plan.model)) ?? null };
  await insertPlan(db, plan, note, at);
  const { model, deployment, revision, entries } = plan;
  const run = await db.get('SELECT run FROM deployments WHERE model = ? AND deployment = ?', model, deployment);
  const bundles: Record<number, string | null> = {};
  for (const { version } of entries) bundles[version] = (await findVersion(db, model, version))?.bundleDigest ?? null;
  const facts = { deployment, revision, run: run ? textOrNull(run, 'run') : null, entries, bundles, ...note };
  await record(
    db,
    { model, action: 'plan.written', actor: null, body: facts, at },
    { model, type: 'rollout.step', id: `rollout.step:${model}:${deployment}:${revision}`, data: facts, at },
  );
  return { status: 'written' };
}
