/** Routing: shares hold, a caller stays where it is, and without canary or registry the champion has all. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TrafficPlan } from '../../src/contracts/plan.ts';
import { placeOf, routeOf } from '../../src/serving/routing.ts';

const plan = (weight: number, deployment = 1): TrafficPlan => ({
  model: 'm',
  deployment,
  revision: 1,
  entries: [
    { version: 1, role: 'champion', weight: 1 - weight },
    { version: 2, role: 'canary', weight },
    { version: 3, role: 'shadow', weight: 0 },
  ],
});
const all = (): boolean => true;
const isCanary = (weight: number, id: string, deployment = 1): boolean =>
  routeOf(plan(weight, deployment), id, all, false)?.canary !== null;

describe('routing', () => {
  it('keeps the shares within the bounds of chance', () => {
    const requests = 4_000;
    fc.assert(
      fc.property(
        fc.double({ min: 0.02, max: 0.98, noNaN: true }),
        fc.integer({ min: 1, max: 1_000 }),
        fc.constantFrom('', 'user-', 'ü'),
        (weight, deployment, prefix) => {
          let canary = 0;
          for (let index = 0; index < requests; index += 1)
            if (isCanary(weight, `${prefix}${index}`, deployment)) canary += 1;
          // Six standard deviations: once in half a milliard.
          expect(Math.abs(canary / requests - weight)).toBeLessThan(6 * Math.sqrt((weight * (1 - weight)) / requests));
        },
      ),
      { numRuns: 40 },
    );
  });

  it('is sticky: the same id goes the same way, and stays with the canary as its share grows', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (id, one, other) => {
          expect(isCanary(one, id)).toBe(isCanary(one, id));
          const [small, large] = one < other ? [one, other] : [other, one];
          if (isCanary(small, id)) expect(isCanary(large, id)).toBe(true);
        },
      ),
    );
  });

  it('gives every id a place in [0, 1), another one in the next deployment', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 0 }), (id, deployment) => {
        const place = placeOf(deployment, id);
        expect(place).toBeGreaterThanOrEqual(0);
        expect(place).toBeLessThan(1);
      }),
    );
    const moved = Array.from(
      { length: 1_000 },
      (_, index) => isCanary(0.5, `${index}`, 1) !== isCanary(0.5, `${index}`, 2),
    ).filter(Boolean).length;
    expect(moved).toBeGreaterThan(400);
    expect(moved).toBeLessThan(600);
  });

  it('leaves out what is not loaded, and everything but the champion without the registry', () => {
    fc.assert(
      fc.property(fc.string(), (id) => {
        expect(routeOf(plan(1), id, (version) => version !== 2, false)?.canary).toBeNull();
        expect(routeOf(plan(1), id, all, true)).toMatchObject({ champion: { version: 1 }, canary: null, shadows: [] });
        expect(routeOf(plan(0.5), id, (version) => version !== 1, false)).toBeNull();
        expect(routeOf(plan(0.5), id, all, false)?.shadows).toHaveLength(1);
      }),
    );
    expect(routeOf({ ...plan(0), entries: [] }, 'a', all, false)).toBeNull();
  });
});
