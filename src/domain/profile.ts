/** Profiles: the shares of their quantiles, and how their bins are made. Pure. */
import type { Bins } from '../contracts/data.ts';

/** Shares at which a profile keeps quantiles. */
export const PROFILE_SHARES = [
  0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99,
] as const;
const DECILES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
/** Bars of a histogram. */
const BARS = 20;
const MOST_WHOLE_BARS = 31;

/** Distinct deciles, ascending. */
export const decilesOf = (quantiles: readonly number[]): readonly number[] =>
  [...new Set(DECILES.map((share) => quantiles[PROFILE_SHARES.indexOf(share as 0.1)] ?? Number.NaN))].filter(
    Number.isFinite,
  );

/** Upper bounds of bars of one width from min to max; the last is max itself. Few whole numbers have a bar each. */
export function barsOf(min: number, max: number, isWhole = false): readonly number[] {
  if (isWhole && max - min < MOST_WHOLE_BARS) return Array.from({ length: max - min + 1 }, (_, bar) => min + bar);
  // Half of each before they are subtracted: the whole range may be larger than the largest double.
  const width = max / 2 - min / 2;
  if (!(width > 0)) return [max];
  const inner = Array.from({ length: BARS - 1 }, (_, bar) => min + 2 * width * ((bar + 1) / BARS));
  return [...new Set(inner.filter((bound) => bound > min && bound < max)), max];
}

/** Counts over fine bounds, summed up over some of these bounds; what lies above the last is one more count if `above`. */
export function coarser(fine: Bins, bounds: readonly number[], above: boolean): Bins {
  const counts = new Array<number>(bounds.length + (above ? 1 : 0)).fill(0);
  for (const [index, count] of fine.counts.entries()) {
    const value = fine.bounds[index] ?? Number.POSITIVE_INFINITY;
    const found = bounds.findIndex((bound) => value <= bound);
    const at = found === -1 ? bounds.length : found;
    if (at < counts.length) counts[at] = (counts[at] ?? 0) + count;
  }
  return { bounds, counts };
}
