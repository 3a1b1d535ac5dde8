/** The short form of `npm run fuzz`. */
import { expect, it } from 'vitest';
import { fuzz } from './fuzz.ts';

it('200 fuzzed files end as converted or as a problem of that file, in bounded memory', async () => {
  const report = await fuzz({ count: 200, seed: 1 });
  expect(report.files).toBe(200);
  expect(report.faults).toEqual([]);
  expect(report.unnamed).toEqual([]);
  expect(report.converted).toBeGreaterThan(30);
  expect(Object.keys(report.problems).length).toBeGreaterThan(4);
  expect(report.peakMiB).toBeLessThan(1_100);
}, 300_000);
