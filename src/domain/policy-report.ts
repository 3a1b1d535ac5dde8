/** What a retraining policy did, in the figures by which a person chooses one. Pure. */
import type { PendingEvent } from '../contracts/messages.ts';
import type { Trigger } from '../contracts/values.ts';
import type { SimulatedFate, SimulatedRun } from './simulation.ts';

/** Runs and fates, simulated or as they were. */
export interface PolicyHistory {
  readonly runs: readonly SimulatedRun[];
  readonly fates: ReadonlyMap<string, SimulatedFate>;
  readonly events: readonly PendingEvent[];
  readonly startMs: number;
  readonly endMs: number;
}

export interface PolicyFigures {
  readonly runs: number;
  readonly byTrigger: Readonly<Partial<Record<Trigger, number>>>;
  readonly promoted: number;
  /** Rows that runs were the first to see. */
  readonly rows: number;
  readonly cpuHours: number;
  /**
   * How long the oldest data that the champion had not seen had been there, over the time in which there was a champion. Null
   * without one.
   */
  readonly staleHours: { readonly mean: number; readonly most: number } | null;
  /** Most rows that were there without the champion having seen them. */
  readonly unseenRows: number;
  readonly alerts: {
    readonly all: number;
    /** Stand behind a run. */
    readonly answered: number;
    readonly refused: number;
    readonly waiting: number;
    /** From an answered alert to the champion that its run made; null when none did. */
    readonly hoursToChampion: number | null;
  };
  /** Events that wait when it ends. */
  readonly held: number;
}

/** What a champion serves from and until, and up to when data had arrived that it has seen. */
export interface Reign {
  readonly run: number;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly dataUntilMs: number;
}

const HOUR_MS = 3_600_000;

export function reigns({ runs, endMs }: Pick<PolicyHistory, 'runs' | 'endMs'>): readonly Reign[] {
  const promoted = runs
    .flatMap((run) => (run.servesFromMs === null ? [] : [{ run, fromMs: run.servesFromMs }]))
    .sort((a, b) => a.fromMs - b.fromMs);
  return promoted.map(({ run, fromMs }, index) => ({
    ...{ run: run.number, fromMs, dataUntilMs: run.startedMs },
    untilMs: promoted[index + 1]?.fromMs ?? endMs,
  }));
}

type Arrival = Pick<PendingEvent, 'receivedAtMs' | 'rows'>;

/** Data that had arrived at a time and that a champion of `dataUntilMs` has not seen. */
const unseenAt = (arrivals: readonly Arrival[], dataUntilMs: number, atMs: number): readonly Arrival[] =>
  arrivals.filter(({ receivedAtMs }) => receivedAtMs > dataUntilMs && receivedAtMs <= atMs);

/** Age of the oldest unseen data at a time, in milliseconds; 0 when all was seen or there is no champion. */
export function staleness(history: PolicyHistory, atMs: number): number {
  const reign = reigns(history).find(({ fromMs, untilMs }) => fromMs <= atMs && atMs < untilMs);
  if (!reign) return 0;
  const unseen = unseenAt(dataOf(history.events), reign.dataUntilMs, atMs);
  return unseen.reduce((most, { receivedAtMs }) => Math.max(most, atMs - receivedAtMs), 0);
}

const dataOf = (events: readonly PendingEvent[]): readonly Arrival[] => events.filter(({ kind }) => kind === 'data');

function stalenessOf(history: PolicyHistory): Pick<PolicyFigures, 'staleHours' | 'unseenRows'> {
  const arrivals = dataOf(history.events);
  let area = 0;
  let servedMs = 0;
  let mostMs = 0;
  let unseenRows = 0;
  for (const { fromMs, untilMs, dataUntilMs } of reigns(history)) {
    const length = untilMs - fromMs;
    servedMs += length;
    const unseen = unseenAt(arrivals, dataUntilMs, untilMs);
    unseenRows = Math.max(
      unseenRows,
      unseen.reduce((total, { rows }) => total + rows, 0),
    );
    const [oldest] = unseen.map(({ receivedAtMs }) => receivedAtMs).sort((a, b) => a - b);
    if (oldest === undefined) continue;
    // Its age grows evenly from when both are there to the end of the reign.
    const first = Math.max(0, fromMs - oldest);
    const last = untilMs - oldest;
    area += ((first + last) / 2) * (untilMs - Math.max(fromMs, oldest));
    mostMs = Math.max(mostMs, last);
  }
  if (servedMs === 0) return { staleHours: null, unseenRows };
  return { staleHours: { mean: area / servedMs / HOUR_MS, most: mostMs / HOUR_MS }, unseenRows };
}

function alertsOf({ events, fates, runs }: PolicyHistory): PolicyFigures['alerts'] {
  const alerts = events.filter(({ kind }) => kind === 'drift');
  const fateOf = ({ key }: PendingEvent) => fates.get(key)?.fate;
  const answered = alerts.filter((event) => fateOf(event) === 'acted_on' || fateOf(event) === 'coalesced');
  const waits = answered.flatMap((event) => {
    const run = runs.find((one) => one.eventKeys.includes(event.key));
    return run?.servesFromMs == null ? [] : [run.servesFromMs - event.receivedAtMs];
  });
  return {
    all: alerts.length,
    answered: answered.length,
    refused: alerts.filter((event) => fateOf(event) === 'refused').length,
    waiting: alerts.filter((event) => fateOf(event) === 'held' || fateOf(event) === 'received').length,
    hoursToChampion:
      waits.length === 0 ? null : waits.reduce((total, wait) => total + wait, 0) / waits.length / HOUR_MS,
  };
}

export function figuresOf(history: PolicyHistory): PolicyFigures {
  const { runs, fates } = history;
  const byTrigger: Partial<Record<Trigger, number>> = {};
  for (const { trigger } of runs) byTrigger[trigger] = (byTrigger[trigger] ?? 0) + 1;
  return {
    runs: runs.length,
    byTrigger,
    promoted: reigns(history).length,
    rows: runs.reduce((total, { rows }) => total + rows, 0),
    cpuHours: runs.reduce((total, { cpuSeconds }) => total + cpuSeconds, 0) / 3_600,
    ...stalenessOf(history),
    alerts: alertsOf(history),
    held: [...fates.values()].filter(({ fate }) => fate === 'held').length,
  };
}
