/** The retraining policy for any state: no event is lost or told twice, and no run starts beside another. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { confirmation } from '../../src/domain/confirmation.ts';
import { DAY_MS, decideRetraining } from '../../src/domain/retraining.ts';
import { anyState, driftWindows, NOW } from '../support/policy-state.ts';

const holds = (body: (state: Parameters<typeof decideRetraining>[0]) => void): void =>
  fc.assert(fc.property(anyState, body), { numRuns: 2_000 });

describe('decideRetraining', () => {
  it('gives each pending event exactly one answer, and answers nothing else', () => {
    holds((state) => {
      const plan = decideRetraining(state, NOW);
      const answered = [...plan.refuse, ...plan.coalesce, ...plan.hold]
        .map((one) => one.key)
        .concat(plan.start?.eventKeys ?? []);
      const asked = state.pending.map((event) => event.key);
      // A repetition leaves what waits to the next decision: it takes nothing along.
      if (plan.start?.request?.repeats === undefined) expect([...answered].sort()).toEqual(asked.sort());
      else expect(asked).toEqual(expect.arrayContaining(answered));
    });
  });

  it('starts no run while one is under way, and supersedes only one that waits and was not told yet', () => {
    holds((state) => {
      const plan = decideRetraining(state, NOW);
      if (state.run) expect(plan.start).toBeNull();
      if (plan.supersede === null) return;
      expect(state.run).toMatchObject({ run: plan.supersede, awaiting: true, superseding: false });
      expect(state.config.onNewer).toBe('supersede');
    });
  });

  it('supersedes only for a run that starts at once, and that a person, a definition or data of its own accord asks for', () => {
    holds((state) => {
      if (decideRetraining(state, NOW).supersede === null) return;
      const { start } = decideRetraining({ ...state, run: null }, NOW);
      expect(start).not.toBeNull();
      expect(start?.request?.repeats).toBeUndefined();
      if (start?.trigger === 'manual') return;
      expect(NOW).toBeGreaterThanOrEqual((state.run?.awaitingSinceMs ?? 0) + state.config.cooldownMs);
      if (start?.trigger === 'definition') return;
      const pending = state.pending.filter(({ kind }) => kind === 'data');
      expect(decideRetraining({ ...state, pending, requests: [], run: null }, NOW).start?.trigger).toBe('data');
    });
  });

  it('a person starts at once where no run is under way, whoever else asked before', () => {
    holds((state) => {
      const { start } = decideRetraining({ ...state, run: null }, NOW);
      if (state.requests.some(({ trigger }) => trigger === 'manual')) expect(start?.trigger).toBe('manual');
    });
  });

  it('starts nothing by itself while paused, in the cooldown or beyond the budget', () => {
    holds((state) => {
      const { start } = decideRetraining(state, NOW);
      if (!start || start.trigger === 'manual') return;
      expect(state.paused).toBe(false);
      expect(NOW).toBeGreaterThanOrEqual((state.lastRunEndedMs ?? 0) + state.config.cooldownMs);
      const recent = state.runStartsMs.filter((at) => at > NOW - DAY_MS).length;
      expect(recent).toBeLessThan(state.config.runsPerDay ?? Number.POSITIVE_INFINITY);
    });
  });

  it('starts a run only for what the definition lets start one', () => {
    holds((state) => {
      const { start } = decideRetraining(state, NOW);
      if (!start || start.request) return;
      const opener = state.pending.find((event) => event.key === start.eventKeys[0]);
      expect(opener?.kind).toBe(start.trigger);
      expect(state.config.triggers).toContain(start.trigger);
      if (start.trigger === 'drift') expect(state.championVersion).not.toBeNull();
    });
  });

  it('no alert that came before the champion served leads to a run of its own, unless it names the champion', () => {
    holds((state) => {
      const pending = state.pending.filter(({ kind }) => kind === 'drift');
      const { start } = decideRetraining({ ...state, pending, requests: [], run: null, paused: false }, NOW);
      for (const { key, receivedAtMs, drift } of pending)
        if (start?.eventKeys.includes(key) && receivedAtMs < (state.championSinceMs ?? 0))
          expect(drift?.version).toBe(state.championVersion);
    });
  });

  it('wakes later than now, and at that time something changes', () => {
    holds((state) => {
      const plan = decideRetraining(state, NOW);
      if (plan.wakeAtMs === null) return;
      expect(plan.wakeAtMs).toBeGreaterThan(NOW);
      expect(decideRetraining(state, plan.wakeAtMs)).not.toEqual(plan);
    });
  });

  it('decides the same again with nothing changed, whether or not the settled events were taken out', () => {
    holds((state) => {
      const plan = decideRetraining(state, NOW);
      expect(decideRetraining(state, NOW)).toEqual(plan);
      if (state.driftWindows.length === 0) return;
      const settled = new Set([...plan.refuse, ...plan.coalesce].map((one) => one.key));
      // What is refused leaves its window behind, as the lifecycle does.
      const left = state.pending.flatMap(({ key, drift, receivedAtMs }) =>
        settled.has(key) &&
        drift?.verdict === null &&
        (drift.version === null
          ? receivedAtMs >= (state.championSinceMs ?? 0)
          : drift.version === state.championVersion)
          ? [{ startMs: drift.windowStartMs, endMs: drift.windowEndMs, drifted: true }]
          : [],
      );
      const pending = state.pending.filter((event) => !settled.has(event.key));
      const again = decideRetraining({ ...state, pending, driftWindows: [...state.driftWindows, ...left] }, NOW);
      expect(again.start?.eventKeys).toEqual(plan.start?.eventKeys);
      expect(again.hold).toEqual(plan.hold);
      expect(again.refuse).toEqual([]);
    });
  });

  it('a larger budget never keeps back what a smaller one lets start', () => {
    holds((state) => {
      const { runsPerDay } = state.config;
      if (runsPerDay === null || !decideRetraining(state, NOW).start) return;
      const richer = { ...state, config: { ...state.config, runsPerDay: runsPerDay + 1 } };
      expect(decideRetraining(richer, NOW).start).toEqual(decideRetraining(state, NOW).start);
    });
  });
});

describe('confirmation', () => {
  const rules = fc.record({ windows: fc.integer({ min: 1, max: 4 }), of: fc.integer({ min: 1, max: 5 }) });

  it('does not depend on the order in which windows were told, nor on being told twice', () => {
    fc.assert(
      fc.property(driftWindows, rules, (windows, rule) => {
        const answer = confirmation(windows, rule).confirmed;
        expect(confirmation([...windows].reverse(), rule).confirmed).toBe(answer);
        expect(confirmation([...windows, ...windows], rule).confirmed).toBe(answer);
      }),
      { numRuns: 2_000 },
    );
  });

  it('is confirmed only by enough drifted windows that do not overlap', () => {
    fc.assert(
      fc.property(driftWindows, rules, (windows, rule) => {
        if (!confirmation(windows, rule).confirmed) return;
        let disjoint = 0;
        let end = Number.NEGATIVE_INFINITY;
        for (const window of windows.filter((one) => one.drifted).sort((a, b) => a.endMs - b.endMs)) {
          if (window.startMs < end) continue;
          disjoint += 1;
          end = window.endMs;
        }
        expect(disjoint).toBeGreaterThanOrEqual(rule.windows);
      }),
      { numRuns: 2_000 },
    );
  });
});
