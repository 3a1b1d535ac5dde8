/** A rollout's effects: plans by compare-and-set, the watch over a step, promotion, the end. */
import { Context } from '@temporalio/activity';
import type { StepVerdict, WatchRequest } from '../src/contracts/messages.ts';
import type { TrafficPlan } from '../src/contracts/plan.ts';
import type { RolloutOutcome } from '../src/contracts/values.ts';
import { promotionObstacle } from '../src/domain/approval.ts';
import { judgeStep, LIVE_MS } from '../src/domain/rollout.ts';
import { required } from './failures.ts';
import type { Ports } from './ports.ts';

export type RolloutActivities = ReturnType<typeof createRolloutActivities>;

/** How often the servers' reports are read; they come each second. */
const POLL_MS = 500;

interface WatchState {
  /** When all live servers were first seen with the revision. */
  readonly heldSinceMs: number | null;
}

export function createRolloutActivities({ registry, messenger, notifier, surroundings }: Ports) {
  const now = (): string => surroundings.now().toISOString();

  return {
    async writePlan({
      plan,
      step,
      detail,
    }: {
      readonly plan: TrafficPlan;
      readonly step: string;
      readonly detail: string;
    }): Promise<{ readonly status: 'written' | 'same' } | { readonly status: 'stale'; readonly current: number }> {
      const written = await registry.writePlan(plan, { step, detail }, now());
      return written.status === 'stale'
        ? { status: 'stale', current: written.current?.deployment ?? plan.deployment }
        : written;
    },

    /** Lasts as long as the step: the servers' reports are judged here, so that history stays small. */
    async watchStep(request: WatchRequest): Promise<StepVerdict> {
      const context = Context.current();
      const carried = context.info.heartbeatDetails as WatchState | undefined;
      let heldSinceMs = carried?.heldSinceMs ?? null;
      for (;;) {
        const nowMs = surroundings.now().getTime();
        const live = await registry.replicas(request.model, new Date(nowMs - LIVE_MS).toISOString());
        const judged = judgeStep(request, live, heldSinceMs === null ? null : nowMs - heldSinceMs);
        if (judged.state === 'done') return { verdict: judged.verdict, detail: judged.detail };
        // A server that restarts with the plan loaded does not start the hold anew; one that lacks it does.
        if (judged.confirmed) heldSinceMs ??= nowMs;
        else heldSinceMs = null;
        context.heartbeat({ heldSinceMs } satisfies WatchState);
        await context.sleep(POLL_MS);
      }
    },

    async promote({
      plan,
    }: {
      readonly plan: TrafficPlan;
    }): Promise<
      { readonly status: 'promoted' } | { readonly status: 'refused'; readonly reason: string; readonly stale: boolean }
    > {
      const [entry] = plan.entries;
      const version = required(
        entry && (await registry.version(plan.model, entry.version)),
        `${plan.model}@${entry?.version}`,
      );
      const answer = await registry.promote(
        { model: plan.model, deployment: plan.deployment, plan },
        (context) => promotionObstacle(context, version.bundleDigest),
        now(),
      );
      if (answer.status === 'promoted') return answer;
      const current = await registry.plan(plan.model);
      return { ...answer, stale: current !== undefined && current.deployment > plan.deployment };
    },

    async alertRollout({
      model,
      deployment,
      step,
      status,
      detail,
      alert,
      revision,
    }: {
      readonly model: string;
      readonly deployment: number;
      /** Of the plan that was watched; executions from before it was told have none. */
      readonly revision?: number;
      readonly step: string;
      readonly status: string;
      readonly detail: string;
      readonly alert: boolean;
    }): Promise<void> {
      await registry.recordStep(model, deployment, { step, status, detail }, now());
      if (!alert) return;
      const text = `deployment ${deployment}, ${step}: ${status}, ${detail}`;
      await registry.emit({
        model,
        type: 'alert.raised',
        // A step that is watched anew may alert anew.
        id: `alert.raised:${model}:${deployment}:${step}:${status}${revision === undefined ? '' : `:${revision}`}`,
        data: { deployment, step, text },
        at: now(),
      });
      await notifier.notify({ model, event: 'alert.raised', text });
    },

    async finishRollout({
      model,
      deployment,
      outcome,
      reason,
    }: {
      readonly model: string;
      readonly deployment: number;
      readonly outcome: RolloutOutcome;
      readonly reason: string;
    }): Promise<void> {
      const record = await registry.finishDeployment(model, deployment, outcome, reason, now());
      const event =
        outcome === 'promoted' ? 'version.promoted' : outcome === 'rolled_back' ? 'version.rolledback' : 'rollout.step';
      await notifier.notify({
        model,
        event,
        text: `deployment ${deployment} of version ${record.toVersion}: ${outcome}, ${reason}`,
      });
      await messenger.rolloutFinished(model, { deployment, outcome });
    },
  };
}
