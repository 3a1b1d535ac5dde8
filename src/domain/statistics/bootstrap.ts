/** Paired bootstrap: how sure is the difference of two models on the same rows? */
import type { Interval } from '../../contracts/evaluation.ts';
import type { Metric } from '../../contracts/values.ts';
import { countedMetric } from './metrics.ts';
import { seededRandom } from './random.ts';
import { improvement, type Scored } from './scored.ts';

/** A resample on which the metric is undefined (one class only, numbers too large) is drawn again, at most this many times as many in all. */
const DRAWS_PER_RESAMPLE = 2;

/** Quantile of sorted values with linear interpolation, numpy's default. */
function quantile(sorted: Float64Array, share: number): number {
  const place = (sorted.length - 1) * share;
  const low = sorted[Math.floor(place)] ?? Number.NaN;
  const high = sorted[Math.ceil(place)] ?? Number.NaN;
  return low + (high - low) * (place - Math.floor(place));
}

export interface BootstrapOptions {
  /** As a fraction, such as 0.95. */
  readonly confidence: number;
  readonly seed: number;
  /** @default 400 */
  readonly resamples?: number;
}

/**
 * Percentile interval of the improvement of `challenger` over `champion` (positive is better), the same rows being drawn
 * for both. null where the metric is undefined on the rows themselves or on too many of the resamples, or the interval is beyond a double.
 */
export function pairedBootstrap(
  metric: Metric,
  challenger: Scored,
  champion: Scored,
  options: BootstrapOptions,
): Interval | null {
  const rows = challenger.truth.length;
  if (rows === 0 || rows !== champion.truth.length) return null;
  const ofChallenger = countedMetric(metric, challenger);
  const ofChampion = countedMetric(metric, champion);
  const wanted = options.resamples ?? 400;
  const random = seededRandom(options.seed);
  const differences = new Float64Array(wanted);
  const counts = new Int32Array(rows);
  let kept = 0;
  for (let drawn = 0; drawn < wanted * DRAWS_PER_RESAMPLE && kept < wanted; drawn += 1) {
    counts.fill(0);
    for (let draw = 0; draw < rows; draw += 1) {
      const row = random.below(rows);
      counts[row] = (counts[row] ?? 0) + 1;
    }
    const left = ofChallenger(counts);
    const right = ofChampion(counts);
    if (left === null || right === null) continue;
    const difference = improvement(metric, left, right);
    if (!Number.isFinite(difference)) continue;
    differences[kept] = difference;
    kept += 1;
  }
  if (kept < wanted) return null;
  differences.sort();
  const tail = (1 - options.confidence) / 2;
  const [low, high] = [quantile(differences, tail), quantile(differences, 1 - tail)];
  return Number.isFinite(low) && Number.isFinite(high) ? { low, high, confidence: options.confidence } : null;
}
