/** Distance between two histograms over the same bins. */

/**
 * Jensen-Shannon distance, base 2, as SciPy's `jensenshannon(p, q, base=2)`: 0 for equal shares, 1 for disjoint ones.
 * null when either side is empty.
 */
export function jensenShannon(reference: readonly number[], current: readonly number[]): number | null {
  const sumOf = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);
  const referenceSum = sumOf(reference);
  const currentSum = sumOf(current);
  if (referenceSum === 0 || currentSum === 0) return null;
  const term = (share: number, middle: number): number => (share === 0 ? 0 : share * Math.log2(share / middle));
  let divergence = 0;
  for (let bin = 0; bin < Math.max(reference.length, current.length); bin += 1) {
    const p = (reference[bin] ?? 0) / referenceSum;
    const q = (current[bin] ?? 0) / currentSum;
    const middle = (p + q) / 2;
    divergence += term(p, middle) + term(q, middle);
  }
  return Math.sqrt(Math.max(0, divergence / 2));
}
