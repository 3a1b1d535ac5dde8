/** What stands where for a model: read from the registry only. */
import { schedules } from '../adapters/schedule.ts';
import { durationMs } from '../contracts/duration.ts';
import { planStep } from '../domain/rollout.ts';
import type { ModelRecord } from '../ports/registry/definitions.ts';
import type { Registry } from '../ports/registry.ts';

export async function statusOf(registry: Registry, record: ModelRecord, now: Date) {
  const model = record.name;
  const [champion, openRuns, deployments, sweeps, paused, held, approvals, plan] = await Promise.all([
    registry.champion(model),
    registry.openRuns(model),
    registry.deployments(model, 20),
    registry.sweeps(model, 1),
    registry.paused(model),
    registry.held(model),
    registry.openApprovals(),
    registry.plan(model),
  ]);
  const [run] = openRuns;
  const rollout = deployments.find((deployment) => deployment.outcome === null);
  const [sweep] = sweeps;
  const waiting = approvals.find((approval) => approval.model === model);
  const every = record.document.monitoring ? durationMs(record.document.monitoring.every) : null;
  const { schedule } = record.document.retraining;
  const nextScheduled = schedule ? schedules.nextMoment(schedule, now.getTime()) : null;
  return {
    model,
    dataset: record.document.dataset,
    revision: record.revision,
    champion: champion ? { version: champion.version, metric: champion.metric, since: champion.promotedAt } : null,
    run: run ? { run: run.run, trigger: run.trigger, stage: run.stage, startedAt: run.startedAt } : null,
    approval: waiting
      ? { run: waiting.run, version: waiting.version, required: waiting.required, expiresAt: waiting.expiresAt }
      : null,
    rollout: rollout
      ? {
          deployment: rollout.deployment,
          kind: rollout.kind,
          toVersion: rollout.toVersion,
          step: plan?.deployment === rollout.deployment ? planStep(plan.entries) : null,
        }
      : null,
    held: { events: held.events, waitsFor: held.last?.waitsFor ?? null, reason: held.last?.reason ?? null },
    verdict: sweep?.verdict ?? null,
    lastSweep: sweep ? { windowEnd: sweep.windowEnd, verdict: sweep.verdict, reason: sweep.reason } : null,
    nextSchedule: nextScheduled === null ? null : new Date(nextScheduled).toISOString(),
    nextSweep: every === null ? null : new Date(Math.ceil(now.getTime() / every) * every).toISOString(),
    paused,
  };
}

export type ModelStatus = Awaited<ReturnType<typeof statusOf>>;
