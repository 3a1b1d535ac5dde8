/**
 * The retraining policy: which events open a run, which stand behind one, which are refused, and what the others wait for.
 * Pure: time comes in as milliseconds; the lifecycle workflow and the simulator carry out what this decides.
 */
import type {
  ActiveRun,
  DriftWindow,
  LifecycleConfig,
  PendingEvent,
  RunCost,
  StartRequest,
} from '../contracts/messages.ts';
import type { Trigger } from '../contracts/values.ts';
import { type Confirmation, confirmation, ofAnother, reportedWindow, type Serving } from './confirmation.ts';

export const DAY_MS = 86_400_000;

/** How it is decided. 1: as in 0.1.0, for lifecycles whose histories are from then. */
export type Rules = 1 | 2;

export interface PolicyState extends Serving {
  readonly config: LifecycleConfig;
  readonly pending: readonly PendingEvent[];
  readonly requests: readonly StartRequest[];
  readonly run: ActiveRun | null;
  /** A candidate was approved or is being rolled out: the champion that an alert speaks of may be replaced any moment. */
  readonly isChampionChanging: boolean;
  /** Starts of earlier runs; those older than a day do not matter. */
  readonly runStartsMs: readonly number[];
  /** Cost of earlier runs; those older than a day do not matter. */
  readonly spending: readonly RunCost[];
  /** Of a run that did not give way to a newer one. */
  readonly lastRunEndedMs: number | null;
  readonly paused: boolean;
  /** Windows that outside detectors reported before, newest last. */
  readonly driftWindows: readonly DriftWindow[];
  /** Labels stored since the last run was opened. */
  readonly newOutcomes: number;
  /** The registry found the budget used up, although this count has room: clocks differ, or another start came first. */
  readonly overBudget: { readonly reason: string; readonly untilMs: number } | null;
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

/** What holds a start back, until when (null: until something happens). */
interface Obstacle {
  readonly waitsFor: 'pause' | 'run' | 'rows' | 'outcomes' | 'debounce' | 'cooldown' | 'budget';
  readonly reason: string;
  readonly untilMs: number | null;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const iso = (ms: number): string => new Date(ms).toISOString();
const isData = (event: PendingEvent): boolean => event.kind === 'data';
const isDrift = (event: PendingEvent): boolean => event.kind === 'drift';

/** Why an event can never lead to a run; null when it may. */
function refusal(event: PendingEvent, state: PolicyState, told: Confirmation): string | null {
  const { config, championVersion } = state;
  if (!config.triggers.includes(event.kind))
    return `trigger ${event.kind} is off (retraining.triggers: ${config.triggers.join(', ') || 'none'})`;
  if (!event.drift || championVersion === null) return null;
  const another = ofAnother(event, state);
  if (another !== null) return another;
  if (event.drift.verdict === 'stable') return 'drift not confirmed: the verdict is stable';
  if (event.drift.verdict === 'suspected') return 'drift not confirmed: suspected, not retraining';
  if (event.drift.verdict === null && !told.confirmed) {
    const { windows, of } = config.confirmDrift;
    return `drift not confirmed: ${told.drifted} of the last ${of} windows drifted, ${windows} must`;
  }
  return null;
}

function cooldown({ config, lastRunEndedMs }: PolicyState, nowMs: number): Obstacle | null {
  if (lastRunEndedMs === null || nowMs >= lastRunEndedMs + config.cooldownMs) return null;
  const untilMs = lastRunEndedMs + config.cooldownMs;
  return { waitsFor: 'cooldown', reason: `cooldown until ${iso(untilMs)}`, untilMs };
}

function runBudget({ config, runStartsMs }: PolicyState, nowMs: number): Obstacle | null {
  if (config.runsPerDay === null) return null;
  const recent = runStartsMs.filter((start) => start > nowMs - DAY_MS).sort((a, b) => a - b);
  const oldest = recent[recent.length - config.runsPerDay];
  if (oldest === undefined) return null;
  const reason = `${recent.length} runs in the last day, the budget is ${config.runsPerDay}`;
  return { waitsFor: 'budget', reason, untilMs: oldest + DAY_MS };
}

const cpuHours = (seconds: number): string => (seconds / 3_600).toFixed(2);

function foundOverBudget({ overBudget }: PolicyState, nowMs: number): Obstacle | null {
  return overBudget && nowMs < overBudget.untilMs ? { waitsFor: 'budget', ...overBudget } : null;
}

function cpuBudget({ config, spending }: PolicyState, nowMs: number): Obstacle | null {
  const { cpuSecondsPerDay = null, reservedCpuSeconds = 0 } = config;
  if (cpuSecondsPerDay === null) return null;
  const recent = spending
    .filter((cost) => cost.startedAtMs > nowMs - DAY_MS)
    .sort((a, b) => a.startedAtMs - b.startedAtMs);
  const spent = sum(recent.map((cost) => cost.cpuSeconds));
  let excess = spent + reservedCpuSeconds - cpuSecondsPerDay;
  if (excess <= 0) return null;
  const reason = `${cpuHours(spent)} CPU hours in the last day and ${cpuHours(reservedCpuSeconds)} for the next run, the budget is ${cpuHours(cpuSecondsPerDay)}`;
  // The oldest leave the day first.
  for (const cost of recent) {
    excess -= cost.cpuSeconds;
    if (excess <= 0) return { waitsFor: 'budget', reason, untilMs: cost.startedAtMs + DAY_MS };
  }
  return { waitsFor: 'budget', reason, untilMs: null };
}

const PAUSE: Obstacle = { waitsFor: 'pause', reason: 'retraining is paused', untilMs: null };

/** The gates in the way of any start but a person's: the first that holds. */
function gatekeeper(state: PolicyState, nowMs: number): Obstacle | null {
  if (state.paused) return PAUSE;
  return cooldown(state, nowMs) ?? runBudget(state, nowMs) ?? cpuBudget(state, nowMs) ?? foundOverBudget(state, nowMs);
}

const earliest = (times: readonly number[]): number => times.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
const received = (events: readonly PendingEvent[]): readonly number[] => events.map((event) => event.receivedAtMs);

/** New rows and outcomes are counted against what a champion was trained on; the first model takes what there is. */
const isFirst = ({ championVersion }: PolicyState): boolean => championVersion === null;
const alertsOpen = (state: PolicyState): boolean => !isFirst(state) && !state.isChampionChanging;
const hasOutcomes = (state: PolicyState): boolean =>
  isFirst(state) || state.newOutcomes >= (state.config.minNewOutcomes ?? 0);

/** When events were first enough for a start: the first alert that may open one, or the arrival that brought the last of the rows. */
function enoughSinceMs(events: readonly PendingEvent[], state: PolicyState): number {
  const alertMs = alertsOpen(state) ? earliest(received(events.filter(isDrift))) : Number.POSITIVE_INFINITY;
  if (!hasOutcomes(state)) return alertMs;
  let missing = isFirst(state) ? 0 : state.config.minNewRows;
  for (const { rows, receivedAtMs } of events.filter(isData).sort((a, b) => a.receivedAtMs - b.receivedAtMs)) {
    missing -= rows;
    if (missing <= 0) return Math.min(alertMs, receivedAtMs);
  }
  return alertMs;
}

function debounce(events: readonly PendingEvent[], state: PolicyState, nowMs: number, rules: Rules): Obstacle | null {
  const { debounceMs, maxWaitMs } = state.config;
  const last = received(events).reduce((a, b) => Math.max(a, b), 0);
  // What waited for rows was put off by nothing: were the wait counted from it, it would end before the rest of a burst came.
  const first = rules === 1 ? earliest(received(events)) : enoughSinceMs(events, state);
  const untilMs = Math.min(last + debounceMs, first + maxWaitMs);
  return nowMs < untilMs ? { waitsFor: 'debounce', reason: `more events until ${iso(untilMs)}`, untilMs } : null;
}

/** The event that could open a run by itself: an alert about the champion, or data of which there is enough. */
function findOpener(events: readonly PendingEvent[], state: PolicyState): PendingEvent | Obstacle {
  const { isChampionChanging, config, newOutcomes } = state;
  const alert = events.find(isDrift);
  if (alert && alertsOpen(state)) return alert;
  const data = events.filter(isData);
  const rows = sum(data.map((event) => event.rows));
  const [opener] = data;
  const { minNewRows, minNewOutcomes = 0 } = config;
  if (opener && (isFirst(state) || rows >= minNewRows) && hasOutcomes(state)) return opener;
  if (alert && isChampionChanging) {
    const reason = 'a rollout under way may replace the champion that the alerts speak of';
    return { waitsFor: 'run', reason, untilMs: null };
  }
  if (!opener)
    return { waitsFor: 'rows', reason: 'the first data: there is no champion to retrain yet', untilMs: null };
  if (rows < minNewRows) return { waitsFor: 'rows', reason: `${rows} of ${minNewRows} new rows`, untilMs: null };
  return { waitsFor: 'outcomes', reason: `${newOutcomes} of ${minNewOutcomes} new outcomes`, untilMs: null };
}

function startReason(opener: PendingEvent, events: readonly PendingEvent[]): string {
  const data = events.filter(isData);
  const drift = events.length - data.length;
  const rows = sum(data.map((event) => event.rows));
  const parts = [
    data.length > 0 ? `${rows} new rows in ${data.length} ${data.length === 1 ? 'arrival' : 'arrivals'}` : null,
    drift > 0 ? `${drift} drift ${drift === 1 ? 'alert' : 'alerts'}` : null,
  ].filter((part) => part !== null);
  return opener.kind === 'drift' ? `drift confirmed: ${parts.reverse().join(', ')}` : parts.join(', ');
}

/** A person's start before all others; a repetition, which is past the gates as well; a changed definition; a schedule. */
const turn = ({ trigger, repeats }: StartRequest): number =>
  trigger === 'manual' ? (repeats === undefined ? 0 : 1) : trigger === 'definition' ? 2 : 3;

/** A person does not wait behind what the gates hold, nor a definition, which makes a better candidate, behind a schedule. */
function nextRequest(requests: readonly StartRequest[], rules: Rules): StartRequest | undefined {
  const [first] = rules === 1 ? requests : [...requests].sort((a, b) => turn(a) - turn(b));
  return first;
}

/** A request first, then what the events ask for. */
function wanted(
  live: readonly PendingEvent[],
  state: PolicyState,
  nowMs: number,
  rules: Rules,
): RunStart | Obstacle | null {
  const request = nextRequest(state.requests, rules);
  if (request) {
    // A person's start is past all but single flight; the others wait like an event. Events that wait go along, but not
    // with a repetition: it sees the data of then, not what they brought.
    const gate = request.trigger === 'manual' ? null : gatekeeper(state, nowMs);
    const reason = request.reason ?? `asked for by ${request.actor ?? request.trigger}`;
    const eventKeys = request.repeats === undefined ? live.map((event) => event.key) : [];
    return gate ?? { trigger: request.trigger, eventKeys, request, reason };
  }
  return live.length === 0 ? null : openedBy(live, state, nowMs, rules);
}

/** The start that these events ask for, nobody else having asked. */
function openedBy(
  events: readonly PendingEvent[],
  state: PolicyState,
  nowMs: number,
  rules: Rules,
): RunStart | Obstacle {
  if (state.paused) return PAUSE;
  const opener = findOpener(events, state);
  if ('waitsFor' in opener) return opener;
  const obstacle = debounce(events, state, nowMs, rules) ?? gatekeeper(state, nowMs);
  if (obstacle) return obstacle;
  const others = events.filter((event) => event !== opener).map((event) => event.key);
  return {
    trigger: opener.kind,
    eventKeys: [opener.key, ...others],
    request: null,
    reason: startReason(opener, events),
  };
}

/** Events that can lead to a run, and the answer to those that cannot. */
function sift(state: PolicyState) {
  const refuse: { key: string; reason: string }[] = [];
  const coalesce: { key: string; run: string; reason: string }[] = [];
  const live: PendingEvent[] = [];
  const reported = state.pending.flatMap((event) => reportedWindow(event, state) ?? []);
  const told = confirmation([...state.driftWindows, ...reported], state.config.confirmDrift);
  for (const event of state.pending) {
    const reason = refusal(event, state, told);
    if (reason !== null) refuse.push({ key: event.key, reason });
    else if (event.kind === 'drift' && state.championVersion === null && state.run !== null) {
      const why = 'an alert before the first champion stands behind the first run';
      coalesce.push({ key: event.key, run: state.run.run, reason: why });
    } else live.push(event);
  }
  return { refuse, coalesce, live };
}

/** A candidate that waits has done its work, so the cooldown counts from then: within it nothing takes its place by itself. */
function candidateCooldown(
  { run, awaitingSinceMs }: ActiveRun,
  config: LifecycleConfig,
  nowMs: number,
): Obstacle | null {
  const untilMs = (awaitingSinceMs ?? Number.NEGATIVE_INFINITY) + config.cooldownMs;
  if (nowMs >= untilMs) return null;
  return { waitsFor: 'cooldown', reason: `cooldown until ${iso(untilMs)}, while ${run} waits for a decision`, untilMs };
}

const underWay = ({ run }: ActiveRun): Obstacle => ({ waitsFor: 'run', reason: `${run} is under way`, untilMs: null });

interface Next {
  readonly start: RunStart;
  readonly live: readonly PendingEvent[];
}

/**
 * Why the run under way does not give way to the next start; null when it does. Only newer data or a person's wish make a better
 * candidate: alerts alone would train the same one again, and a detector that repeats itself would never let anybody decide.
 * Nor does a schedule, or a repetition of an earlier run, which does not even take the newer data.
 */
function staysFor(run: ActiveRun, { start, live }: Next, state: PolicyState, nowMs: number): Obstacle | null {
  const { config } = state;
  const { request } = start;
  if (!run.awaiting || run.superseding || config.onNewer !== 'supersede' || request?.repeats !== undefined)
    return underWay(run);
  if (request?.trigger === 'manual') return null;
  if (request === null || request.trigger === 'schedule') {
    // Data that is held is no newer data: of that there must be enough for a start of its own.
    const data = live.filter(isData);
    const alone = data.length === 0 ? underWay(run) : openedBy(data, state, nowMs, 2);
    if ('waitsFor' in alone) return { ...underWay(run), untilMs: alone.untilMs };
  }
  return candidateCooldown(run, config, nowMs);
}

/** As in 0.1.0: whatever data is there counts as newer, and the candidate gives way in its cooldown too. */
function stayedFor(run: ActiveRun, { start, live }: Next, { config }: PolicyState): Obstacle | null {
  const { request } = start;
  const isWish = request !== null && request.trigger !== 'schedule' && request.repeats === undefined;
  const gives = (isWish || live.some(isData)) && run.awaiting && config.onNewer === 'supersede' && !run.superseding;
  return gives ? null : underWay(run);
}

/** Decides what happens now. Calling it again with nothing changed decides the same. */
export function decideRetraining(state: PolicyState, nowMs: number, rules: Rules = 2): PolicyPlan {
  const { refuse, coalesce, live } = sift(state);
  const settled = { refuse, coalesce, hold: [], start: null, supersede: null, wakeAtMs: null, waitsFor: null };
  const held = ({ waitsFor, reason, untilMs }: Obstacle): PolicyPlan => ({
    ...settled,
    hold: live.map((event) => ({ key: event.key, waitsFor, reason })),
    wakeAtMs: untilMs,
    waitsFor: reason,
  });
  const start = wanted(live, state, nowMs, rules);
  if (start === null) return settled;
  if ('waitsFor' in start) return held(start);
  const { run } = state;
  if (run === null) return { ...settled, start };
  const next = { start, live };
  const stays = rules === 1 ? stayedFor(run, next, state) : staysFor(run, next, state, nowMs);
  if (stays !== null) return held(stays);
  return { ...held(underWay(run)), supersede: run.run };
}
