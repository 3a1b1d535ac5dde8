/**
 * Area under the ROC curve by scikit-learn's definition: ties count half; for several classes one against the rest,
 * averaged without weights. Rows are sorted once, so that each resample costs one pass.
 */
import type { Counted, Scored } from './scored.ts';

/** Rows in ascending order of a score, and for each place whether the next row ties with it. */
interface Ranking {
  readonly order: Int32Array;
  readonly positive: Uint8Array;
  readonly tiesWithNext: Uint8Array;
}

function ranking(scored: Scored, column: number): Ranking {
  const rows = scored.truth.length;
  const scores = new Float64Array(rows);
  for (let row = 0; row < rows; row += 1) scores[row] = scored.values[row * scored.width + column] ?? Number.NaN;
  const order = new Int32Array(rows);
  for (let row = 0; row < rows; row += 1) order[row] = row;
  order.sort((left, right) => (scores[left] ?? 0) - (scores[right] ?? 0));
  const positive = new Uint8Array(rows);
  const tiesWithNext = new Uint8Array(rows);
  for (let place = 0; place < rows; place += 1) {
    const row = order[place] ?? 0;
    positive[place] = scored.truth[row] === column ? 1 : 0;
    if (place + 1 < rows && scores[row] === scores[order[place + 1] ?? 0]) tiesWithNext[place] = 1;
  }
  return { order, positive, tiesWithNext };
}

function areaOf({ order, positive, tiesWithNext }: Ranking, counts: Int32Array): number | null {
  let negativesBelow = 0;
  let positives = 0;
  let pairs = 0;
  let groupPositives = 0;
  let groupNegatives = 0;
  for (let place = 0; place < order.length; place += 1) {
    const count = counts[order[place] ?? 0] ?? 0;
    if (positive[place] === 1) groupPositives += count;
    else groupNegatives += count;
    if (tiesWithNext[place] === 1) continue;
    pairs += groupPositives * (negativesBelow + groupNegatives / 2);
    negativesBelow += groupNegatives;
    positives += groupPositives;
    groupPositives = 0;
    groupNegatives = 0;
  }
  return positives === 0 || negativesBelow === 0 ? null : pairs / (positives * negativesBelow);
}

export function rocAuc(scored: Scored): Counted {
  if (scored.width === 2) {
    const binary = ranking(scored, 1);
    return (counts) => areaOf(binary, counts);
  }
  const rankings = Array.from({ length: scored.width }, (_, column) => ranking(scored, column));
  return (counts) => {
    let sum = 0;
    for (const one of rankings) {
      const area = areaOf(one, counts);
      if (area === null) return null;
      sum += area;
    }
    return sum / rankings.length;
  };
}
