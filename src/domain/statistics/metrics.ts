/** Metrics by scikit-learn's names and definitions, prepared once and then evaluated on any counts of the rows. */
import type { Metric } from '../../contracts/values.ts';
import { rocAuc } from './roc-auc.ts';
import { type Counted, metricsOf, type Scored } from './scored.ts';

export { defaultMetric, metricDirection } from './scored.ts';

/** scikit-learn clips probabilities by the resolution of a double before the logarithm. */
const EPSILON = Number.EPSILON;

/** Mean of a row's loss, and what is made of the mean. */
function meanOf(losses: Float64Array, finish: (mean: number) => number = (mean) => mean): Counted {
  return (counts) => {
    let sum = 0;
    let rows = 0;
    for (let row = 0; row < losses.length; row += 1) {
      const count = counts[row] ?? 0;
      sum += count * (losses[row] ?? 0);
      rows += count;
    }
    return rows === 0 ? null : finish(sum / rows);
  };
}

function lossesOf(scored: Scored, loss: (truth: number, row: number) => number): Float64Array {
  return Float64Array.from(scored.truth, (truth, row) => loss(truth, row));
}

const valueAt = (scored: Scored, row: number, column: number): number =>
  scored.values[row * scored.width + column] ?? Number.NaN;

/** The class of the greatest probability; the first of equal ones, as numpy's argmax takes it. */
function predictedClasses(scored: Scored): Int32Array {
  return Int32Array.from(scored.truth, (_, row) => {
    let best = 0;
    for (let column = 1; column < scored.width; column += 1)
      if (valueAt(scored, row, column) > valueAt(scored, row, best)) best = column;
    return best;
  });
}

function logLoss(scored: Scored): Counted {
  return meanOf(
    lossesOf(scored, (truth, row) => -Math.log(Math.min(1 - EPSILON, Math.max(EPSILON, valueAt(scored, row, truth))))),
  );
}

/** Binary: the mean squared error of the positive class's probability; several classes: summed over the classes. */
function brier(scored: Scored): Counted {
  if (scored.width === 2) return meanOf(lossesOf(scored, (truth, row) => (valueAt(scored, row, 1) - truth) ** 2));
  return meanOf(
    lossesOf(scored, (truth, row) => {
      let sum = 0;
      for (let column = 0; column < scored.width; column += 1)
        sum += (valueAt(scored, row, column) - (column === truth ? 1 : 0)) ** 2;
      return sum;
    }),
  );
}

type Share = (hits: number, predicted: number, actual: number) => number;
/** Without any case the value is 0, as scikit-learn's zero_division has it. */
const ratio = (numerator: number, denominator: number): number => (denominator === 0 ? 0 : numerator / denominator);
const SHARES: Readonly<Record<'precision' | 'recall' | 'f1', Share>> = {
  precision: (hits, predicted) => ratio(hits, predicted),
  recall: (hits, _predicted, actual) => ratio(hits, actual),
  f1: (hits, predicted, actual) => ratio(2 * hits, predicted + actual),
};

/** Of the positive class for two classes; else the plain mean over the classes that occur in truth or prediction. */
function confusionMetric(scored: Scored, share: Share): Counted {
  const predicted = predictedClasses(scored);
  const classes = scored.width;
  return (counts) => {
    const hits = new Float64Array(classes);
    const predictions = new Float64Array(classes);
    const actuals = new Float64Array(classes);
    let rows = 0;
    for (let row = 0; row < predicted.length; row += 1) {
      const count = counts[row] ?? 0;
      const guess = predicted[row] ?? 0;
      const truth = scored.truth[row] ?? 0;
      rows += count;
      predictions[guess] = (predictions[guess] ?? 0) + count;
      actuals[truth] = (actuals[truth] ?? 0) + count;
      if (guess === truth) hits[guess] = (hits[guess] ?? 0) + count;
    }
    if (rows === 0) return null;
    const of = (column: number): number => share(hits[column] ?? 0, predictions[column] ?? 0, actuals[column] ?? 0);
    if (classes === 2) return of(1);
    let sum = 0;
    let present = 0;
    for (let column = 0; column < classes; column += 1) {
      if ((predictions[column] ?? 0) + (actuals[column] ?? 0) === 0) continue;
      sum += of(column);
      present += 1;
    }
    return sum / present;
  };
}

function accuracy(scored: Scored): Counted {
  const predicted = predictedClasses(scored);
  return meanOf(lossesOf(scored, (truth, row) => (predicted[row] === truth ? 1 : 0)));
}

function r2(scored: Scored): Counted {
  const errors = lossesOf(scored, (truth, row) => (truth - valueAt(scored, row, 0)) ** 2);
  const meanTruth = meanOf(scored.truth);
  return (counts) => {
    const mean = meanTruth(counts);
    let rows = 0;
    let residual = 0;
    let total = 0;
    for (let row = 0; row < errors.length; row += 1) {
      const count = counts[row] ?? 0;
      rows += count;
      residual += count * (errors[row] ?? 0);
      total += count * ((scored.truth[row] ?? 0) - (mean ?? 0)) ** 2;
    }
    if (rows < 2) return null;
    if (total === 0) return residual === 0 ? 1 : 0;
    return 1 - residual / total;
  };
}

/** Prepares a metric over rows. @throws RangeError for a metric that the task does not have */
export function countedMetric(metric: Metric, scored: Scored): Counted {
  if (!metricsOf(scored.task).includes(metric)) throw new RangeError(`${metric} is not a metric of ${scored.task}`);
  switch (metric) {
    case 'roc_auc':
      return rocAuc(scored);
    case 'log_loss':
      return logLoss(scored);
    case 'brier':
      return brier(scored);
    case 'accuracy':
      return accuracy(scored);
    case 'f1':
    case 'precision':
    case 'recall':
      return confusionMetric(scored, SHARES[metric]);
    case 'mae':
      return meanOf(lossesOf(scored, (truth, row) => Math.abs(truth - valueAt(scored, row, 0))));
    case 'rmse':
      return meanOf(
        lossesOf(scored, (truth, row) => (truth - valueAt(scored, row, 0)) ** 2),
        Math.sqrt,
      );
    case 'r2':
      return r2(scored);
  }
}

/**
 * null where the metric is undefined on these rows: none, one class only for roc_auc, or numbers so large that their squares or sums are
 * beyond a double. No gate and no record takes what is not finite.
 */
export function metricValue(metric: Metric, scored: Scored): number | null {
  const value = countedMetric(metric, scored)(new Int32Array(scored.truth.length).fill(1));
  return Number.isFinite(value) ? value : null;
}
