/** Promotion: fence, decision, plan, roles, alias and outcome in one transaction, so that no crash leaves two truths. */
import type { TrafficPlan } from '../../contracts/plan.ts';
import type { DecisionContext } from '../../domain/approval.ts';
import type { DeploymentRecord } from '../../ports/registry/deployments.ts';
import { decisionContext, findApproval } from './approvals.ts';
import type { Session } from './database.ts';
import { appendAudit, record } from './journal.ts';
import { checkFence, fencedOff, insertPlan } from './plans.ts';
import { findVersion, makeChampion } from './versions.ts';

export type Promotion = { readonly status: 'promoted' } | { readonly status: 'refused'; readonly reason: string };
type Verify = (context: DecisionContext) => string | null;

/** A rollout ships what was decided on; a rollback returns to a version that was decided on before. */
async function decisionObstacle(
  db: Session,
  deployment: DeploymentRecord,
  verify: Verify,
  at: string,
): Promise<string | null> {
  const { model, kind, run, toVersion } = deployment;
  if (kind === 'rollback') return null;
  if (run === null) return `deployment ${deployment.deployment} of ${model} has no run, and so no decision`;
  const approval = await findApproval(db, run);
  if (approval && approval.version !== toVersion)
    return `the decision of ${run} is on version ${approval.version}, not ${toVersion}`;
  if (approval && approval.bundleDigest !== (await findVersion(db, model, toVersion))?.bundleDigest) {
    return `the decision of ${run} is for bundle ${approval.bundleDigest}, which is not that of ${model}@${toVersion}`;
  }
  if (approval && approval.outcome !== 'approved')
    return `${run} is not approved: ${approval.outcome ?? 'it still waits for a decision'}`;
  return verify(await decisionContext(db, model, run, at));
}

async function planObstacle(db: Session, deployment: DeploymentRecord, plan: TrafficPlan): Promise<string | null> {
  const { model, toVersion } = deployment;
  if (plan.model !== model || plan.deployment !== deployment.deployment) {
    return `the plan is that of deployment ${plan.deployment} of ${plan.model}, not of deployment ${deployment.deployment} of ${model}`;
  }
  const serves = plan.entries.some(
    (entry) => entry.role === 'champion' && entry.version === toVersion && entry.weight === 1,
  );
  if (!serves) return `the final plan does not give all traffic to ${model}@${toVersion} as champion`;
  const over = await fencedOff(db, model, deployment.deployment);
  if (over !== null) return over;
  const fence = await checkFence(db, plan);
  return fence === 'free' || fence === 'same' ? null : fence.stale;
}

export async function promote(
  db: Session,
  deployment: DeploymentRecord,
  plan: TrafficPlan,
  verify: Verify,
  at: string,
): Promise<Promotion> {
  const { model, kind, run, toVersion, fromVersion, actor } = deployment;
  if (deployment.outcome === 'promoted') return { status: 'promoted' };
  const reason = (await planObstacle(db, deployment, plan)) ?? (await decisionObstacle(db, deployment, verify, at));
  if (reason !== null) {
    const body = { deployment: deployment.deployment, kind, run, version: toVersion, reason };
    await appendAudit(db, { model, action: 'promotion.refused', actor, body, at });
    return { status: 'refused', reason };
  }
  const number = deployment.deployment;
  if ((await checkFence(db, plan)) === 'free')
    await insertPlan(db, plan, { step: 'promote', detail: `${model}@${toVersion} is champion` }, at);
  await makeChampion(db, model, toVersion, number, at);
  await db.run(
    "UPDATE deployments SET outcome = 'promoted', outcome_reason = ?, finished_at = ? WHERE model = ? AND deployment = ?",
    ...[deployment.reason, at, model, number],
  );
  const approvals = run === null ? [] : ((await findApproval(db, run))?.decisions ?? []);
  const facts = {
    deployment: number,
    kind,
    run,
    from: fromVersion,
    to: toVersion,
    version: toVersion,
    bundleDigest: (await findVersion(db, model, toVersion))?.bundleDigest ?? null,
    approvedBy: approvals
      .filter((one) => one.status === 'accepted' && one.decision === 'approve')
      .map((one) => one.actor),
    reason: deployment.reason,
    revision: plan.revision,
    entries: plan.entries,
  };
  const type = kind === 'rollback' ? 'version.rolledback' : 'version.promoted';
  await record(
    db,
    { model, action: type, actor, body: facts, at },
    { model, type, id: `${type}:${model}:${number}`, data: facts, at },
  );
  return { status: 'promoted' };
}
