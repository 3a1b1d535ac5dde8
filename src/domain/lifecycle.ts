/**
 * The lifecycle's decision core: what is in flight for a model, how each thing that happens changes it, and what is to be done
 * next. Pure: the workflow carries the effects out, the simulator plays them against a world of its own.
 */
import type * as m from '../contracts/messages.ts';
import { reportedWindow } from './confirmation.ts';
import {
  DAY_MS,
  decideRetraining,
  type PolicyPlan,
  type PolicyState,
  type Rules,
  type RunStart,
} from './retraining.ts';

export interface LifecycleState extends Omit<PolicyState, 'config' | 'pending' | 'isChampionChanging'> {
  /** Null for a model that was never applied. */
  readonly config: m.LifecycleConfig | null;
  readonly pending: ReadonlyMap<string, m.PendingEvent>;
  /** What each held event waits for, as the registry knows it. */
  readonly told: ReadonlyMap<string, string>;
  readonly rollout: m.ActiveRollout | null;
  /** Approved runs without a deployment, oldest first. */
  readonly approved: readonly m.ApprovedRun[];
  /** The next moment of the schedule. */
  readonly nextScheduleMs: number | null;
}

export interface FateChange {
  readonly key: string;
  readonly fate: 'refused' | 'coalesced' | 'held';
  readonly run?: string;
  readonly waitsFor?: string;
  readonly reason: string;
}

export type Happening =
  | { readonly type: 'admitted'; readonly events: readonly m.PendingEvent[] }
  | { readonly type: 'requested'; readonly request: m.StartRequest }
  | {
      readonly type: 'configured';
      readonly config: m.LifecycleConfig | null;
      readonly nextScheduleMs: number | null;
      /** A moment of the schedule that has come and was not acted on yet: it is not forgotten for the next one. */
      readonly dueMs?: number;
    }
  | { readonly type: 'paused'; readonly paused: boolean }
  | { readonly type: 'schedule_due'; readonly nextScheduleMs: number | null }
  | { readonly type: 'counted'; readonly spending?: readonly m.RunCost[]; readonly newOutcomes?: number }
  | { readonly type: 'run_opened'; readonly run: string; readonly start: RunStart; readonly atMs: number }
  /** The request's run has ended already: the events that were to go along do not stand behind it. */
  | { readonly type: 'request_known'; readonly start: RunStart }
  | { readonly type: 'run_awaits'; readonly run: string; readonly atMs: number }
  | { readonly type: 'run_ended'; readonly signal: m.RunFinishedSignal; readonly atMs: number; readonly rules?: Rules }
  /** The registry has these fates. */
  | { readonly type: 'recorded'; readonly fates: readonly FateChange[] }
  | { readonly type: 'superseding'; readonly run: string }
  /** The registry, which counts the runs of all, let no run start. */
  | {
      readonly type: 'over_budget';
      readonly reason: string;
      readonly spending: readonly m.RunCost[];
      readonly atMs: number;
    }
  | { readonly type: 'rollout_taken'; readonly rollout: m.ActiveRollout | null; readonly run: string }
  | { readonly type: 'rolled_back'; readonly rollout: m.ActiveRollout }
  | {
      readonly type: 'rollout_ended';
      readonly deployment: number;
      readonly outcome: m.RolloutFinishedSignal['outcome'];
      readonly championVersion: number | null;
      readonly championSinceMs?: number | null;
    };

/** Windows of outside detectors that are kept for confirm_drift. */
const KEPT_WINDOWS = 50;
/** When to ask again after the registry found the budget used up, although the lifecycle's own count had room. */
const RECONSIDER_MS = 60_000;

export function initialState(facts: m.LifecycleFacts, carried: Partial<m.LifecycleInput> = {}): LifecycleState {
  const { config, championVersion, approved, runStartsMs, lastRunEndedMs, paused } = facts;
  return {
    config,
    championVersion,
    championSinceMs: facts.championSinceMs ?? null,
    approved,
    runStartsMs,
    lastRunEndedMs,
    paused,
    run: facts.run?.active ?? null,
    rollout: facts.rollout?.active ?? null,
    spending: facts.spending ?? [],
    newOutcomes: facts.newOutcomes ?? 0,
    overBudget: null,
    requests: carried.requests ?? [],
    driftWindows: carried.driftWindows ?? [],
    // A moment that came while the lifecycle continued as new is still due.
    nextScheduleMs: config?.schedule ? (carried.nextScheduleMs ?? facts.nextScheduleMs ?? null) : null,
    pending: new Map(),
    told: new Map(),
  };
}

/** Takes settled events out. What a detector reported with them stays, for the next that it reports. */
function without(state: LifecycleState, keys: readonly string[]): LifecycleState {
  if (keys.length === 0) return state;
  const pending = new Map(state.pending);
  const told = new Map(state.told);
  const windows: m.DriftWindow[] = [];
  for (const key of keys) {
    const event = pending.get(key);
    const window = event ? reportedWindow(event, state) : null;
    if (window) windows.push(window);
    pending.delete(key);
    told.delete(key);
  }
  const driftWindows =
    windows.length === 0 ? state.driftWindows : [...state.driftWindows, ...windows].slice(-KEPT_WINDOWS);
  return { ...state, pending, told, driftWindows };
}

const withoutRequest = (state: LifecycleState, request: m.StartRequest | null): LifecycleState =>
  request === null
    ? state
    : { ...state, requests: state.requests.filter((one) => one.requestId !== request.requestId) };

/** A changed definition and a schedule ask for one run, however often they asked since the last. */
function requested(state: LifecycleState, request: m.StartRequest): LifecycleState {
  if (state.requests.some((one) => one.requestId === request.requestId)) return state;
  const others =
    request.trigger === 'manual' ? state.requests : state.requests.filter((one) => one.trigger !== request.trigger);
  return { ...state, requests: [...others, request] };
}

function scheduledFor(atMs: number): m.StartRequest {
  const moment = new Date(atMs).toISOString();
  return { requestId: moment, trigger: 'schedule', actor: null, reason: `scheduled for ${moment}` };
}

function runOpened(state: LifecycleState, run: string, start: RunStart, atMs: number): LifecycleState {
  const freed = withoutRequest(without(state, start.eventKeys), start.request);
  const cost = { startedAtMs: atMs, cpuSeconds: state.config?.reservedCpuSeconds ?? 0 };
  return {
    ...freed,
    run: { run, awaiting: false, superseding: false },
    runStartsMs: [...state.runStartsMs.filter((at) => at > atMs - DAY_MS), atMs],
    spending: [...state.spending.filter((one) => one.startedAtMs > atMs - DAY_MS), cost],
    newOutcomes: 0,
  };
}

function runEnded(
  state: LifecycleState,
  { run, outcome, version }: m.RunFinishedSignal,
  atMs: number,
  rules: Rules = 2,
): LifecycleState {
  // A run that gave way is replaced at once: were its end to start the cooldown, it would have given way to nothing.
  const lastRunEndedMs = rules === 2 && outcome === 'superseded' ? state.lastRunEndedMs : atMs;
  const ended = state.run?.run === run ? { ...state, run: null, lastRunEndedMs } : state;
  const isNew = outcome === 'approved' && version !== null && !state.approved.some((one) => one.run === run);
  return isNew ? { ...ended, approved: [...ended.approved, { run, version }] } : ended;
}

function recorded(state: LifecycleState, fates: readonly FateChange[]): LifecycleState {
  const told = new Map(state.told);
  for (const { key, waitsFor } of fates) if (waitsFor !== undefined) told.set(key, waitsFor);
  const settled = fates.filter(({ fate }) => fate !== 'held').map(({ key }) => key);
  return without({ ...state, told }, settled);
}

export function after(state: LifecycleState, what: Happening): LifecycleState {
  switch (what.type) {
    case 'admitted':
      return {
        ...state,
        pending: new Map([...state.pending, ...what.events.map((event) => [event.key, event] as const)]),
      };
    case 'requested':
      return requested(state, what.request);
    case 'configured': {
      const configured = { ...state, config: what.config, nextScheduleMs: what.nextScheduleMs };
      const isScheduled = what.dueMs !== undefined && what.nextScheduleMs !== null;
      return isScheduled ? requested(configured, scheduledFor(what.dueMs)) : configured;
    }
    case 'paused':
      return { ...state, paused: what.paused };
    case 'schedule_due': {
      const atMs = state.nextScheduleMs;
      const due = { ...state, nextScheduleMs: what.nextScheduleMs };
      return atMs === null ? due : requested(due, scheduledFor(atMs));
    }
    case 'counted':
      return {
        ...state,
        spending: what.spending ?? state.spending,
        newOutcomes: what.newOutcomes ?? state.newOutcomes,
      };
    case 'run_opened':
      return runOpened(state, what.run, what.start, what.atMs);
    case 'request_known':
      return withoutRequest(without(state, what.start.eventKeys), what.start.request);
    case 'run_awaits':
      return state.run?.run === what.run
        ? { ...state, run: { ...state.run, awaiting: true, awaitingSinceMs: state.run.awaitingSinceMs ?? what.atMs } }
        : state;
    case 'run_ended':
      return runEnded(state, what.signal, what.atMs, what.rules);
    case 'recorded':
      return recorded(state, what.fates);
    case 'over_budget': {
      const overBudget = { reason: what.reason, untilMs: what.atMs + RECONSIDER_MS };
      return { ...state, spending: what.spending, overBudget };
    }
    case 'superseding':
      return state.run?.run === what.run ? { ...state, run: { ...state.run, superseding: true } } : state;
    case 'rollout_taken':
      return {
        ...state,
        approved: state.approved.filter((one) => one.run !== what.run),
        rollout: what.rollout ?? state.rollout,
      };
    case 'rolled_back':
      return { ...state, rollout: what.rollout };
    case 'rollout_ended':
      return {
        ...state,
        championVersion: what.championVersion,
        championSinceMs: what.championSinceMs ?? null,
        // They spoke of the champion before.
        driftWindows: what.outcome === 'promoted' ? [] : state.driftWindows,
        rollout: state.rollout?.deployment === what.deployment ? null : state.rollout,
      };
  }
}

export interface Decided {
  readonly plan: PolicyPlan;
  /** To be recorded before anything else; a hold only where it changed. */
  readonly fates: readonly FateChange[];
}

/** What to do now about the run slot; null for a model that was never applied. */
export function decide(state: LifecycleState, nowMs: number, rules?: Rules): Decided | null {
  const { config, rollout, approved } = state;
  if (config === null) return null;
  const isChampionChanging = rollout !== null || approved.length > 0;
  const policyState = { ...state, config, isChampionChanging, pending: [...state.pending.values()] };
  const plan = decideRetraining(policyState, nowMs, rules);
  const held = plan.hold.filter((one) => state.told.get(one.key) !== one.waitsFor);
  const fates: FateChange[] = [
    ...plan.refuse.map((one) => ({ ...one, fate: 'refused' as const })),
    ...plan.coalesce.map((one) => ({ ...one, fate: 'coalesced' as const })),
    ...held.map((one) => ({ ...one, fate: 'held' as const })),
  ];
  return { plan, fates };
}

/** The approved candidate whose turn the rollout slot is; null while there is none, or another is under way. */
export const nextRollout = (state: LifecycleState): m.ApprovedRun | null =>
  state.rollout === null ? (state.approved[0] ?? null) : null;

/** The idempotency key under which the registry opens a run. */
export const runRequestKey = (start: RunStart): string =>
  start.request ? `${start.request.trigger}:${start.request.requestId}` : `event:${start.eventKeys[0] ?? ''}`;
