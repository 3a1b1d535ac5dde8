/**
 * Random lives of a lifecycle against its decision core. `npm run schedules -- --count 1000000` plays as many as asked for; a
 * failure names the seed and the path with which it comes again.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type PastInput, simulate } from '../../src/domain/simulation.ts';
import { anyLife, violations } from '../support/schedules.ts';

const runs = { numRuns: 3_000 };

it('every life ends with each event answered once, one run at a time, nothing beyond its budget and nothing stranded', () => {
  fc.assert(
    fc.property(anyLife, ({ simulation }) => {
      expect(violations(simulation, simulate(simulation))).toEqual([]);
    }),
    runs,
  );
});

it('a lifecycle that is built anew from the registry at any moment decides as the one that was never lost', () => {
  fc.assert(
    fc.property(anyLife, ({ simulation, restarts }) => {
      const restarted: PastInput[] = restarts.map((atMs) => ({ type: 'restart', atMs }));
      const { runs: expected, fates } = simulate(simulation);
      const again = simulate({ ...simulation, inputs: [...simulation.inputs, ...restarted] });
      expect(again.runs).toEqual(expected);
      const settled = [...fates].filter(([, { fate }]) => fate !== 'held');
      expect([...again.fates].filter(([, { fate }]) => fate !== 'held')).toEqual(settled);
    }),
    runs,
  );
});
