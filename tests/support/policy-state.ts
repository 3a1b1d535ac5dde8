/** States of the retraining policy, for tests by example and by property. */
import fc from 'fast-check';
import type { LifecycleConfig, PendingEvent, StartRequest } from '../../src/contracts/messages.ts';
import type { PolicyState } from '../../src/domain/retraining.ts';

export const MINUTE = 60_000;
/** The moment of every decision in these tests. */
export const NOW = 100 * 24 * 60 * MINUTE;

export const config = (change: Partial<LifecycleConfig> = {}): LifecycleConfig => ({
  definitionDigest: 'd'.repeat(64),
  triggers: ['data', 'drift', 'definition'],
  debounceMs: 0,
  maxWaitMs: 30 * MINUTE,
  cooldownMs: 0,
  minNewRows: 0,
  confirmDrift: { windows: 2, of: 3 },
  runsPerDay: null,
  onNewer: 'supersede',
  ...change,
});

export const state = (change: Partial<PolicyState> = {}): PolicyState => ({
  config: config(),
  pending: [],
  requests: [],
  run: null,
  championVersion: 1,
  championSinceMs: null,
  isChampionChanging: false,
  runStartsMs: [],
  lastRunEndedMs: null,
  paused: false,
  driftWindows: [],
  spending: [],
  newOutcomes: 0,
  overBudget: null,
  ...change,
});

export const data = (key: string, rows = 100, receivedAtMs = NOW): PendingEvent => ({
  key,
  kind: 'data',
  receivedAtMs,
  rows,
  drift: null,
});
export const drift = (
  key: string,
  change: Partial<NonNullable<PendingEvent['drift']>> = {},
  receivedAtMs = NOW,
): PendingEvent => ({
  ...{ key, kind: 'drift', receivedAtMs, rows: 0 },
  drift: { verdict: 'confirmed', windowStartMs: 0, windowEndMs: 10, version: null, ...change },
});

const ago = (mostMs: number) => fc.integer({ min: 0, max: mostMs }).map((ms) => NOW - ms);
const windows = fc.integer({ min: 0, max: 8 }).chain((start) =>
  fc.record({
    startMs: fc.constant(start * 10),
    endMs: fc.constantFrom((start + 1) * 10, (start + 2) * 10),
    drifted: fc.boolean(),
  }),
);
export const driftWindows = fc.array(windows, { maxLength: 12 });

const anyEvent = (key: string) =>
  fc.oneof(
    fc
      .record({ rows: fc.integer({ min: 0, max: 500 }), at: ago(60 * MINUTE) })
      .map(({ rows, at }) => data(key, rows, at)),
    fc
      .record({
        verdict: fc.constantFrom('stable', 'suspected', 'confirmed', null),
        version: fc.constantFrom(1, 2, null),
        window: windows,
        at: ago(60 * MINUTE),
      })
      .map(({ verdict, version, window, at }) =>
        drift(key, { verdict, version, windowStartMs: window.startMs, windowEndMs: window.endMs }, at),
      ),
  );

export const anyConfig: fc.Arbitrary<LifecycleConfig> = fc.record({
  definitionDigest: fc.constant('d'.repeat(64)),
  triggers: fc.subarray(['data', 'drift', 'definition'] as const),
  debounceMs: fc.constantFrom(0, 2 * MINUTE, 20 * MINUTE),
  maxWaitMs: fc.constantFrom(0, 30 * MINUTE),
  cooldownMs: fc.constantFrom(0, 60 * MINUTE),
  minNewRows: fc.constantFrom(0, 150, 1_000),
  confirmDrift: fc.constantFrom({ windows: 1, of: 1 }, { windows: 2, of: 3 }),
  runsPerDay: fc.constantFrom(null, 1, 3),
  onNewer: fc.constantFrom('supersede' as const, 'hold' as const),
  minNewOutcomes: fc.constantFrom(0, 100),
  cpuSecondsPerDay: fc.constantFrom(null, 7_200),
  reservedCpuSeconds: fc.constantFrom(0, 3_600),
});

export const anyState: fc.Arbitrary<PolicyState> = fc.record({
  config: anyConfig,
  pending: fc
    .integer({ min: 0, max: 8 })
    .chain((length) => fc.tuple(...Array.from({ length }, (_, index) => anyEvent(`e${index}`)))),
  requests: fc
    .array(
      fc.record({
        requestId: fc.uuid(),
        trigger: fc.constantFrom('manual' as const, 'definition' as const, 'schedule' as const),
        actor: fc.constant('olga'),
        reason: fc.constant(null),
        repeats: fc.constantFrom(undefined, undefined, 'm-000001'),
      }),
      { maxLength: 3 },
    )
    .map((requests): StartRequest[] =>
      requests.map(({ repeats, ...one }) =>
        repeats === undefined || one.trigger !== 'manual' ? one : { ...one, repeats },
      ),
    ),
  run: fc.option(
    fc.record(
      {
        run: fc.constant('m-000001'),
        awaiting: fc.boolean(),
        superseding: fc.boolean(),
        awaitingSinceMs: ago(120 * MINUTE),
      },
      { requiredKeys: ['run', 'awaiting', 'superseding'] },
    ),
  ),
  championVersion: fc.constantFrom(null, 1),
  championSinceMs: fc.option(ago(60 * MINUTE)),
  isChampionChanging: fc.boolean(),
  runStartsMs: fc.array(ago(48 * 60 * MINUTE), { maxLength: 6 }),
  lastRunEndedMs: fc.option(ago(120 * MINUTE)),
  paused: fc.boolean(),
  driftWindows,
  spending: fc.array(
    fc.record({ startedAtMs: ago(48 * 60 * MINUTE), cpuSeconds: fc.integer({ min: 0, max: 4_000 }) }),
    {
      maxLength: 5,
    },
  ),
  newOutcomes: fc.integer({ min: 0, max: 200 }),
  overBudget: fc.option(
    ago(120 * MINUTE).map((at) => ({ reason: 'another start came first', untilMs: at + 60 * MINUTE })),
  ),
});
