/**
 * lifecycle/MODEL: applies the retraining policy, holds the run slot and the rollout slot, and knows the champion. What is in
 * flight is here; every fact is in the registry first, and after a continue-as-new it is read from there again.
 */
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  isCancellation,
  ParentClosePolicy,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  startChild,
  WorkflowIdReusePolicy,
  workflowInfo,
} from '@temporalio/workflow';
import type { LifecycleActivities } from '../activities/lifecycle.ts';
import type * as m from '../src/contracts/messages.ts';
import { QUEUES } from '../src/contracts/values.ts';
import { rolloutWorkflowId, runWorkflowId } from '../src/domain/ids.ts';
import { DAY_MS, decideRetraining, type PolicyPlan } from '../src/domain/retraining.ts';
import * as msg from './messages.ts';
import { quick } from './profiles.ts';
import type { rollout } from './rollout.ts';
import type { run } from './run.ts';
import { show } from './visibility.ts';

const activities = proxyActivities<LifecycleActivities>(quick);

/** Events read from the registry, or told to it, in one activity: keeps payloads far below 2 MB. */
const BATCH = 1_000;
/** How often a slot's workflow is looked at: one that a person terminated never reports back. */
const INSPECT_MS = 15 * 60_000;

/** Answers that are remembered over a continue-as-new, for a client that repeats its request. */
const REMEMBERED = 100;

type Work = () => Promise<void>;

interface Carried {
  readonly started?: readonly { readonly requestId: string; readonly run: string }[];
}

export async function lifecycle(input: m.LifecycleInput & Carried): Promise<void> {
  const { model } = input;
  const arrived: string[] = [];
  const pending = new Map<string, m.PendingEvent>();
  /** What each held event waits for, as the registry knows it. */
  const told = new Map<string, string>();
  const requests: m.StartRequest[] = [...(input.requests ?? [])];
  /** What outside detectors reported, for confirm_drift. */
  let driftWindows: readonly m.DriftWindow[] = input.driftWindows ?? [];
  const answers = new Map<string, m.StartRunAnswer>(
    (input.started ?? []).map(({ requestId, run }) => [requestId, { status: 'started', run }]),
  );
  /** Steps that messages ask for; the main loop takes them one after another, so that none sees another half done. */
  const work: Work[] = [];
  let facts: m.LifecycleFacts | null = null;
  let plan: PolicyPlan | null = null;
  let inspectAtMs = 0;

  const known = (): m.LifecycleFacts => {
    if (facts === null) throw new Error('the lifecycle has not loaded its facts');
    return facts;
  };
  const change = (part: Partial<m.LifecycleFacts>): void => {
    facts = { ...known(), ...part };
  };
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
  setHandler(msg.runAwaitsSignal, (signal) => {
    work.push(async () => {
      const { run } = known();
      if (run?.active.run === signal.run) change({ run: { ...run, active: { ...run.active, awaiting: true } } });
    });
  });
  setHandler(msg.runFinishedSignal, (signal) => {
    work.push(() => runEnded(signal));
  });
  setHandler(msg.rolloutFinishedSignal, (signal) => {
    work.push(() => rolloutEnded(signal));
  });
  setHandler(msg.applyDefinitionUpdate, (update) =>
    enqueue(async () => {
      const before = known().config?.definitionDigest;
      const { config, revision } = await activities.loadLifecycle({ model });
      change({ config, revision });
      const isChange = revision > 1 && config?.triggers.includes('definition') && before !== config.definitionDigest;
      if (isChange) {
        const stale = requests.findIndex((request) => request.trigger === 'definition');
        if (stale >= 0) requests.splice(stale, 1);
        requests.push({
          requestId: update.requestId,
          trigger: 'definition',
          actor: update.actor,
          reason: `definition ${revision} applied by ${update.actor}`,
        });
      }
      return { status: 'applied' as const };
    }),
  );
  setHandler(msg.startRunUpdate, async (update) => {
    // Asked again it must not stand in the queue again: there it would supersede the very run that it opened.
    const before = answers.get(update.requestId);
    if (before?.status === 'started') return before;
    const same = (request: m.StartRequest): boolean => request.requestId === update.requestId;
    if (!requests.some(same)) requests.push({ ...update, trigger: 'manual' });
    answers.delete(update.requestId);
    await condition(() => answers.has(update.requestId));
    return answers.get(update.requestId) ?? { status: 'refused' as const, reason: 'no answer' };
  });
  setHandler(msg.pauseLifecycleUpdate, (update) =>
    enqueue(async () => {
      await activities.setPaused({ model, ...update, paused: true });
      change({ paused: true });
      return { status: 'paused' as const };
    }),
  );
  setHandler(msg.resumeLifecycleUpdate, (update) =>
    enqueue(async () => {
      await activities.setPaused({ model, ...update, paused: false });
      change({ paused: false });
      return { status: 'resumed' as const };
    }),
  );
  setHandler(msg.rollbackUpdate, (update) => enqueue(() => rollBack(update)));
  setHandler(msg.lifecycleStatusQuery, () => ({
    model,
    config: facts?.config ?? null,
    champion: facts?.championVersion ?? null,
    run: facts?.run?.active ?? null,
    rollout: facts?.rollout?.active ?? null,
    paused: facts?.paused ?? false,
    held: pending.size,
    waitsFor: plan?.waitsFor ?? null,
    wakeAtMs: plan?.wakeAtMs ?? null,
  }));

  /** ABANDON: a run outlives its lifecycle's continue-as-new. Already started is success: the id is the run's own. */
  async function startOnce(start: () => Promise<unknown>): Promise<void> {
    try {
      await start();
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }
  const child = (workflowId: string, summary: string) => ({
    workflowId,
    taskQueue: QUEUES.control,
    parentClosePolicy: ParentClosePolicy.ABANDON,
    workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
    staticSummary: summary.slice(0, 200),
  });
  const startRun = (start: m.RunInput, reason: string): Promise<void> =>
    startOnce(() =>
      startChild<typeof run>('run', {
        ...child(runWorkflowId(model, start.run), `${start.trigger}: ${reason}`),
        args: [start],
      }),
    );
  const startRollout = (start: m.RolloutInput): Promise<void> =>
    startOnce(() =>
      startChild<typeof rollout>('rollout', {
        ...child(
          rolloutWorkflowId(model, start.deployment),
          `${start.kind} to version ${start.toVersion}: ${start.reason}`,
        ),
        args: [start],
      }),
    );

  async function load(): Promise<void> {
    facts = await activities.loadLifecycle({ model });
    const { run, rollout } = facts;
    if (run) await startRun(run.start, 'resumed');
    if (rollout) await startRollout(rollout.start);
    arrived.push(...(await activities.unsettledEvents({ model })));
    show({ model });
  }

  async function runEnded(signal: m.RunFinishedSignal): Promise<void> {
    const { run, approved } = known();
    if (run?.active.run === signal.run) change({ run: null, lastRunEndedMs: Date.now() });
    const isNew =
      signal.outcome === 'approved' && signal.version !== null && !approved.some((one) => one.run === signal.run);
    if (isNew && signal.version !== null)
      change({ approved: [...approved, { run: signal.run, version: signal.version }] });
  }

  async function rolloutEnded({ deployment, outcome }: m.RolloutFinishedSignal): Promise<void> {
    const { championVersion } = await activities.loadLifecycle({ model });
    change({ championVersion });
    // They spoke of the champion before.
    if (outcome === 'promoted') driftWindows = [];
    if (known().rollout?.active.deployment === deployment) change({ rollout: null });
  }

  async function rollBack(update: m.RollbackUpdate): Promise<m.RollbackAnswer> {
    const opened = await activities.openRollback({
      model,
      ...update,
      activeRollout: known().rollout?.active.deployment ?? null,
    });
    if (opened.status === 'refused') return opened;
    const active = known().rollout?.active;
    if (active && active.deployment !== opened.active.deployment) {
      await tellWorkflow(rolloutWorkflowId(model, active.deployment), (handle) =>
        handle.signal(msg.fenceSignal, { reason: `rollback to version ${opened.active.toVersion} by ${update.actor}` }),
      );
    }
    change({ rollout: { active: opened.active, start: opened.start } });
    await startRollout(opened.start);
    return { status: 'started', deployment: opened.active.deployment, toVersion: opened.active.toVersion };
  }

  /** A workflow that has closed meanwhile needs no telling: it reports back, or inspection finds it. */
  async function tellWorkflow(
    id: string,
    send: (handle: ReturnType<typeof getExternalWorkflowHandle>) => Promise<void>,
  ): Promise<void> {
    try {
      await send(getExternalWorkflowHandle(id));
    } catch (error) {
      if (isCancellation(error)) throw error;
      inspectAtMs = 0;
    }
  }

  async function takeArrivals(): Promise<void> {
    // Those that are there now: in a storm more arrive meanwhile, and other steps must have their turn.
    for (let left = arrived.length; left > 0; left -= BATCH) {
      const keys = [...new Set(arrived.splice(0, BATCH))].filter((key) => !pending.has(key));
      if (keys.length === 0) continue;
      for (const event of await activities.admitEvents({ model, keys })) pending.set(event.key, event);
    }
  }

  async function recordFates(next: PolicyPlan): Promise<void> {
    const held = next.hold.filter((one) => told.get(one.key) !== one.waitsFor);
    const fates = [
      ...next.refuse.map((one) => ({ key: one.key, fate: 'refused' as const, reason: one.reason })),
      ...next.coalesce.map((one) => ({ key: one.key, fate: 'coalesced' as const, run: one.run, reason: one.reason })),
      ...held.map((one) => ({ key: one.key, fate: 'held' as const, waitsFor: one.waitsFor, reason: one.reason })),
    ];
    for (let at = 0; at < fates.length; at += BATCH)
      await activities.recordFates({ model, fates: fates.slice(at, at + BATCH) });
    for (const one of held) told.set(one.key, one.waitsFor);
    for (const one of [...next.refuse, ...next.coalesce]) forget(one.key);
  }
  function forget(key: string): void {
    const event = pending.get(key);
    if (
      event?.drift &&
      event.drift.verdict === null &&
      (event.drift.version === null || event.drift.version === known().championVersion)
    ) {
      const { windowStartMs: startMs, windowEndMs: endMs } = event.drift;
      driftWindows = [...driftWindows, { startMs, endMs, drifted: true }].slice(-50);
    }
    pending.delete(key);
    told.delete(key);
  }

  async function openRun(start: NonNullable<PolicyPlan['start']>, config: m.LifecycleConfig): Promise<void> {
    const opened = await activities.openRun({
      model,
      requestKey: start.request
        ? `${start.request.trigger}:${start.request.requestId}`
        : `event:${start.eventKeys[0] ?? ''}`,
      trigger: start.trigger,
      eventKeys: start.eventKeys,
      requester: start.request?.actor ?? null,
      reason: start.reason,
      definitionDigest: config.definitionDigest,
    });
    for (const key of start.eventKeys) forget(key);
    if (start.request) {
      requests.splice(requests.indexOf(start.request), 1);
      answers.set(start.request.requestId, { status: 'started', run: opened.run });
    }
    if (opened.start === null) {
      // A request from before: its run has ended, and the events that were to go along do not stand behind it.
      arrived.push(...start.eventKeys);
      return;
    }
    const nowMs = Date.now();
    change({
      run: { active: { run: opened.run, awaiting: false, superseding: false }, start: opened.start },
      runStartsMs: [...known().runStartsMs.filter((at) => at > nowMs - DAY_MS), nowMs],
    });
    await startRun(opened.start, start.reason);
  }

  async function applyPolicy(): Promise<void> {
    const { config, run } = known();
    if (config === null) {
      for (const { requestId } of requests.splice(0))
        answers.set(requestId, { status: 'refused', reason: `${model} was never applied` });
      return;
    }
    const { rollout, approved } = known();
    // What comes in while this plan is carried out is answered by the next.
    const asked = [...requests];
    const state = {
      ...known(),
      config,
      run: run?.active ?? null,
      isChampionChanging: rollout !== null || approved.length > 0,
      pending: [...pending.values()],
      requests: asked,
      driftWindows,
    };
    plan = decideRetraining(state, Date.now());
    await recordFates(plan);
    if (plan.supersede !== null && run) {
      change({ run: { ...run, active: { ...run.active, superseding: true } } });
      await tellWorkflow(runWorkflowId(model, plan.supersede), (handle) =>
        handle.signal(msg.supersedeSignal, { reason: 'a newer run takes its place' }),
      );
    }
    if (plan.start) await openRun(plan.start, config);
    for (const request of asked) {
      if (!answers.has(request.requestId))
        answers.set(request.requestId, { status: 'held', waitsFor: plan.waitsFor ?? 'the run before it' });
    }
  }

  async function fillRolloutSlot(): Promise<void> {
    const { rollout, approved } = known();
    const [next, ...rest] = approved;
    if (rollout !== null || !next) return;
    const opened = await activities.openRollout({ model, run: next.run, version: next.version });
    change({ approved: rest });
    if (opened.status === 'refused') return;
    change({ rollout: { active: opened.active, start: opened.start } });
    await startRollout(opened.start);
  }

  async function inspectSlots(): Promise<void> {
    inspectAtMs = Date.now() + INSPECT_MS;
    const { run, rollout } = known();
    if (!run && !rollout) return;
    const found = await activities.inspectSlots({
      model,
      run: run?.active.run ?? null,
      deployment: rollout?.active.deployment ?? null,
    });
    if (found.run) await runEnded(found.run);
    if (found.rollout) await rolloutEnded(found.rollout);
  }

  const started = (): NonNullable<Carried['started']> =>
    [...answers]
      .flatMap(([requestId, answer]) => (answer.status === 'started' ? [{ requestId, run: answer.run }] : []))
      .slice(-REMEMBERED);

  function describe(): string {
    const { championVersion, run, rollout, paused } = known();
    return [
      championVersion === null ? 'No champion yet.' : `Champion: version ${championVersion}.`,
      run
        ? `Run ${run.active.run} ${run.active.awaiting ? 'waits for a decision' : 'is under way'}.`
        : 'No run under way.',
      rollout ? `Deployment ${rollout.active.deployment} brings version ${rollout.active.toVersion}.` : null,
      paused ? 'Retraining is paused.' : null,
      plan?.waitsFor && pending.size > 0
        ? `${pending.size} events held; the next run waits for ${plan.waitsFor}.`
        : 'No events held.',
    ]
      .filter((line) => line !== null)
      .join('\n\n');
  }

  await load();
  inspectAtMs = Date.now() + INSPECT_MS;
  let details = '';
  for (;;) {
    for (let step = work.shift(); step; step = work.shift()) await step();
    await takeArrivals();
    if (Date.now() >= inspectAtMs) await inspectSlots();
    await applyPolicy();
    await fillRolloutSlot();
    const isBusy = (): boolean => work.length > 0 || arrived.length > 0;
    const unanswered = (): boolean => requests.some((request) => !answers.has(request.requestId));
    const mayContinue = (): boolean =>
      workflowInfo().continueAsNewSuggested && work.length === 0 && allHandlersFinished();
    // Before what has arrived is taken up, or a storm would never let it come to this. Nothing is lost: those events are
    // unsettled in the registry, from which the next execution loads them.
    if (mayContinue()) {
      await continueAsNew<typeof lifecycle>({ stateVersion: 1, model, requests, driftWindows, started: started() });
    }
    if (isBusy() || unanswered()) continue;
    const text = describe();
    if (text !== details) setCurrentDetails(text);
    details = text;
    // A freed slot may let the policy or the queue go on at once.
    if (plan !== null && (plan as PolicyPlan).start !== null) continue;
    const wakeAtMs = Math.min((plan as PolicyPlan | null)?.wakeAtMs ?? Number.POSITIVE_INFINITY, inspectAtMs);
    await condition(() => isBusy() || unanswered() || mayContinue(), Math.max(1, wakeAtMs - Date.now()));
  }
}
