/** Random lives of a lifecycle, and what must hold for each of them. */
import fc from 'fast-check';
import { RUN_OUTCOMES } from '../../src/contracts/values.ts';
import { DAY_MS } from '../../src/domain/retraining.ts';
import type { Course, PastInput, Simulation, SimulationInput } from '../../src/domain/simulation.ts';
import { anyConfig, data, drift, MINUTE, NOW } from './policy-state.ts';

const HOUR = 60 * MINUTE;
/** What comes from outside comes within this time; after it nothing does, and all must come to rest. */
const BUSY_MS = 4 * DAY_MS;

const atMs = fc.integer({ min: 0, max: BUSY_MS / MINUTE }).map((minutes) => NOW + minutes * MINUTE);
const key = fc.integer({ min: 0, max: 15 }).map((number) => `e${number}`);

const input: fc.Arbitrary<PastInput> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ atMs, key, rows: fc.integer({ min: 0, max: 500 }) }).map((one) => ({
      ...{ type: 'event' as const, atMs: one.atMs, event: data(one.key, one.rows, one.atMs) },
    })),
  },
  {
    weight: 6,
    arbitrary: fc
      .record({
        ...{ atMs, key, verdict: fc.constantFrom('stable', 'suspected', 'confirmed', null) },
        version: fc.constantFrom(1, 2, null),
        window: fc.integer({ min: 0, max: 6 }),
      })
      .map(({ window, ...one }) => {
        const spans = { windowStartMs: window * 10, windowEndMs: (window + 1) * 10 };
        const event = drift(one.key, { verdict: one.verdict, version: one.version, ...spans }, one.atMs);
        return { type: 'event' as const, atMs: one.atMs, event };
      }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ type: fc.constant('outcomes' as const), atMs, count: fc.integer({ min: 1, max: 150 }) },
    }),
  },
  {
    weight: 2,
    arbitrary: fc
      .record({ atMs, id: fc.integer({ min: 0, max: 3 }), trigger: fc.constantFrom('manual', 'definition', 'repeat') })
      .map(({ atMs: at, id, trigger }) => {
        const asked = { requestId: `${trigger}${id}`, actor: 'olga', reason: null };
        const request =
          trigger === 'repeat' ? { ...asked, trigger: 'manual' as const, repeats: 'run-1' } : { ...asked, trigger };
        return { type: 'request' as const, atMs: at, request };
      }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('pause' as const), atMs, paused: fc.boolean() }) },
);

const course: fc.Arbitrary<Course> = fc.record({
  runMs: fc.constantFrom(0, 10 * MINUTE, 3 * HOUR),
  outcome: fc.constantFrom(...RUN_OUTCOMES.filter((outcome) => outcome !== 'superseded'), 'approved' as const),
  decisionMs: fc.constantFrom(0, HOUR, 30 * HOUR),
  rolloutMs: fc.constantFrom(0, 2 * HOUR),
  rolloutOutcome: fc.constantFrom('promoted', 'promoted', 'rolled_back'),
  cpuSeconds: fc.integer({ min: 0, max: 4_000 }),
});

export interface Life {
  readonly simulation: SimulationInput;
  /** Moments at which the lifecycle is built anew. */
  readonly restarts: readonly number[];
}

export const anyLife: fc.Arbitrary<Life> = fc
  .record({
    config: anyConfig,
    inputs: fc.array(input, { maxLength: 25 }),
    courses: fc.array(course, { minLength: 1, maxLength: 5 }),
    everyMs: fc.constantFrom(null, null, 9 * HOUR),
    restarts: fc.array(atMs, { maxLength: 4 }),
  })
  .map(({ config, inputs, courses, everyMs, restarts }) => {
    const lastMs = NOW + BUSY_MS;
    const resume: PastInput = { type: 'pause', atMs: lastMs, paused: false };
    return {
      restarts,
      simulation: {
        config: {
          ...config,
          schedule: everyMs === null ? null : { cron: 'stands for every nine hours', timezone: 'UTC' },
        },
        inputs: [...inputs, resume],
        course: (run) => courses[run % courses.length] as Course,
        // A schedule that never ends would never come to rest.
        nextMoment: (afterMs) => {
          if (everyMs === null) return null;
          const nextMs = (Math.floor(Math.max(afterMs, NOW) / everyMs) + 1) * everyMs;
          return nextMs <= lastMs ? nextMs : null;
        },
        endMs: lastMs + 400 * DAY_MS,
      },
    };
  });

const spentBefore = (simulation: Simulation, number: number, atMs: number): number =>
  simulation.runs
    .filter((run) => run.number < number && run.startedMs > atMs - DAY_MS)
    .reduce((total, run) => total + run.cpuSeconds, 0);

function pausedAt(inputs: readonly PastInput[], atMs: number): boolean {
  let paused = false;
  const pauses = inputs.flatMap((one) => (one.type === 'pause' ? [one] : [])).sort((a, b) => a.atMs - b.atMs);
  for (const one of pauses) if (one.atMs <= atMs) paused = one.paused;
  return paused;
}

/** The budget, the cooldown and a pause hold back all but a person's start. */
function startsTooEarly({ config, inputs, course }: SimulationInput, simulation: Simulation): string[] {
  return simulation.runs.flatMap((run, index) => {
    if (run.trigger === 'manual') return [];
    const before = simulation.runs.slice(0, index);
    const wrong: string[] = [];
    const recent = before.filter((one) => one.startedMs > run.startedMs - DAY_MS).length;
    if (config.runsPerDay !== null && recent >= config.runsPerDay)
      wrong.push(`run ${run.number} is beyond runs_per_day`);
    const spent = spentBefore(simulation, run.number, run.startedMs) + (config.reservedCpuSeconds ?? 0);
    if (config.cpuSecondsPerDay != null && spent > config.cpuSecondsPerDay)
      wrong.push(`run ${run.number} may bring ${spent} CPU seconds`);
    // A run that gave way had done its work when it began to wait.
    const doneMs = before.map((one) =>
      one.outcome === 'superseded' ? one.startedMs + course(one.number).runMs : (one.endedMs ?? 0),
    );
    if (before.length > 0 && run.startedMs < Math.max(...doneMs) + config.cooldownMs)
      wrong.push(`run ${run.number} starts in the cooldown`);
    if (pausedAt(inputs, run.startedMs)) wrong.push(`run ${run.number} starts while paused`);
    return wrong;
  });
}

function fatesThatDoNotFit({ runs, fates }: Simulation): string[] {
  const wrong: string[] = [];
  for (const [event, { fate, run, waitsFor }] of fates) {
    const behind = runs.filter((one) => one.eventKeys.includes(event));
    const first = behind[0]?.eventKeys[0] === event;
    if (fate === 'received') wrong.push(`${event} has no fate`);
    if (fate === 'held' && !['rows', 'outcomes'].includes(waitsFor ?? ''))
      wrong.push(`${event} is stranded: it waits for ${waitsFor}`);
    if (fate === 'acted_on' && (behind.length !== 1 || !first))
      wrong.push(`${event} was acted on by ${behind.length} runs`);
    // Alerts before the first champion join a run under way, which does not name them among those that it was opened with.
    if (fate === 'coalesced' && (behind.length > 1 || run === null))
      wrong.push(`${event} stands behind ${behind.length} runs`);
    if (fate === 'refused' && behind.length > 0) wrong.push(`${event} was refused and acted on`);
  }
  return wrong;
}

/** What does not hold in a life that has come to rest; empty when all does. */
export function violations(input: SimulationInput, simulation: Simulation): readonly string[] {
  const { runs, state, wakeAtMs } = simulation;
  const wrong = [...startsTooEarly(input, simulation), ...fatesThatDoNotFit(simulation)];
  for (const [index, run] of runs.entries()) {
    const next = runs[index + 1];
    if (next && (run.endedMs === null || next.startedMs < run.endedMs))
      wrong.push(`runs ${run.number} and ${next.number} overlap`);
    if (run.outcome === null) wrong.push(`run ${run.number} never ended`);
    if (run.outcome === 'superseded' && next?.startedMs !== run.endedMs)
      wrong.push(`run ${run.number} gave way, and nothing took its place`);
  }
  if (wakeAtMs !== null) wrong.push(`something is still due at ${new Date(wakeAtMs).toISOString()}`);
  if (state.requests.length > 0) wrong.push(`${state.requests.length} requests were never answered`);
  const asked = new Set(
    input.inputs.flatMap((one) =>
      one.type === 'request' && one.request.trigger === 'manual' ? [one.request.requestId] : [],
    ),
  );
  const manual = runs.filter((run) => run.trigger === 'manual').length;
  if (manual < asked.size) wrong.push(`${asked.size} people asked for a run, ${manual} runs were manual`);
  return wrong;
}
