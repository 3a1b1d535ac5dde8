/** What a policy did, in figures that can be worked out by hand. */
import { describe, expect, it } from 'vitest';
import { figuresOf, type PolicyHistory, reigns, staleness } from '../../src/domain/policy-report.ts';
import type { SimulatedFate, SimulatedRun } from '../../src/domain/simulation.ts';
import { data, drift } from '../support/policy-state.ts';

const HOUR = 3_600_000;

const run = (
  number: number,
  startedHours: number,
  servesHours: number | null,
  change: Partial<SimulatedRun> = {},
): SimulatedRun => ({
  ...{ number, trigger: 'data', reason: '', outcome: 'approved', eventKeys: [], rows: 100, cpuSeconds: 1_800 },
  startedMs: startedHours * HOUR,
  endedMs: (startedHours + 1) * HOUR,
  servesFromMs: servesHours === null ? null : servesHours * HOUR,
  ...change,
});
const fate = (name: SimulatedFate['fate'], run_: string | null = null): SimulatedFate => ({
  ...{ fate: name, run: run_, waitsFor: null, atMs: 0 },
});

/** Data at 0, 20 and 30 h; champions from 2 h (seen up to 1 h) and from 24 h (seen up to 22 h); it ends at 40 h. */
const history: PolicyHistory = {
  runs: [
    run(1, 1, 2, { eventKeys: ['d1'] }),
    run(2, 5, null, { outcome: 'rejected', trigger: 'manual' }),
    run(3, 22, 24, { eventKeys: ['a1', 'd2'], trigger: 'drift' }),
  ],
  events: [
    data('d1', 100, 0),
    data('d2', 200, 20 * HOUR),
    data('d3', 300, 30 * HOUR),
    drift('a1', {}, 21 * HOUR),
    drift('a2', { verdict: 'suspected' }, 25 * HOUR),
    drift('a3', {}, 39 * HOUR),
  ],
  fates: new Map([
    ['d1', fate('acted_on', 'run-1')],
    ['a1', fate('acted_on', 'run-3')],
    ['d2', fate('coalesced', 'run-3')],
    ['a2', fate('refused')],
    ['a3', fate('held')],
    ['d3', fate('held')],
  ]),
  startMs: 0,
  endMs: 40 * HOUR,
};

describe('figures of a policy', () => {
  it('runs, rows and cost', () => {
    expect(figuresOf(history)).toMatchObject({
      ...{ runs: 3, byTrigger: { data: 1, manual: 1, drift: 1 }, promoted: 2, rows: 300, cpuHours: 1.5, held: 2 },
    });
  });
  it('reigns follow each other', () => {
    expect(reigns(history).map(({ run: of, fromMs, untilMs }) => [of, fromMs / HOUR, untilMs / HOUR])).toEqual([
      [1, 2, 24],
      [3, 24, 40],
    ]);
  });
  it('staleness: 4 h grown from 20 to 24 h, 10 h grown from 30 to 40 h, over 38 h served', () => {
    const { staleHours, unseenRows } = figuresOf(history);
    expect(staleHours?.mean).toBeCloseTo((0.5 * 4 * 4 + 0.5 * 10 * 10) / 38, 10);
    expect(staleHours?.most).toBe(10);
    expect(unseenRows).toBe(300);
    expect([10, 22, 25, 35].map((hour) => staleness(history, hour * HOUR) / HOUR)).toEqual([0, 2, 0, 5]);
  });
  it('alerts: answered, refused, waiting, and how long an answered one took to a champion', () => {
    expect(figuresOf(history).alerts).toEqual({ all: 3, answered: 1, refused: 1, waiting: 1, hoursToChampion: 3 });
  });
  it('without a champion there is no staleness', () => {
    expect(figuresOf({ ...history, runs: [] })).toMatchObject({ staleHours: null, promoted: 0, unseenRows: 0 });
  });
});
