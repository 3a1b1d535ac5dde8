/** The seeded schedule of faults, and the queue of failpoints. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseSync } from '@photostructure/sqlite';
import type { Failpoint } from '../parts/failpoints.ts';
import type { ChaosOptions } from './options.ts';
import type { Random } from './random.ts';
import type { ChaosStack, Part, PartKind, Server } from './stack.ts';

/** Every method with an effect, by port, and the parts that call it. */
const EFFECTS: readonly (readonly [PartKind, string, readonly string[]])[] = [
  ['gateway', 'registry', ['receive', 'outboxPublished', 'apply', 'recordDecision']],
  ['gateway', 'messenger', ['dataArrived', 'eventsArrived']],
  ['gateway', 'bus', ['publish']],
  [
    'worker',
    'registry',
    [
      ...['setFates', 'subscribe', 'commitDatasetVersion', 'openRun', 'updateRun', 'finishRun', 'registerVersion'],
      ...[
        'requestApproval',
        'recordDecision',
        'openDeployment',
        'writePlan',
        'recordStep',
        'promote',
        'finishDeployment',
      ],
    ],
  ],
  ['worker', 'messenger', ['eventsArrived', 'runAwaits', 'runFinished', 'rolloutFinished']],
  ['worker', 'store', ['putBytes', 'putFile']],
  ['worker', 'notifier', ['notify']],
];
/** Where an answer that is lost could lead to a second effect. */
const LOSE_ANSWER = [
  'receive',
  'dataArrived',
  'eventsArrived',
  'runFinished',
  'rolloutFinished',
  'openRun',
  'openDeployment',
  'writePlan',
  'promote',
];
const COME_LATE = [
  'setFates',
  'openRun',
  'updateRun',
  'finishRun',
  'openDeployment',
  'writePlan',
  'promote',
  'finishDeployment',
  'runFinished',
  'rolloutFinished',
];

export type Aimed = Failpoint & { readonly part: 'gateway' | 'worker' };

/** Before and after each effect, and a lost answer or a late repetition where that matters. */
export function allFailpoints(random: Random): readonly Aimed[] {
  const points = EFFECTS.flatMap(([part, port, methods]) =>
    methods.flatMap((method): Aimed[] => {
      if (part === 'serve') return [];
      const at = { part, port, method };
      return [
        { ...at, when: 'before', call: 1 + random.below(3) },
        { ...at, when: 'after', call: 1 + random.below(3) },
        ...(LOSE_ANSWER.includes(method) ? [{ ...at, when: 'timeout' as const, call: 1 + random.below(3) }] : []),
        ...(COME_LATE.includes(method)
          ? (['late', 'slow'] as const).map((when) => ({ ...at, when, call: 1 + random.below(3) }))
          : []),
      ];
    }),
  );
  return random.shuffled(points);
}

/** Hands out failpoints two at a time, so that they also meet in pairs; goes round again with other calls when all were out. */
export class FailpointQueue {
  #queue: Aimed[];
  constructor(
    readonly options: Pick<ChaosOptions, 'failpoints'>,
    readonly random: Random,
  ) {
    this.#queue = options.failpoints === 'all' ? [...allFailpoints(random)] : [...options.failpoints];
  }
  next(kind: PartKind): readonly Failpoint[] {
    const found: Aimed[] = [];
    const most = this.options.failpoints === 'all' ? 2 : this.#queue.length;
    this.#queue = this.#queue.filter((point) => {
      if (point.part !== kind || found.length >= most) return true;
      found.push(point);
      return false;
    });
    if (found.length === 0 && this.options.failpoints === 'all' && kind !== 'serve')
      this.#queue.push(
        ...allFailpoints(this.random).map((point) => ({ ...point, call: point.call + 3 + this.random.below(20) })),
      );
    return found.map(({ part: _, ...point }) => point);
  }
}

interface Fault {
  readonly atSeconds: number;
  readonly what: 'kill' | 'stop' | 'kafka' | 'temporal' | 'lock' | 'all';
}

/** Longer than the group's session (10 s) and than the heartbeats (6 and 10 s). */
const STOP_MS = { gateway: 17_000, worker: 12_000, serve: 5_000 } as const;

function schedule(options: ChaosOptions, random: Random): readonly Fault[] {
  const spread = (count: number, what: Fault['what']): Fault[] =>
    Array.from({ length: count }, (_, index) => ({
      // Evenly, with a jitter, and not before there is something to break.
      atSeconds: options.seconds * (0.1 + (0.9 * (index + random.next())) / count),
      what: what === 'kill' && index % 10 === 4 ? 'all' : what,
    }));
  return [
    ...spread(options.kills, 'kill'),
    ...spread(options.stops, 'stop'),
    ...spread(options.kafka, 'kafka'),
    ...spread(options.temporal, 'temporal'),
    ...spread(options.locks, 'lock'),
  ].toSorted((a, b) => a.atSeconds - b.atSeconds);
}

export interface FaultFigures {
  kills: number;
  stops: number;
  kafka: number;
  temporal: number;
  locks: number;
  everything: number;
}

/** Resolves after the last fault, when all that was stopped runs again. */
export async function injectFaults(options: ChaosOptions, stack: ChaosStack, random: Random): Promise<FaultFigures> {
  const figures: FaultFigures = { kills: 0, stops: 0, kafka: 0, temporal: 0, locks: 0, everything: 0 };
  const startedMs = Date.now();
  const underWay: Promise<void>[] = [];
  const restarts = new Map<Server, Promise<void>>();
  const stopped = new Set<Part>();

  const kill = (part: Part): void => {
    if (!stopped.has(part) && part.signal('SIGKILL')) figures.kills += 1;
  };
  const restart = (server: Server | null, name: 'kafka' | 'temporal'): Promise<void> => {
    if (server === null) return Promise.resolve();
    const after = (restarts.get(server) ?? Promise.resolve()).then(async () => {
      await server.restart();
      figures[name] += 1;
    });
    restarts.set(server, after);
    return after;
  };
  /** Stops one that runs: another where the drawn one was killed a moment ago. */
  const stop = async (): Promise<void> => {
    const candidates = stack.parts.filter((one) => one.kind !== 'serve');
    const first = candidates.indexOf(random.pick(candidates));
    const drawn = [...candidates.slice(first), ...candidates.slice(0, first)];
    const part = drawn.find((one) => !stopped.has(one) && one.signal('SIGSTOP'));
    if (!part) return;
    stopped.add(part);
    figures.stops += 1;
    await sleep(STOP_MS[part.kind]);
    part.signal('SIGCONT');
    stopped.delete(part);
  };

  /** Holds the registry's write lock, as a backup or somebody's shell might: readers go on, nothing is written. */
  const lock = async (): Promise<void> => {
    const db = new DatabaseSync(stack.registryFile);
    try {
      db.exec('PRAGMA busy_timeout = 50');
      for (;;) {
        try {
          db.exec('BEGIN IMMEDIATE');
          break;
        } catch (error) {
          if (!/locked|busy/i.test(String(error))) throw error;
          await sleep(20);
        }
      }
      figures.locks += 1;
      await sleep(options.lockSeconds * 1_000);
      db.exec('ROLLBACK');
    } finally {
      db.close();
    }
  };

  for (const fault of schedule(options, random)) {
    await sleep(Math.max(0, startedMs + fault.atSeconds * 1_000 - Date.now()));
    const part = random.pick(stack.parts);
    if (fault.what === 'kill') kill(part);
    if (fault.what === 'stop') underWay.push(stop());
    if (fault.what === 'kafka') underWay.push(restart(stack.kafka, 'kafka'));
    if (fault.what === 'temporal') underWay.push(restart(stack.temporal, 'temporal'));
    if (fault.what === 'lock') underWay.push(lock());
    if (fault.what === 'all') {
      for (const one of stack.parts) kill(one);
      figures.everything += 1;
    }
  }
  await Promise.all(underWay);
  return figures;
}
