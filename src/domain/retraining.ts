/**
 * The retraining policy: which events open a run, which stand behind one, which are refused, and what the others wait for.
 * Pure: time comes in as milliseconds; the lifecycle workflow carries out what this decides.
 */
import type { ActiveRun, DriftWindow, LifecycleConfig, PendingEvent, StartRequest } from '../contracts/messages.ts';
import type { Trigger } from '../contracts/values.ts';

export const DAY_MS = 86_400_000;

export interface PolicyState {
  readonly config: LifecycleConfig;
  readonly pending: readonly PendingEvent[];
  readonly requests: readonly StartRequest[];
  readonly run: ActiveRun | null;
  readonly championVersion: number | null;
  /** A candidate was approved or is being rolled out: the champion that an alert speaks of may be replaced any moment. */
  readonly isChampionChanging: boolean;
  /** Starts of earlier runs; those older than a day do not matter. */
  readonly runStartsMs: readonly number[];
  readonly lastRunEndedMs: number | null;
  readonly paused: boolean;
  /** Windows that outside detectors reported before, newest last. */
  readonly driftWindows: readonly DriftWindow[];
}

export interface RunStart {
  readonly trigger: Trigger;
  /** The first opened the run. Empty for a request. */
  readonly eventKeys: readonly string[];
  readonly request: StartRequest | null;
  readonly reason: string;
}

export interface PolicyPlan {
  readonly refuse: readonly { readonly key: string; readonly reason: string }[];
  /** Events that go to the run under way. */
  readonly coalesce: readonly { readonly key: string; readonly run: string; readonly reason: string }[];
  readonly hold: readonly { readonly key: string; readonly waitsFor: string; readonly reason: string }[];
  readonly start: RunStart | null;
  /** A waiting candidate that gives way to the next run. */
  readonly supersede: string | null;
  /** When to decide again if nothing happens before; null: only when something happens. */
  readonly wakeAtMs: number | null;
  /** What the next start waits for, in words. */
  readonly waitsFor: string | null;
}

interface Ready {
  readonly trigger: 'data' | 'drift';
  readonly opener: PendingEvent;
}
type Gatekeeper = { readonly waitsFor: string; readonly reason: string; readonly untilMs: number | null };

/** Windows that count for confirm_drift: the newest `of` that do not overlap. */
export function confirmedByWindows(windows: readonly DriftWindow[], rule: LifecycleConfig['confirmDrift']): boolean {
  const chosen: DriftWindow[] = [];
  for (const window of [...windows].sort((a, b) => b.endMs - a.endMs || b.startMs - a.startMs)) {
    const last = chosen.at(-1);
    if (last && window.endMs > last.startMs) {
      // The same window told twice is one observation; drifted wins, since each detector sees its own features.
      if (window.endMs === last.endMs && window.startMs === last.startMs && window.drifted && !last.drifted)
        chosen[chosen.length - 1] = window;
      continue;
    }
    if (chosen.length === rule.of) break;
    chosen.push(window);
  }
  return chosen.filter((window) => window.drifted).length >= rule.windows;
}

function isConfirmed(event: PendingEvent, state: PolicyState): boolean {
  if (!event.drift) return false;
  if (event.drift.verdict === 'confirmed') return true;
  if (event.drift.verdict !== null) return false;
  const told = state.pending.flatMap((other) =>
    // What speaks of another version says nothing about this champion.
    other.drift &&
    other.drift.verdict === null &&
    (other.drift.version === null || other.drift.version === state.championVersion)
      ? [{ startMs: other.drift.windowStartMs, endMs: other.drift.windowEndMs, drifted: true }]
      : [],
  );
  return confirmedByWindows([...state.driftWindows, ...told], state.config.confirmDrift);
}

/** Why an event can never lead to a run; null when it may. */
function refusal(event: PendingEvent, state: PolicyState): string | null {
  const { config, championVersion } = state;
  if (!config.triggers.includes(event.kind))
    return `trigger ${event.kind} is off (retraining.triggers: ${config.triggers.join(', ') || 'none'})`;
  if (!event.drift || championVersion === null) return null;
  if (event.drift.version !== null && event.drift.version !== championVersion) {
    return `it speaks of version ${event.drift.version}; the champion is version ${championVersion}`;
  }
  if (event.drift.verdict === 'stable') return 'drift not confirmed: the verdict is stable';
  if (event.drift.verdict === 'suspected') return 'drift not confirmed: suspected, not retraining';
  if (!isConfirmed(event, state)) {
    return `drift not confirmed: fewer than ${config.confirmDrift.windows} of the last ${config.confirmDrift.of} windows drifted`;
  }
  return null;
}

/** The gates in the way of a ready start, the first that holds. */
function gatekeeper(state: PolicyState, nowMs: number): Gatekeeper | null {
  const { config } = state;
  if (state.lastRunEndedMs !== null && nowMs < state.lastRunEndedMs + config.cooldownMs) {
    const untilMs = state.lastRunEndedMs + config.cooldownMs;
    return { waitsFor: 'cooldown', reason: `cooldown until ${new Date(untilMs).toISOString()}`, untilMs };
  }
  if (config.runsPerDay !== null) {
    const recent = state.runStartsMs.filter((start) => start > nowMs - DAY_MS).sort((a, b) => a - b);
    const oldest = recent[recent.length - config.runsPerDay];
    if (oldest !== undefined) {
      return {
        waitsFor: 'budget',
        reason: `${recent.length} runs in the last day, the budget is ${config.runsPerDay}`,
        untilMs: oldest + DAY_MS,
      };
    }
  }
  return null;
}

function debounceEnd(events: readonly PendingEvent[], config: LifecycleConfig): number {
  const times = events.map((event) => event.receivedAtMs);
  const first = times.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const last = times.reduce((a, b) => Math.max(a, b), 0);
  return Math.min(last + config.debounceMs, first + config.maxWaitMs);
}

/** What could start a run by itself, before debounce: enough rows, or confirmed drift of a champion. */
function ready(events: readonly PendingEvent[], state: PolicyState): Ready | null {
  if (state.championVersion !== null && !state.isChampionChanging) {
    const opener = events.find((event) => event.kind === 'drift');
    if (opener) return { trigger: 'drift', opener };
  }
  const data = events.filter((event) => event.kind === 'data');
  const opener = data[0];
  if (!opener) return null;
  const rows = data.reduce((sum, event) => sum + event.rows, 0);
  // New rows are counted against what a champion was trained on; the first model takes what there is.
  return state.championVersion === null || rows >= state.config.minNewRows ? { trigger: 'data', opener } : null;
}

const nothing = {
  refuse: [],
  coalesce: [],
  hold: [],
  start: null,
  supersede: null,
  wakeAtMs: null,
  waitsFor: null,
} as const;

/** Decides what happens now. Calling it again with nothing changed decides the same. */
export function decideRetraining(state: PolicyState, nowMs: number): PolicyPlan {
  const refuse: { key: string; reason: string }[] = [];
  const coalesce: { key: string; run: string; reason: string }[] = [];
  const live: PendingEvent[] = [];
  for (const event of state.pending) {
    const reason = refusal(event, state);
    if (reason !== null) refuse.push({ key: event.key, reason });
    else if (event.kind === 'drift' && state.championVersion === null && state.run !== null) {
      coalesce.push({
        key: event.key,
        run: state.run.run,
        reason: 'an alert before the first champion stands behind the first run',
      });
    } else live.push(event);
  }
  const settled = { ...nothing, refuse, coalesce };
  const holdAll = (waitsFor: string, reason: string, wakeAtMs: number | null = null): PolicyPlan => ({
    ...settled,
    hold: live.map((event) => ({ key: event.key, waitsFor, reason })),
    wakeAtMs,
    waitsFor: live.length > 0 || state.requests.length > 0 ? reason : null,
  });
  const withSlot = (start: RunStart): PolicyPlan => {
    if (state.run === null) return { ...settled, start };
    const held = holdAll('run', `${state.run.run} is under way`);
    // Only newer data or a person's wish makes a better candidate: alerts alone would train the same one again, and a
    // detector that repeats itself would never let anybody decide.
    const isNewer = start.request !== null || live.some((event) => event.kind === 'data');
    const gives = isNewer && state.run.awaiting && state.config.onNewer === 'supersede' && !state.run.superseding;
    return gives ? { ...held, supersede: state.run.run } : held;
  };

  const [request] = state.requests;
  if (request) {
    // A person's start is past all but single flight; a changed definition waits like an event. Events that wait go along.
    if (request.trigger === 'definition') {
      if (state.paused) return holdAll('pause', 'retraining is paused');
      const gate = gatekeeper(state, nowMs);
      if (gate) return holdAll(gate.waitsFor, gate.reason, gate.untilMs);
    }
    return withSlot({
      trigger: request.trigger,
      eventKeys: live.map((event) => event.key),
      request,
      reason: request.reason ?? `asked for by ${request.actor}`,
    });
  }
  if (live.length === 0) return settled;
  if (state.paused) return holdAll('pause', 'retraining is paused');
  const what = ready(live, state);
  if (!what) {
    if (state.isChampionChanging && live.some((event) => event.kind === 'drift')) {
      return holdAll('run', 'a rollout under way may replace the champion that the alerts speak of');
    }
    const rows = live.reduce((sum, event) => sum + event.rows, 0);
    return rows > 0
      ? holdAll('rows', `${rows} of ${state.config.minNewRows} new rows`)
      : holdAll('rows', 'the first data: there is no champion to retrain yet');
  }
  const quietAtMs = debounceEnd(live, state.config);
  if (nowMs < quietAtMs)
    return holdAll('debounce', `more events until ${new Date(quietAtMs).toISOString()}`, quietAtMs);
  const gate = gatekeeper(state, nowMs);
  if (gate) return holdAll(gate.waitsFor, gate.reason, gate.untilMs);
  const others = live.filter((event) => event !== what.opener).map((event) => event.key);
  return withSlot({
    trigger: what.trigger,
    eventKeys: [what.opener.key, ...others],
    request: null,
    reason: startReason(what, live),
  });
}

function startReason(what: Ready, events: readonly PendingEvent[]): string {
  const data = events.filter((event) => event.kind === 'data');
  const drift = events.length - data.length;
  const rows = data.reduce((sum, event) => sum + event.rows, 0);
  const parts = [
    data.length > 0 ? `${rows} new rows in ${data.length} ${data.length === 1 ? 'arrival' : 'arrivals'}` : null,
    drift > 0 ? `${drift} drift ${drift === 1 ? 'alert' : 'alerts'}` : null,
  ].filter((part) => part !== null);
  return what.trigger === 'drift' ? `drift confirmed: ${parts.reverse().join(', ')}` : parts.join(', ');
}
