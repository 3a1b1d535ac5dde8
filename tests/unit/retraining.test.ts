/** The retraining policy by example: what each setting does, and which reason a person reads. */
import { describe, expect, it } from 'vitest';
import { confirmation } from '../../src/domain/confirmation.ts';
import { DAY_MS, decideRetraining } from '../../src/domain/retraining.ts';
import { config, data, drift, MINUTE, NOW, state } from '../support/policy-state.ts';

const decide = (change: Parameters<typeof state>[0]) => decideRetraining(state(change), NOW);
const request = { requestId: 'r', trigger: 'manual', actor: 'olga', reason: null } as const;
const run = { run: 'm-000001', awaiting: true, superseding: false };

describe('what starts', () => {
  it('data, the first arrival as opener, and all that waits goes along', () => {
    expect(decide({ pending: [data('a'), data('b', 50)] }).start).toEqual({
      trigger: 'data',
      eventKeys: ['a', 'b'],
      request: null,
      reason: '150 new rows in 2 arrivals',
    });
  });
  it('confirmed drift, whatever the rows', () => {
    const { start } = decide({ config: config({ minNewRows: 1_000 }), pending: [data('a'), drift('d')] });
    expect(start).toMatchObject({ trigger: 'drift', eventKeys: ['d', 'a'] });
  });
  it('the first model with whatever rows there are', () => {
    expect(
      decide({ championVersion: null, config: config({ minNewRows: 1_000 }), pending: [drift('d'), data('a', 1)] })
        .start,
    ).toMatchObject({ trigger: 'data', eventKeys: ['a', 'd'] });
  });
  it('a request past pause, cooldown, budget and rows', () => {
    const blocked = {
      paused: true,
      lastRunEndedMs: NOW,
      runStartsMs: [NOW],
      config: config({ cooldownMs: DAY_MS, runsPerDay: 1, minNewRows: 1_000 }),
    };
    expect(decide({ ...blocked, requests: [request], pending: [data('a')] }).start).toMatchObject({
      trigger: 'manual',
      eventKeys: ['a'],
      request,
    });
    const definition = { ...request, requestId: 'd', trigger: 'definition' } as const;
    const schedule = { ...request, requestId: 's', trigger: 'schedule' } as const;
    expect(decide({ ...blocked, requests: [definition] }).start).toBeNull();
    // Nor does a person wait behind one that is held.
    expect(decide({ ...blocked, requests: [schedule, definition, request] }).start).toMatchObject({ request });
    // A repetition sees the data of then: what arrived since stays for the next run.
    expect(decide({ requests: [{ ...request, repeats: 'm-000001' }], pending: [data('a')] }).start?.eventKeys).toEqual(
      [],
    );
  });
});

describe('what is held, and until when', () => {
  const cases: [string, Parameters<typeof state>[0], string, number | null][] = [
    [
      'debounce after the last',
      { config: config({ debounceMs: 2 * MINUTE }), pending: [data('a', 1, NOW - MINUTE), data('b')] },
      'debounce',
      NOW + 2 * MINUTE,
    ],
    [
      'but not past max_wait',
      { config: config({ debounceMs: 20 * MINUTE }), pending: [data('a', 1, NOW - 29 * MINUTE), data('b')] },
      'debounce',
      NOW + MINUTE,
    ],
    [
      'max_wait from when there are rows enough: what waited for rows was put off by nothing',
      {
        config: config({ debounceMs: 2 * MINUTE, minNewRows: 150 }),
        pending: [data('a', 100, NOW - DAY_MS), data('b')],
      },
      'debounce',
      NOW + 2 * MINUTE,
    ],
    [
      'max_wait from the first alert, where outcomes lack for the data before it',
      {
        config: config({ debounceMs: 20 * MINUTE, minNewOutcomes: 10 }),
        pending: [data('a', 100, NOW - DAY_MS), drift('d', {}, NOW - 15 * MINUTE), drift('e')],
      },
      'debounce',
      NOW + 15 * MINUTE,
    ],
    ['rows', { config: config({ minNewRows: 300 }), pending: [data('a'), data('b')] }, 'rows', null],
    ['the first data', { championVersion: null, pending: [drift('d')] }, 'rows', null],
    ['pause', { paused: true, pending: [data('a')] }, 'pause', null],
    [
      'cooldown',
      { lastRunEndedMs: NOW - MINUTE, config: config({ cooldownMs: 5 * MINUTE }), pending: [data('a')] },
      'cooldown',
      NOW + 4 * MINUTE,
    ],
    [
      'budget',
      {
        runStartsMs: [NOW - 5 * MINUTE, NOW - DAY_MS + MINUTE],
        config: config({ runsPerDay: 2 }),
        pending: [data('a')],
      },
      'budget',
      NOW + MINUTE,
    ],
    ['a run', { run: { ...run, awaiting: false }, pending: [data('a')] }, 'run', null],
    ['a champion that changes', { isChampionChanging: true, pending: [drift('d')] }, 'run', null],
  ];
  it.each(cases)('%s', (_what, change, waitsFor, wakeAtMs) => {
    const plan = decide(change);
    expect(plan.start).toBeNull();
    expect(new Set(plan.hold.map((one) => one.waitsFor))).toEqual(new Set([waitsFor]));
    expect(plan.wakeAtMs).toBe(wakeAtMs);
  });
  it('at the very end of the cooldown and of a budgeted day no more', () => {
    expect(
      decide({ lastRunEndedMs: NOW - MINUTE, config: config({ cooldownMs: MINUTE }), pending: [data('a')] }).start,
    ).not.toBeNull();
    expect(
      decide({ runStartsMs: [NOW - DAY_MS], config: config({ runsPerDay: 1 }), pending: [data('a')] }).start,
    ).not.toBeNull();
  });
});

describe('a run that waits for a decision', () => {
  it('gives way to newer data or a request, once', () => {
    expect(decide({ run, pending: [data('a')] }).supersede).toBe('m-000001');
    expect(decide({ run, requests: [request] }).supersede).toBe('m-000001');
    expect(decide({ run, requests: [{ ...request, repeats: 'm-000000' }] }).supersede).toBeNull();
    expect(decide({ run: { ...run, superseding: true }, pending: [data('a')] }).supersede).toBeNull();
  });
  it('gives way to data that is enough for a run of its own, not to what is held', () => {
    const few = { run, config: config({ minNewRows: 1_000 }), pending: [data('a', 1)] };
    const repetition = { ...request, repeats: 'm-000000' };
    const schedule = { ...request, requestId: 's', trigger: 'schedule' } as const;
    for (const requests of [[], [repetition], [schedule]]) expect(decide({ ...few, requests }).supersede).toBeNull();
    expect(decide({ ...few, pending: [data('a', 1), drift('d')] }).supersede).toBeNull();
    const many = { ...few, pending: [data('a', 1_000)] };
    expect(decide({ ...many, requests: [schedule] }).supersede).toBe('m-000001');
    // It would be the repetition that started, and this does not even see the data.
    expect(decide({ ...many, requests: [repetition] }).supersede).toBeNull();
    expect(decide({ ...many, requests: [repetition, request] }).supersede).toBe('m-000001');
    // Data that may still be followed by more is looked at again when its quiet time is over.
    const soon = decide({ ...many, requests: [schedule], config: config({ minNewRows: 1_000, debounceMs: MINUTE }) });
    expect(soon).toMatchObject({ supersede: null, wakeAtMs: NOW + MINUTE });
  });
  it('is left alone for the cooldown, but for a person', () => {
    const cooling = {
      run: { ...run, awaitingSinceMs: NOW - MINUTE },
      lastRunEndedMs: NOW - DAY_MS,
      config: config({ cooldownMs: 5 * MINUTE }),
      pending: [data('a')],
    };
    expect(decide(cooling)).toMatchObject({
      supersede: null,
      wakeAtMs: NOW + 4 * MINUTE,
      hold: [{ waitsFor: 'cooldown', reason: expect.stringContaining('while m-000001 waits for a decision') }],
    });
    expect(decide({ ...cooling, requests: [{ ...request, trigger: 'definition' }] }).supersede).toBeNull();
    expect(decide({ ...cooling, requests: [request] }).supersede).toBe('m-000001');
    expect(decideRetraining(state(cooling), NOW + 4 * MINUTE).supersede).toBe('m-000001');
  });
  it('does not give way to alerts alone, nor where the definition holds', () => {
    expect(decide({ run, pending: [drift('d')] }).supersede).toBeNull();
    expect(decide({ run, config: config({ onNewer: 'hold' }), pending: [data('a')] }).supersede).toBeNull();
  });
});

describe('an alert', () => {
  const window = (at: number) => ({ verdict: null, windowStartMs: at * 10, windowEndMs: at * 10 + 10 });
  it.each([
    ['stable', drift('d', { verdict: 'stable' }), /stable/],
    ['suspected', drift('d', { verdict: 'suspected' }), /suspected, not retraining/],
    ['of another version', drift('d', { version: 2 }), /version 2; the champion is version 1/],
    ['alone', drift('d', window(1)), /1 of the last 3 windows drifted, 2 must/],
  ])('%s is refused with its reason', (_what, event, reason) => {
    expect(decide({ pending: [event] }).refuse).toEqual([{ key: 'd', reason: expect.stringMatching(reason) }]);
  });
  it('is refused where the trigger is off', () => {
    expect(decide({ config: config({ triggers: ['data'] }), pending: [drift('d')] }).refuse[0]?.reason).toContain(
      'trigger drift is off',
    );
  });
  it('counts with those before it', () => {
    expect(decide({ pending: [drift('a', window(1)), drift('b', window(2))] }).start?.trigger).toBe('drift');
    expect(
      decide({ pending: [drift('b', window(2))], driftWindows: [{ startMs: 10, endMs: 20, drifted: true }] }).start
        ?.trigger,
    ).toBe('drift');
  });
  it('does not count with those of another version', () => {
    expect(decide({ pending: [drift('a', { ...window(1), version: 2 }), drift('b', window(2))] }).refuse.length).toBe(
      2,
    );
  });
  it('without a version speaks of who served when it came', () => {
    const promoted = { championVersion: 2, championSinceMs: NOW };
    const early = [drift('a', window(1), NOW - 2), drift('b', window(2), NOW - 1), drift('c', {}, NOW - 1)];
    const plan = decide({ ...promoted, pending: early });
    expect(plan.start).toBeNull();
    expect(plan.refuse.map(({ key }) => key)).toEqual(['a', 'b', 'c']);
    expect(plan.refuse[0]?.reason).toBe('it came before version 2 served, and names no version');
    // Nor does it help to confirm one that came later; what names the champion counts whenever it came.
    expect(decide({ ...promoted, pending: [...early, drift('d', window(3))] }).refuse).toHaveLength(4);
    expect(decide({ ...promoted, pending: [drift('a', { version: 2 }, NOW - 1)] }).start?.trigger).toBe('drift');
    expect(decide({ ...promoted, pending: [drift('a')] }).start?.trigger).toBe('drift');
  });
  it('before the first champion stands behind the run under way', () => {
    expect(decide({ championVersion: null, run, pending: [drift('d')] }).coalesce).toMatchObject([
      { key: 'd', run: 'm-000001' },
    ]);
  });
});

describe('by the rules of 0.1.0, for lifecycles whose histories are from then', () => {
  const before = (change: Parameters<typeof state>[0]) => decideRetraining(state(change), NOW, 1);
  it.each<[string, Parameters<typeof state>[0], object]>([
    [
      'a request waits behind what is held',
      { paused: true, requests: [{ ...request, requestId: 'd', trigger: 'definition' }, request] },
      { start: null },
    ],
    [
      'any data supersedes',
      { run, config: config({ minNewRows: 9 }), pending: [data('a', 1)], requests: [{ ...request, repeats: 'm' }] },
      { supersede: 'm-000001' },
    ],
    [
      'in the cooldown too',
      { run: { ...run, awaitingSinceMs: NOW }, config: config({ cooldownMs: MINUTE }), pending: [data('a')] },
      { supersede: 'm-000001' },
    ],
    [
      'max_wait counts from the oldest',
      { config: config({ debounceMs: MINUTE, minNewRows: 150 }), pending: [data('a', 100, 0), data('b')] },
      { start: { trigger: 'data' } },
    ],
  ])('%s', (_what, change, expected) => {
    expect(before(change)).toMatchObject(expected);
  });
});

describe('confirmation', () => {
  const at = (start: number, drifted = true, length = 10) => ({ startMs: start, endMs: start + length, drifted });
  it.each([
    ['two of the last three', [at(0), at(10, false), at(20)], true],
    ['the third last no longer', [at(0), at(10, false), at(20, false), at(30)], false],
    ['overlapping ones are one', [at(0, true, 15), at(10)], false],
    ['half-open windows that touch do not overlap', [at(0), at(10)], true],
    ['the same window told by two detectors: drifted wins', [at(0), at(10, false), at(10, true)], true],
    ['none', [], false],
  ])('%s', (_what, windows, expected) => {
    expect(confirmation(windows, { windows: 2, of: 3 }).confirmed).toBe(expected);
  });
});
