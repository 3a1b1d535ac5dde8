/** What a lifecycle reads and commits: facts, fates, runs, deployments. */

import type { ModelDocument } from '../src/contracts/documents.ts';
import { durationMs } from '../src/contracts/duration.ts';
import { EVENT_TYPES } from '../src/contracts/events.ts';
import type * as m from '../src/contracts/messages.ts';
import type { Fate, Trigger } from '../src/contracts/values.ts';
import { SETTLED_FATES } from '../src/contracts/values.ts';
import { lifecycleConfig, rolloutAnalysis, rolloutSteps } from '../src/domain/config.ts';
import { rollbackRequestKey, rolloutRequestKey, rolloutWorkflowId, runWorkflowId } from '../src/domain/ids.ts';
import { DAY_MS } from '../src/domain/retraining.ts';
import { onlyChampion } from '../src/domain/rollout.ts';
import { pendingEvent } from '../src/ports/pending-event.ts';
import type { DeploymentRecord } from '../src/ports/registry/deployments.ts';
import type { RunRecord } from '../src/ports/registry/runs.ts';
import type { VersionRecord } from '../src/ports/registry/versions.ts';
import { required } from './failures.ts';
import type { Ports } from './ports.ts';

export type LifecycleActivities = ReturnType<typeof createLifecycleActivities>;

const runInput = (record: RunRecord): m.RunInput => ({
  stateVersion: 1,
  model: record.model,
  run: record.run,
  trigger: record.trigger,
  definitionDigest: record.definitionDigest,
  requester: record.requester,
  ...(record.reason === null ? {} : { reason: record.reason }),
});

function rolloutInput(record: DeploymentRecord, document: ModelDocument): m.RolloutInput {
  return {
    stateVersion: 1,
    model: record.model,
    deployment: record.deployment,
    kind: record.kind,
    fromVersion: record.fromVersion,
    toVersion: record.toVersion,
    steps: record.kind === 'rollout' ? rolloutSteps(document) : [],
    patienceMs: durationMs(document.rollout.patience),
    analysis: rolloutAnalysis(document),
    reason: record.reason ?? `decision on ${record.run ?? 'a rollback'}`,
  };
}
const activeRollout = (record: DeploymentRecord): m.ActiveRollout => ({
  deployment: record.deployment,
  kind: record.kind,
  toVersion: record.toVersion,
});

type LifecyclePorts = Pick<Ports, 'registry' | 'messenger' | 'schedules'> & {
  readonly surroundings: Pick<Ports['surroundings'], 'now'>;
};

export function createLifecycleActivities({ registry, messenger, schedules, surroundings }: LifecyclePorts) {
  const now = (): string => surroundings.now().toISOString();

  async function documentOf(model: string, definitionDigest: string | null): Promise<ModelDocument> {
    const record =
      definitionDigest === null ? await registry.model(model) : await registry.definition(model, definitionDigest);
    return required(record, `definition of ${model}`).document;
  }
  async function rolloutOf(record: DeploymentRecord): Promise<m.RolloutInput> {
    const run = record.run === null ? undefined : await registry.run(record.run);
    return rolloutInput(record, await documentOf(record.model, run?.definitionDigest ?? null));
  }
  async function spending(model: string): Promise<readonly m.RunCost[]> {
    const since = new Date(surroundings.now().getTime() - DAY_MS).toISOString();
    const costs = await registry.spending(model, since);
    return costs.map(({ startedAt, cpuSeconds }) => ({ startedAtMs: Date.parse(startedAt), cpuSeconds }));
  }
  async function newOutcomes(model: string): Promise<number> {
    const [last] = await registry.runs({ model, limit: 1 });
    return registry.labelsSince(model, last?.startedAt ?? new Date(0).toISOString());
  }

  /** Takes traffic off the challenger of a rollout that nobody looks after any more. */
  async function restoreChampion(model: string, deployment: number): Promise<void> {
    const [champion, plan] = await Promise.all([registry.champion(model), registry.plan(model)]);
    if (!champion || !plan || plan.entries.every((entry) => entry.role === 'champion')) return;
    const revision = plan.deployment === deployment ? plan.revision + 1 : 1;
    const note = { step: 'roll back', detail: 'the workflow of the rollout was ended from outside' };
    await registry.writePlan({ model, deployment, revision, entries: onlyChampion(champion.version) }, note, now());
  }

  /**
   * Where "back" goes. In the middle of a rollout to what serves beside it, also if that rollout ends at this moment. Else to what
   * served when the champion's own rollout began: never to a version that was left by a rollback before that.
   */
  const versionBefore = async (
    champion: VersionRecord,
    current: DeploymentRecord | undefined,
  ): Promise<number | null> =>
    current === undefined
      ? registry.championBefore(champion.model, champion.version)
      : current.kind === 'rollback'
        ? current.toVersion
        : current.fromVersion;

  /** One whose workflow a person ended in Temporal is carried out by nobody, until it is found. */
  const isCarriedOut = async ({ model, deployment, outcome }: DeploymentRecord): Promise<boolean> =>
    outcome === null
      ? (await messenger.state(rolloutWorkflowId(model, deployment))) === 'running'
      : outcome === 'promoted';

  /** The request of an earlier rollback, repeated: it must not fence a rollout that came after it. */
  const asked = async (record: DeploymentRecord): Promise<m.OpenedRollout> =>
    record.outcome === null
      ? { status: 'opened', active: activeRollout(record), start: await rolloutOf(record) }
      : { status: 'refused', reason: `deployment ${record.deployment} of this request has ended: ${record.outcome}` };

  return {
    async loadLifecycle({ model }: { readonly model: string }): Promise<m.LifecycleFacts> {
      const record = await registry.model(model);
      const [runs, deployments, champion, paused, openRuns] = await Promise.all([
        registry.runs({ model, limit: 200 }),
        registry.deployments(model, 200),
        registry.champion(model),
        registry.paused(model),
        registry.openRuns(model),
      ]);
      const nowMs = surroundings.now().getTime();
      const schedule = record?.document.retraining.schedule;
      const deployed = new Set(deployments.map((deployment) => deployment.run));
      const approved = runs.filter(
        (run) => run.outcome === 'approved' && run.version !== null && !deployed.has(run.run),
      );
      const [open] = openRuns;
      const active = deployments
        .filter((deployment) => deployment.outcome === null)
        .sort((a, b) => b.deployment - a.deployment)[0];
      // A run that gave way is replaced at once, without a cooldown.
      const ended = runs.flatMap((run) => (run.outcome === 'superseded' ? [] : (run.finishedAt ?? [])));
      const request = open?.stage === 'decide' ? await registry.approval(open.run) : undefined;
      return {
        config: record ? lifecycleConfig(record.document, record.definitionDigest) : null,
        revision: record?.revision ?? 0,
        championVersion: champion?.version ?? null,
        championSinceMs: champion?.promotedAt ? Date.parse(champion.promotedAt) : null,
        run: open
          ? {
              active: {
                ...{ run: open.run, awaiting: open.stage === 'decide', superseding: false },
                ...(request ? { awaitingSinceMs: Date.parse(request.requestedAt) } : {}),
              },
              start: runInput(open),
            }
          : null,
        rollout: active ? { active: activeRollout(active), start: await rolloutOf(active) } : null,
        approved: approved
          .sort((a, b) => a.number - b.number)
          .flatMap((run) => (run.version === null ? [] : [{ run: run.run, version: run.version }])),
        runStartsMs: runs.map((run) => Date.parse(run.startedAt)).filter((at) => at > nowMs - DAY_MS),
        lastRunEndedMs: ended.length > 0 ? Math.max(...ended.map((at) => Date.parse(at))) : null,
        paused: paused !== null,
        spending: await spending(model),
        newOutcomes: record && record.document.retraining.min_new_outcomes > 0 ? await newOutcomes(model) : 0,
        nextScheduleMs: schedule ? schedules.nextMoment(schedule, nowMs) : null,
      };
    },

    /** Keys of events whose fate is open, in order of arrival, those after `after`. */
    unsettledEvents: ({
      model,
      after,
      limit,
    }: {
      readonly model: string;
      readonly after: string | null;
      readonly limit: number;
    }): Promise<readonly string[]> => registry.unsettled(model, limit, after ?? undefined),

    /** The first moment of the schedule after now; null without a schedule. */
    async nextSchedule({ model }: { readonly model: string }): Promise<number | null> {
      const schedule = (await registry.model(model))?.document.retraining.schedule;
      return schedule ? schedules.nextMoment(schedule, surroundings.now().getTime()) : null;
    },

    spending: ({ model }: { readonly model: string }): Promise<readonly m.RunCost[]> => spending(model),

    /** Labels stored since the last run was opened. */
    countOutcomes: ({ model }: { readonly model: string }): Promise<number> => newOutcomes(model),

    /** Of these events, those whose fate for this model is still open, with what the policy needs. */
    async admitEvents({
      model,
      keys,
    }: {
      readonly model: string;
      readonly keys: readonly string[];
    }): Promise<readonly m.PendingEvent[]> {
      const fates = await registry.fates(model, keys);
      const isOpen = (key: string): boolean => {
        const fate = fates[key]?.fate;
        return fate !== undefined && !SETTLED_FATES.some((settled) => settled === fate);
      };
      const open: m.PendingEvent[] = [];
      for (const event of await registry.eventBodies(keys.filter(isOpen))) {
        const isData = event.type === EVENT_TYPES.dataArrived;
        const made = isData ? await registry.datasetVersionOfEvent(event.target.name, event.key) : undefined;
        const pending = pendingEvent(event, made);
        if (pending) open.push(pending);
      }
      return open;
    },

    async recordFates({
      model,
      fates,
    }: {
      readonly model: string;
      readonly fates: readonly {
        readonly key: string;
        readonly fate: Fate;
        readonly run?: string;
        readonly reason?: string;
        readonly waitsFor?: string;
      }[];
    }): Promise<void> {
      await registry.setFates(model, fates, now());
    },

    async openRun(input: {
      readonly model: string;
      readonly requestKey: string;
      readonly trigger: Trigger;
      readonly eventKeys: readonly string[];
      readonly requester: string | null;
      readonly reason: string | null;
      readonly definitionDigest: string;
      readonly repeats?: string;
    }): Promise<m.OpenedRun> {
      const repeated = input.repeats === undefined ? null : required(await registry.run(input.repeats), input.repeats);
      const definitionDigest = repeated?.definitionDigest ?? input.definitionDigest;
      const document = await documentOf(input.model, repeated ? definitionDigest : null);
      const config = lifecycleConfig(document, definitionDigest);
      const opened = await registry.openRun({
        ...input,
        definitionDigest,
        at: now(),
        reservedCpuSeconds: config.reservedCpuSeconds ?? 0,
        // A person's start is past the budget, but counted in it.
        ...(input.trigger === 'manual'
          ? {}
          : { budget: { runsPerDay: config.runsPerDay, cpuSecondsPerDay: config.cpuSecondsPerDay ?? null } }),
      });
      if (opened.status === 'over_budget') return { run: null, start: null, reason: opened.reason };
      const { run } = opened;
      return { run: run.run, start: run.outcome === null ? runInput(run) : null };
    },

    async openRollout({
      model,
      run,
      version,
    }: {
      readonly model: string;
      readonly run: string;
      readonly version: number;
    }): Promise<m.OpenedRollout> {
      const record = await registry.openDeployment({
        model,
        requestKey: rolloutRequestKey(run),
        kind: 'rollout',
        run,
        toVersion: version,
        actor: null,
        reason: `decision on ${run}`,
        at: now(),
      });
      if (record.outcome !== null)
        return { status: 'refused', reason: `deployment ${record.deployment} of ${run} has ended: ${record.outcome}` };
      return { status: 'opened', active: activeRollout(record), start: await rolloutOf(record) };
    },

    async openRollback({
      model,
      requestId,
      actor,
      to,
      reason,
      activeRollout: active,
    }: m.RollbackUpdate & { readonly model: string; readonly activeRollout: number | null }): Promise<m.OpenedRollout> {
      const champion = await registry.champion(model);
      if (!champion) return { status: 'refused', reason: `${model} has no champion to go back from` };
      const requestKey = rollbackRequestKey(model, requestId);
      const known = await registry.deploymentOf(model, requestKey);
      if (known) return asked(known);
      const current = active === null ? undefined : await registry.deployment(model, active);
      // A rollback of somebody else is under way: this is what was asked for. A second one would take it back.
      if (to === null && current?.kind === 'rollback' && (await isCarriedOut(current))) {
        const body = { deployment: current.deployment, toVersion: current.toVersion, requestId, reason };
        await registry.recordAudit({ model, action: 'rollback.joined', actor, body, at: now() });
        return { status: 'opened', active: activeRollout(current), start: await rolloutOf(current) };
      }
      const former = await registry.formerChampions(model);
      const target = to ?? (await versionBefore(champion, current));
      if (target === null)
        return { status: 'refused', reason: `${model} has no earlier champion than version ${champion.version}` };
      const isKnown =
        target === champion.version ? active !== null : former.some((version) => version.version === target);
      if (!isKnown) {
        const choice = former.map((version) => version.version).join(', ') || 'none';
        return {
          status: 'refused',
          reason: `version ${target} ${target === champion.version ? 'serves already' : 'never was champion'}; earlier champions: ${choice}`,
        };
      }
      const record = await registry.openDeployment({
        model,
        requestKey,
        kind: 'rollback',
        run: null,
        toVersion: target,
        actor,
        reason,
        at: now(),
      });
      return asked(record);
    },

    async setPaused({
      model,
      actor,
      reason,
      paused,
    }: m.PauseUpdate & { readonly model: string; readonly paused: boolean }): Promise<void> {
      await registry.setPaused(model, paused ? { by: actor, reason } : null, now());
    },

    /**
     * What has ended without a report. A workflow that a person terminated leaves an open row: it is closed here, so that no
     * slot is stranded.
     */
    async inspectSlots({
      model,
      run,
      deployment,
    }: {
      readonly model: string;
      readonly run: string | null;
      readonly deployment: number | null;
    }): Promise<{ readonly run: m.RunFinishedSignal | null; readonly rollout: m.RolloutFinishedSignal | null }> {
      const lost = async (id: string): Promise<boolean> => (await messenger.state(id)) !== 'running';
      let endedRun: m.RunFinishedSignal | null = null;
      if (run !== null) {
        const isLost = await lost(runWorkflowId(model, run));
        let record = required(await registry.run(run), run);
        if (record.outcome === null && isLost)
          record = await registry.finishRun(run, 'failed', 'its workflow was ended from outside', now());
        if (record.outcome !== null) endedRun = { run, outcome: record.outcome, version: record.version };
      }
      let endedRollout: m.RolloutFinishedSignal | null = null;
      if (deployment !== null) {
        const isLost = await lost(rolloutWorkflowId(model, deployment));
        let record = required(await registry.deployment(model, deployment), `deployment ${deployment}`);
        if (record.outcome === null && isLost) {
          await restoreChampion(model, deployment);
          record = await registry.finishDeployment(
            model,
            deployment,
            'aborted',
            'its workflow was ended from outside',
            now(),
          );
        }
        if (record.outcome !== null) endedRollout = { deployment, outcome: record.outcome };
      }
      return { run: endedRun, rollout: endedRollout };
    },
  };
}
