/** Rows with a known outcome and a model's output for them: what every metric is computed from. */
import type { Metric, Task } from '../../contracts/values.ts';

export interface Scored {
  readonly task: Task;
  /** Class index for classification, the value for regression. */
  readonly truth: Float64Array;
  /** Numbers a row in `values`: the number of classes, or 1. */
  readonly width: number;
  /** Row-major: probabilities of the classes, or the prediction. */
  readonly values: Float64Array;
}

/** A metric over rows that count several times each, as in a resample; null where it is undefined on them. */
export type Counted = (counts: Int32Array) => number | null;

const LOWER_IS_BETTER: ReadonlySet<Metric> = new Set(['log_loss', 'brier', 'rmse', 'mae']);
const OF_REGRESSION: readonly Metric[] = ['rmse', 'mae', 'r2'];
const OF_CLASSIFICATION: readonly Metric[] = ['roc_auc', 'log_loss', 'brier', 'accuracy', 'f1', 'precision', 'recall'];

export const metricDirection = (metric: Metric): 'higher' | 'lower' =>
  LOWER_IS_BETTER.has(metric) ? 'lower' : 'higher';

export function defaultMetric(task: Task): Metric {
  if (task === 'regression') return 'rmse';
  return task === 'binary-classification' ? 'roc_auc' : 'log_loss';
}

/** Metrics that exist for a task. */
export const metricsOf = (task: Task): readonly Metric[] => (task === 'regression' ? OF_REGRESSION : OF_CLASSIFICATION);

/** `difference` of two values of a metric, turned so that positive is better. */
export const improvement = (metric: Metric, challenger: number, champion: number): number =>
  metricDirection(metric) === 'higher' ? challenger - champion : champion - challenger;

/** The rows at these positions. */
export function takeRows(scored: Scored, rows: ArrayLike<number>): Scored {
  const truth = new Float64Array(rows.length);
  const values = new Float64Array(rows.length * scored.width);
  for (let index = 0; index < rows.length; index += 1) {
    const row = rows[index] ?? 0;
    truth[index] = scored.truth[row] ?? Number.NaN;
    for (let column = 0; column < scored.width; column += 1) {
      values[index * scored.width + column] = scored.values[row * scored.width + column] ?? Number.NaN;
    }
  }
  return { ...scored, truth, values };
}
