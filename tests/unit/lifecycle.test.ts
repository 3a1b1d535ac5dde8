/** What a lifecycle takes from what happens; the whole of its decisions is played in tests/property/schedules.test.ts. */
import { describe, expect, it } from 'vitest';
import { decide, initialState, after as stateAfter } from '../../src/domain/lifecycle.ts';
import { config, data, drift, NOW } from '../support/policy-state.ts';

const FACTS = {
  ...{ config: null, championVersion: 1, run: null, rollout: null, approved: [], runStartsMs: [] },
  ...{ lastRunEndedMs: null, paused: false, revision: 1 },
};
const DUE_MS = Date.UTC(2026, 0, 4, 2);
const NEXT_MS = Date.UTC(2026, 0, 11, 2);

describe('a definition that is applied when a moment of the schedule has come', () => {
  const before = stateAfter(initialState(FACTS), { type: 'configured', config: config(), nextScheduleMs: DUE_MS });

  it('does not take the moment away: it asks for its run, and the next one is the next', () => {
    const state = stateAfter(before, { type: 'configured', config: config(), nextScheduleMs: NEXT_MS, dueMs: DUE_MS });
    expect(state.nextScheduleMs).toBe(NEXT_MS);
    expect(state.requests).toEqual([
      expect.objectContaining({ trigger: 'schedule', reason: 'scheduled for 2026-01-04T02:00:00.000Z' }),
    ]);
    // Once, also where both say so.
    expect(
      stateAfter(state, { type: 'configured', config: config(), nextScheduleMs: NEXT_MS, dueMs: DUE_MS }).requests,
    ).toHaveLength(1);
  });

  it('takes it away with the schedule', () => {
    const state = stateAfter(before, { type: 'configured', config: config(), nextScheduleMs: null, dueMs: DUE_MS });
    expect(state).toMatchObject({ nextScheduleMs: null, requests: [] });
  });
});

describe('a run that gave way to a newer one', () => {
  const run = { run: 'm-000002', awaiting: true, superseding: true };
  const before = {
    ...initialState({ ...FACTS, config: config({ cooldownMs: 60_000 }), lastRunEndedMs: NOW - 60_000 }),
    run,
  };
  const ended = (outcome: 'superseded' | 'rejected', rules?: 1) => {
    const signal = { run: run.run, outcome, version: 2 };
    return stateAfter(before, { type: 'run_ended', signal, atMs: NOW, ...(rules ? { rules } : {}) });
  };
  const starts = (state: ReturnType<typeof ended>, rules?: 1) =>
    decide(stateAfter(state, { type: 'admitted', events: [data('a')] }), NOW, rules)?.plan.start?.trigger;

  it('starts no cooldown: what took its place starts at once', () => {
    expect(starts(ended('superseded'))).toBe('data');
    expect(starts(ended('rejected'))).toBeUndefined();
    expect(starts(ended('superseded', 1), 1)).toBeUndefined();
  });
});

describe('alerts without a version that come during a rollout', () => {
  const rollout = { deployment: 2, kind: 'rollout', toVersion: 2 } as const;
  const window = { verdict: null, windowStartMs: 0, windowEndMs: 10 };
  const during = stateAfter(
    { ...initialState({ ...FACTS, config: config(), championSinceMs: 0 }), rollout },
    { type: 'admitted', events: [drift('a'), drift('b', window)] },
  );
  const ended = (outcome: 'promoted' | 'rolled_back') => {
    const serving =
      outcome === 'promoted'
        ? { championVersion: 2, championSinceMs: NOW + 1 }
        : { championVersion: 1, championSinceMs: 0 };
    const state = stateAfter(during, { type: 'rollout_ended', deployment: 2, outcome, ...serving });
    const decided = decide(state, NOW + 1);
    const fates = decided?.fates ?? [];
    return { start: decided?.plan.start, fates, state: stateAfter(state, { type: 'recorded', fates }) };
  };

  it('start nothing once another version serves, and leave no window behind for it', () => {
    const { start, fates, state } = ended('promoted');
    expect(start).toBeNull();
    expect(fates.map(({ key, fate }) => `${key} ${fate}`)).toEqual(['a refused', 'b refused']);
    expect(state.driftWindows).toEqual([]);
  });
  it('count where the champion stays', () => {
    expect(ended('rolled_back').start).toMatchObject({ trigger: 'drift', eventKeys: ['a'] });
  });
});
