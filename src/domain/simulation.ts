/**
 * Past events through a retraining policy: the lifecycle's own decision core against a world in which runs take as long, and end,
 * as assumed. Pure and deterministic, so that a policy can be compared with what happened, and a failure repeats from its input.
 */
import type * as m from '../contracts/messages.ts';
import type { RolloutOutcome, RunOutcome, Trigger } from '../contracts/values.ts';
import { after, decide, type Happening, initialState, type LifecycleState, nextRollout } from './lifecycle.ts';
import { DAY_MS, type RunStart } from './retraining.ts';

/** Something that came from outside. Times in milliseconds since the epoch. */
export type PastInput =
  | { readonly type: 'event'; readonly atMs: number; readonly event: m.PendingEvent }
  /** Labels of predictions that were made before. */
  | { readonly type: 'outcomes'; readonly atMs: number; readonly count: number }
  | { readonly type: 'request'; readonly atMs: number; readonly request: m.StartRequest }
  | { readonly type: 'pause'; readonly atMs: number; readonly paused: boolean }
  /** The lifecycle is built anew from what the registry holds, as after a continue-as-new or a lost workflow. */
  | { readonly type: 'restart'; readonly atMs: number };

/** How a run goes. Durations in milliseconds. */
export interface Course {
  readonly runMs: number;
  readonly outcome: RunOutcome;
  /** From the end of training to the decision; only for outcomes that come of one. */
  readonly decisionMs: number;
  readonly rolloutMs: number;
  readonly rolloutOutcome: RolloutOutcome;
  readonly cpuSeconds: number;
}

export interface SimulatedRun {
  readonly number: number;
  readonly trigger: Trigger;
  readonly reason: string;
  readonly startedMs: number;
  readonly endedMs: number | null;
  readonly outcome: RunOutcome | null;
  /** When it became champion. */
  readonly servesFromMs: number | null;
  readonly eventKeys: readonly string[];
  readonly rows: number;
  readonly cpuSeconds: number;
}
export interface SimulatedFate {
  readonly fate: 'acted_on' | 'coalesced' | 'refused' | 'held' | 'received';
  readonly run: string | null;
  readonly waitsFor: string | null;
  readonly atMs: number;
}
export interface Simulation {
  readonly runs: readonly SimulatedRun[];
  readonly fates: ReadonlyMap<string, SimulatedFate>;
  readonly endMs: number;
  /** What would happen next, had the simulation gone on; null when nothing is due. */
  readonly wakeAtMs: number | null;
  readonly state: LifecycleState;
}

export interface SimulationInput {
  readonly config: m.LifecycleConfig;
  /** In any order. */
  readonly inputs: readonly PastInput[];
  readonly course: (run: number) => Course;
  /** The moment of the schedule after one; null without a schedule. */
  readonly nextMoment: (afterMs: number) => number | null;
  readonly endMs: number;
}

type Due = { readonly atMs: number; readonly order: number; readonly happen: () => void };
type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Outcomes that a person's decision, or the lack of one, brings about. */
const DECIDED: readonly RunOutcome[] = ['approved', 'rejected', 'expired'];
/** More decisions at one moment than any policy needs: one that never comes to rest is a defect, told instead of a hang. */
const MOST_DECISIONS = 10_000;

const runName = (number: number): string => `run-${number}`;

/** The registry and the workflows that a lifecycle talks to. */
class World {
  readonly runs: Mutable<SimulatedRun>[] = [];
  readonly fates = new Map<string, SimulatedFate>();
  readonly #due: Due[] = [];
  #order = 0;
  #isSorted = true;
  #outcomes = 0;
  #deployments = 0;
  #awaiting: { readonly number: number; readonly sinceMs: number } | null = null;
  #champion: number | null = null;
  #championSinceMs: number | null = null;
  #approved: m.ApprovedRun[] = [];
  #rollout: m.ActiveRollout | null = null;
  #paused = false;
  state: LifecycleState;
  nowMs = 0;

  constructor(readonly input: SimulationInput) {
    this.state = initialState(this.#facts());
    for (const one of input.inputs)
      this.#at(one.atMs, () => {
        const what = this.#take(one);
        if (what) this.#happened(what);
      });
  }

  #at(atMs: number, happen: () => void): void {
    this.#due.push({ atMs, order: this.#order, happen });
    this.#order += 1;
    this.#isSorted = false;
  }
  #next(): Due | undefined {
    // Newest first, so that the next is taken from the end.
    if (!this.#isSorted) this.#due.sort((a, b) => b.atMs - a.atMs || b.order - a.order);
    this.#isSorted = true;
    return this.#due.at(-1);
  }
  #happened(what: Happening): void {
    this.state = after(this.state, what);
  }

  #facts(): m.LifecycleFacts {
    const open = this.runs.find((run) => run.outcome === null);
    const ended = this.runs.flatMap((run) => (run.outcome === 'superseded' ? [] : (run.endedMs ?? [])));
    const recent = this.runs.filter((run) => run.startedMs > this.nowMs - DAY_MS);
    const name = open ? runName(open.number) : '';
    return {
      config: this.input.config,
      championVersion: this.#champion,
      championSinceMs: this.#championSinceMs,
      // Only `active` matters here: nobody starts a workflow.
      run: open
        ? {
            active: {
              ...{ run: name, awaiting: this.#awaiting?.number === open.number, superseding: false },
              ...(this.#awaiting?.number === open.number ? { awaitingSinceMs: this.#awaiting.sinceMs } : {}),
            },
            start: {
              ...{ stateVersion: 1, model: '', run: name, trigger: open.trigger },
              definitionDigest: '',
              requester: null,
            },
          }
        : null,
      rollout: null,
      approved: this.#approved,
      runStartsMs: recent.map((run) => run.startedMs),
      spending: recent.map(({ startedMs: startedAtMs, cpuSeconds }) => ({ startedAtMs, cpuSeconds })),
      lastRunEndedMs: ended.length > 0 ? Math.max(...ended) : null,
      paused: this.#paused,
      revision: 1,
      newOutcomes: this.#outcomes,
      nextScheduleMs: this.input.nextMoment(this.nowMs),
    };
  }

  #events = new Map<string, m.PendingEvent>();

  /** Null for what changes nothing. */
  #take(one: PastInput): Happening | null {
    switch (one.type) {
      case 'event': {
        const { key } = one.event;
        // Another delivery of a known id.
        if (this.#events.has(key)) return null;
        this.#events.set(key, one.event);
        this.fates.set(key, { fate: 'received', run: null, waitsFor: null, atMs: this.nowMs });
        return { type: 'admitted', events: [one.event] };
      }
      case 'outcomes':
        this.#outcomes += one.count;
        return { type: 'counted', newOutcomes: this.#outcomes };
      case 'request':
        return { type: 'requested', request: one.request };
      case 'pause':
        this.#paused = one.paused;
        return { type: 'paused', paused: one.paused };
      case 'restart': {
        const { requests, driftWindows, nextScheduleMs } = this.state;
        const anew = initialState(this.#facts(), { requests, driftWindows, nextScheduleMs });
        this.state = { ...anew, rollout: this.#rollout };
        const open = [...this.#events.values()].filter(({ key }) => {
          const fate = this.fates.get(key)?.fate;
          return fate === 'received' || fate === 'held';
        });
        return { type: 'admitted', events: open };
      }
    }
  }

  #openRun(start: RunStart): void {
    const number = this.runs.length + 1;
    const run = runName(number);
    const course = this.input.course(number);
    let opened = false;
    for (const key of start.eventKeys) {
      this.fates.set(key, { fate: opened ? 'coalesced' : 'acted_on', run, waitsFor: null, atMs: this.nowMs });
      opened = true;
    }
    const rows = start.eventKeys.reduce((total, key) => total + (this.#events.get(key)?.rows ?? 0), 0);
    this.runs.push({
      ...{ number, trigger: start.trigger, reason: start.reason, startedMs: this.nowMs, endedMs: null, outcome: null },
      ...{ servesFromMs: null, eventKeys: start.eventKeys, rows },
      cpuSeconds: this.input.config.reservedCpuSeconds ?? 0,
    });
    this.#outcomes = 0;
    this.#happened({ type: 'run_opened', run, start, atMs: this.nowMs });
    const isDecided = DECIDED.includes(course.outcome);
    this.#at(this.nowMs + course.runMs, () => {
      if (!isDecided) this.#endRun(number, course.outcome);
      else if (this.runs[number - 1]?.outcome === null) {
        this.#awaiting = { number, sinceMs: this.nowMs };
        this.#happened({ type: 'run_awaits', run, atMs: this.nowMs });
        this.#charge(number);
      }
    });
    if (isDecided) this.#at(this.nowMs + course.runMs + course.decisionMs, () => this.#endRun(number, course.outcome));
  }

  #endRun(number: number, outcome: RunOutcome): void {
    const record = this.runs[number - 1];
    if (!record || record.outcome !== null) return;
    const run = runName(number);
    record.outcome = outcome;
    record.endedMs = this.nowMs;
    if (outcome === 'approved') this.#approved = [...this.#approved, { run, version: number }];
    const signal = { run, outcome, version: DECIDED.includes(outcome) ? number : null };
    this.#happened({ type: 'run_ended', signal, atMs: this.nowMs });
    this.#charge(number);
  }

  /** What it took is known once it has trained. */
  #charge(number: number): void {
    const record = this.runs[number - 1];
    if (record) record.cpuSeconds = this.input.course(number).cpuSeconds;
    this.#happened({ type: 'counted', spending: this.#facts().spending ?? [] });
  }

  #openRollout({ run, version }: m.ApprovedRun): void {
    this.#deployments += 1;
    const deployment = this.#deployments;
    const rollout: m.ActiveRollout = { deployment, kind: 'rollout', toVersion: version };
    this.#approved = this.#approved.filter((one) => one.run !== run);
    this.#rollout = rollout;
    this.#happened({ type: 'rollout_taken', rollout, run });
    const { rolloutMs, rolloutOutcome: outcome } = this.input.course(version);
    this.#at(this.nowMs + rolloutMs, () => {
      if (outcome === 'promoted') {
        this.#champion = version;
        this.#championSinceMs = this.nowMs;
        const record = this.runs[version - 1];
        if (record) record.servesFromMs = this.nowMs;
      }
      this.#rollout = null;
      const serving = { championVersion: this.#champion, championSinceMs: this.#championSinceMs };
      this.#happened({ type: 'rollout_ended', deployment, outcome, ...serving });
    });
  }

  /** Carries out what is decided until nothing more is to be done now; when it wants to be asked again. */
  #settle(): number | null {
    for (let round = 0; round < MOST_DECISIONS; round++) {
      const { nextScheduleMs } = this.state;
      if (nextScheduleMs !== null && this.nowMs >= nextScheduleMs)
        this.#happened({ type: 'schedule_due', nextScheduleMs: this.input.nextMoment(this.nowMs) });
      const decided = decide(this.state, this.nowMs);
      if (decided === null) return null;
      const { plan, fates } = decided;
      for (const { key, fate, run = null, waitsFor = null } of fates)
        this.fates.set(key, { fate, run, waitsFor, atMs: this.nowMs });
      this.#happened({ type: 'recorded', fates });
      if (plan.supersede !== null) {
        this.#happened({ type: 'superseding', run: plan.supersede });
        const { supersede } = plan;
        const gives = this.runs.find((run) => runName(run.number) === supersede);
        if (gives) this.#at(this.nowMs, () => this.#endRun(gives.number, 'superseded'));
      }
      if (plan.start) this.#openRun(plan.start);
      const next = nextRollout(this.state);
      if (next) this.#openRollout(next);
      if (plan.start || next) continue;
      const moments = [plan.wakeAtMs, this.state.nextScheduleMs].flatMap((at) => at ?? []);
      return moments.length > 0 ? Math.min(...moments) : null;
    }
    throw new Error(`the policy does not come to rest at ${new Date(this.nowMs).toISOString()}`);
  }

  play(): Simulation {
    const { endMs } = this.input;
    let wakeAtMs: number | null = this.state.nextScheduleMs;
    for (;;) {
      const next = this.#next();
      const atMs = Math.min(next?.atMs ?? Number.POSITIVE_INFINITY, wakeAtMs ?? Number.POSITIVE_INFINITY);
      if (atMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, atMs);
      for (let due = this.#next(); due && due.atMs <= this.nowMs; due = this.#next()) {
        this.#due.pop();
        due.happen();
      }
      wakeAtMs = this.#settle();
    }
    return { runs: this.runs, fates: this.fates, endMs, wakeAtMs, state: this.state };
  }
}

export const simulate = (input: SimulationInput): Simulation => new World(input).play();
