/**
 * lifecycle/MODEL: applies the retraining policy, holds the run slot and the rollout slot, and knows the champion. What is in
 * flight is here; every fact is in the registry first, and after a continue-as-new it is read from there again. What to do is
 * decided by src/domain/lifecycle.ts; this carries it out.
 */
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { LifecycleActivities } from '../activities/lifecycle.ts';
import type * as m from '../src/contracts/messages.ts';
import { rolloutWorkflowId, runWorkflowId } from '../src/domain/ids.ts';
import {
  after,
  decide,
  type Happening,
  initialState,
  type LifecycleState,
  nextRollout,
  runRequestKey,
} from '../src/domain/lifecycle.ts';
import type { PolicyPlan, Rules, RunStart } from '../src/domain/retraining.ts';
import { startRollout, startRun, tell } from './children.ts';
import * as msg from './messages.ts';
import { quick } from './profiles.ts';
import { show } from './visibility.ts';

const activities = proxyActivities<LifecycleActivities>(quick);

/** Events read from the registry, or told to it, in one activity: keeps payloads far below 2 MB. */
const BATCH = 1_000;
/** Keys of events in one answer. */
const PAGE = 2_000;
/** How often a slot's workflow is looked at: one that a person terminated never reports back. */
const INSPECT_MS = 15 * 60_000;
/** How often labels are counted while data waits for them: they come without a signal, often thousands in a minute. */
const COUNT_MS = 5 * 60_000;

/** Answers that are remembered over a continue-as-new, for a client that repeats its request. */
const REMEMBERED = 100;

type Work = () => Promise<void>;

/** What was decided before by other rules must be decided by those again when it is replayed. */
const rules = (): Rules => (patched('rules-2') ? 2 : 1);

interface Carried {
  readonly started?: readonly { readonly requestId: string; readonly run: string }[];
}

function describe({ championVersion, run, rollout, paused, pending }: LifecycleState, plan: PolicyPlan | null): string {
  return [
    championVersion === null ? 'No champion yet.' : `Champion: version ${championVersion}.`,
    run ? `Run ${run.run} ${run.awaiting ? 'waits for a decision' : 'is under way'}.` : 'No run under way.',
    rollout ? `Deployment ${rollout.deployment} brings version ${rollout.toVersion}.` : null,
    paused ? 'Retraining is paused.' : null,
    plan?.waitsFor && pending.size > 0
      ? `${pending.size} events held; the next run waits for ${plan.waitsFor}.`
      : 'No events held.',
  ]
    .filter((line) => line !== null)
    .join('\n\n');
}

export async function lifecycle(input: m.LifecycleInput & Carried): Promise<void> {
  const { model } = input;
  const arrived: string[] = [];
  const answers = new Map<string, m.StartRunAnswer>(
    (input.started ?? []).map(({ requestId, run }) => [requestId, { status: 'started', run }]),
  );
  /** Steps that messages ask for; the main loop takes them one after another, so that none sees another half done. */
  const work: Work[] = [];
  /** What is asked for before the facts are there. */
  const early: m.StartRequest[] = [...(input.requests ?? [])];
  let loaded: LifecycleState | null = null;
  let plan: PolicyPlan | null = null;
  let inspectAtMs = 0;
  let countAtMs = 0;

  const state = (): LifecycleState => {
    if (loaded === null) throw new Error('the lifecycle has not loaded its facts');
    return loaded;
  };
  const happened = (what: Happening): void => {
    loaded = after(state(), what);
  };
  const request = (one: m.StartRequest): void => {
    if (loaded === null) early.push(one);
    else happened({ type: 'requested', request: one });
  };
  const requests = (): readonly m.StartRequest[] => loaded?.requests ?? early;
  /** Queues a step and waits for its answer, for updates. */
  async function enqueue<T>(step: () => Promise<T>): Promise<T> {
    let settled: { readonly result: Promise<T> } | null = null;
    work.push(async () => {
      const result = step();
      // A step that fails fails its update only: a failed lifecycle would strand its model.
      await result.catch(() => undefined);
      settled = { result };
    });
    const given = (): { readonly result: Promise<T> } | null => settled;
    await condition(() => given() !== null);
    const answer = given();
    if (answer === null) throw new Error('a step ended without an answer');
    return answer.result;
  }

  setHandler(msg.eventsArrivedSignal, (keys) => {
    arrived.push(...keys);
  });
  setHandler(msg.runAwaitsSignal, ({ run }) => {
    work.push(() => runAwaits(run));
  });
  setHandler(msg.runFinishedSignal, (signal) => {
    work.push(() => runEnded(signal));
  });
  setHandler(msg.rolloutFinishedSignal, (signal) => {
    work.push(() => rolloutEnded(signal));
  });
  setHandler(msg.applyDefinitionUpdate, ({ requestId, actor }) =>
    enqueue(async () => {
      const before = state().config?.definitionDigest;
      const { config, revision, nextScheduleMs = null } = await activities.loadLifecycle({ model });
      const { nextScheduleMs: due } = state();
      const isDue = due !== null && Date.now() >= due && patched('due-before-configured');
      happened({ type: 'configured', config, nextScheduleMs, ...(isDue ? { dueMs: due } : {}) });
      const isChange = revision > 1 && config?.triggers.includes('definition') && before !== config.definitionDigest;
      const reason = `definition ${revision} applied by ${actor}`;
      if (isChange) request({ requestId, trigger: 'definition', actor, reason });
      return { status: 'applied' as const };
    }),
  );
  setHandler(msg.startRunUpdate, async ({ requestId, actor, reason, repeats }) => {
    // Asked again it must not stand in the queue again: there it would supersede the very run that it opened.
    const before = answers.get(requestId);
    if (before?.status === 'started') return before;
    if (!requests().some((one) => one.requestId === requestId))
      request({ requestId, actor, reason, trigger: 'manual', ...(repeats === undefined ? {} : { repeats }) });
    answers.delete(requestId);
    await condition(() => answers.has(requestId));
    return answers.get(requestId) ?? { status: 'refused' as const, reason: 'no answer' };
  });
  const setPaused = async (update: m.PauseUpdate, paused: boolean): Promise<void> => {
    await activities.setPaused({ model, ...update, paused });
    happened({ type: 'paused', paused });
  };
  setHandler(msg.pauseLifecycleUpdate, (update) =>
    enqueue(async () => {
      await setPaused(update, true);
      return { status: 'paused' as const };
    }),
  );
  setHandler(msg.resumeLifecycleUpdate, (update) =>
    enqueue(async () => {
      await setPaused(update, false);
      return { status: 'resumed' as const };
    }),
  );
  setHandler(msg.rollbackUpdate, (update) => enqueue(() => rollBack(update)));
  setHandler(msg.lifecycleStatusQuery, () => ({
    model,
    config: loaded?.config ?? null,
    champion: loaded?.championVersion ?? null,
    run: loaded?.run ?? null,
    rollout: loaded?.rollout ?? null,
    paused: loaded?.paused ?? false,
    held: loaded?.pending.size ?? 0,
    waitsFor: plan?.waitsFor ?? null,
    wakeAtMs: plan?.wakeAtMs ?? null,
    nextScheduleMs: loaded?.nextScheduleMs ?? null,
  }));

  async function load(): Promise<void> {
    const facts = await activities.loadLifecycle({ model });
    loaded = initialState(facts, { ...input, requests: early });
    if (facts.run) await startRun(facts.run.start, 'resumed');
    if (facts.rollout) await startRollout(facts.rollout.start);
    for (let last: string | null = null; ; ) {
      const keys: readonly string[] = await activities.unsettledEvents({ model, after: last, limit: PAGE });
      arrived.push(...keys);
      last = keys.at(-1) ?? null;
      if (keys.length < PAGE) break;
    }
    show({ model });
  }

  /** What a run took is known once it has trained. */
  async function countSpending(): Promise<void> {
    if (state().config?.cpuSecondsPerDay) happened({ type: 'counted', spending: await activities.spending({ model }) });
  }
  async function runAwaits(run: string): Promise<void> {
    happened({ type: 'run_awaits', run, atMs: Date.now() });
    // Before it may give way to the next, for which the budget must have room.
    if (rules() === 2) await countSpending();
  }
  async function runEnded(signal: m.RunFinishedSignal): Promise<void> {
    happened({ type: 'run_ended', signal, atMs: Date.now(), rules: rules() });
    await countSpending();
  }

  async function rolloutEnded({ deployment, outcome }: m.RolloutFinishedSignal): Promise<void> {
    const { championVersion, championSinceMs = null } = await activities.loadLifecycle({ model });
    happened({ type: 'rollout_ended', deployment, outcome, championVersion, championSinceMs });
  }

  async function rollBack(update: m.RollbackUpdate): Promise<m.RollbackAnswer> {
    const before = state().rollout;
    const opened = await activities.openRollback({ model, ...update, activeRollout: before?.deployment ?? null });
    if (opened.status === 'refused') return opened;
    const { active, start } = opened;
    if (before && before.deployment !== active.deployment) {
      const reason = `rollback to version ${active.toVersion} by ${update.actor}`;
      await tellWorkflow(rolloutWorkflowId(model, before.deployment), msg.fenceSignal, { reason });
    }
    happened({ type: 'rolled_back', rollout: active });
    await startRollout(start);
    return { status: 'started', deployment: active.deployment, toVersion: active.toVersion };
  }

  /** A workflow that has closed meanwhile needs no telling: it reports back, or inspection finds it. */
  async function tellWorkflow(
    id: string,
    signal: typeof msg.fenceSignal | typeof msg.supersedeSignal,
    argument: { readonly reason: string },
  ): Promise<void> {
    if (!(await tell(id, (handle) => handle.signal(signal, argument)))) inspectAtMs = 0;
  }

  async function takeArrivals(): Promise<void> {
    // Those that are there now: in a storm more arrive meanwhile, and other steps must have their turn.
    for (let left = arrived.length; left > 0; left -= BATCH) {
      const { pending } = state();
      const keys = [...new Set(arrived.splice(0, BATCH))].filter((key) => !pending.has(key));
      if (keys.length === 0) continue;
      happened({ type: 'admitted', events: await activities.admitEvents({ model, keys }) });
    }
  }

  async function recordFates(fates: Parameters<LifecycleActivities['recordFates']>[0]['fates']): Promise<void> {
    for (let at = 0; at < fates.length; at += BATCH)
      await activities.recordFates({ model, fates: fates.slice(at, at + BATCH) });
  }

  async function openRun(start: RunStart, config: m.LifecycleConfig): Promise<void> {
    const opened = await activities.openRun({
      model,
      requestKey: runRequestKey(start),
      trigger: start.trigger,
      eventKeys: start.eventKeys.slice(0, BATCH),
      requester: start.request?.actor ?? null,
      reason: start.reason,
      definitionDigest: config.definitionDigest,
      ...(start.request?.repeats === undefined ? {} : { repeats: start.request.repeats }),
    });
    if (opened.run === null) {
      const spending = await activities.spending({ model });
      happened({ type: 'over_budget', reason: opened.reason ?? 'the budget is used up', spending, atMs: Date.now() });
      return;
    }
    const { run } = opened;
    if (start.request) answers.set(start.request.requestId, { status: 'started', run });
    if (opened.start === null) {
      // A request from before: its run has ended.
      happened({ type: 'request_known', start });
      arrived.push(...start.eventKeys);
      return;
    }
    const rest = start.eventKeys.slice(BATCH);
    await recordFates(rest.map((key) => ({ key, fate: 'coalesced' as const, run, reason: start.reason })));
    happened({ type: 'run_opened', run, start, atMs: Date.now() });
    await startRun(opened.start, start.reason);
  }

  async function applyPolicy(): Promise<void> {
    const decided = decide(state(), Date.now(), rules());
    if (decided === null) {
      for (const { requestId } of requests())
        answers.set(requestId, { status: 'refused', reason: `${model} was never applied` });
      loaded = { ...state(), requests: [] };
      return;
    }
    // What comes in while this plan is carried out is answered by the next.
    const asked = requests();
    plan = decided.plan;
    await recordFates(decided.fates);
    happened({ type: 'recorded', fates: decided.fates });
    const { supersede, start } = decided.plan;
    if (supersede !== null) {
      happened({ type: 'superseding', run: supersede });
      const reason = 'a newer run takes its place';
      await tellWorkflow(runWorkflowId(model, supersede), msg.supersedeSignal, { reason });
    }
    const { config } = state();
    if (start && config) await openRun(start, config);
    for (const { requestId } of asked) {
      if (!answers.has(requestId))
        answers.set(requestId, { status: 'held', waitsFor: plan.waitsFor ?? 'the run before it' });
    }
  }

  async function fillRolloutSlot(): Promise<void> {
    const next = nextRollout(state());
    if (!next) return;
    const { run } = next;
    const opened = await activities.openRollout({ model, run, version: next.version });
    happened({ type: 'rollout_taken', run, rollout: opened.status === 'opened' ? opened.active : null });
    if (opened.status === 'opened') await startRollout(opened.start);
  }

  async function inspectSlots(): Promise<void> {
    inspectAtMs = Date.now() + INSPECT_MS;
    const { run, rollout } = state();
    if (!run && !rollout) return;
    const found = await activities.inspectSlots({
      model,
      run: run?.run ?? null,
      deployment: rollout?.deployment ?? null,
    });
    if (found.run) await runEnded(found.run);
    if (found.rollout) await rolloutEnded(found.rollout);
  }

  /** The clock's part: what becomes due without anybody saying so. */
  async function lookAround(): Promise<void> {
    if (Date.now() >= inspectAtMs) await inspectSlots();
    const { nextScheduleMs, config } = state();
    if (nextScheduleMs !== null && Date.now() >= nextScheduleMs)
      happened({ type: 'schedule_due', nextScheduleMs: await activities.nextSchedule({ model }) });
    if (config?.minNewOutcomes && state().pending.size > 0 && Date.now() >= countAtMs) {
      countAtMs = Date.now() + COUNT_MS;
      happened({ type: 'counted', newOutcomes: await activities.countOutcomes({ model }) });
    }
  }
  function wakeAtMs(): number {
    const { nextScheduleMs, config, pending } = state();
    const countsAtMs = config?.minNewOutcomes && pending.size > 0 ? countAtMs : null;
    const moments = [plan?.wakeAtMs, nextScheduleMs, countsAtMs];
    return Math.min(inspectAtMs, ...moments.map((at) => at ?? Number.POSITIVE_INFINITY));
  }

  await load();
  inspectAtMs = Date.now() + INSPECT_MS;
  let details = '';
  for (;;) {
    for (let step = work.shift(); step; step = work.shift()) await step();
    await takeArrivals();
    await lookAround();
    await applyPolicy();
    await fillRolloutSlot();
    const isBusy = (): boolean => work.length > 0 || arrived.length > 0;
    const unanswered = (): boolean => requests().some(({ requestId }) => !answers.has(requestId));
    const mayContinue = (): boolean =>
      workflowInfo().continueAsNewSuggested && work.length === 0 && allHandlersFinished();
    // Before what has arrived is taken up, or a storm would never let it come to this. Nothing is lost: those events are
    // unsettled in the registry, from which the next execution loads them.
    if (mayContinue()) {
      const { driftWindows, nextScheduleMs } = state();
      const started = [...answers]
        .flatMap(([requestId, answer]) => (answer.status === 'started' ? [{ requestId, run: answer.run }] : []))
        .slice(-REMEMBERED);
      await continueAsNew<typeof lifecycle>({
        ...{ stateVersion: 1, model, requests: requests(), driftWindows, started, nextScheduleMs },
      });
    }
    if (isBusy() || unanswered()) continue;
    const text = describe(state(), plan);
    if (text !== details) setCurrentDetails(text);
    details = text;
    // A freed slot may let the policy or the queue go on at once.
    if (plan !== null && (plan as PolicyPlan).start !== null) continue;
    await condition(() => isBusy() || unanswered() || mayContinue(), Math.max(1, wakeAtMs() - Date.now()));
  }
}
