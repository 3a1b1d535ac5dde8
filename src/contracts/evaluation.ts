/** What an evaluation says and what the gates make of it. Types only: workflows carry the small ones. */
import type { Metric } from './values.ts';

export interface MetricValue {
  readonly name: Metric;
  readonly value: number;
}

/** Interval from a bootstrap by percentiles; `confidence` as a fraction. */
export interface Interval {
  readonly low: number;
  readonly high: number;
  readonly confidence: number;
}

/** Champion against challenger on rows that neither was trained on. `difference` is challenger minus champion, positive better. */
export interface Comparison {
  readonly champion: number;
  readonly rows: number;
  readonly metric: Metric;
  readonly challenger: number;
  readonly championVersion: number;
  readonly difference: number;
  readonly interval: Interval;
}

export interface SliceMetric {
  readonly slice: string;
  readonly value: string;
  readonly rows: number;
  /** null where the metric is undefined on these rows, for example one class only. */
  readonly score: number | null;
  /** All metrics that are defined on these rows, for gates that name another one than the deciding. */
  readonly metrics?: Readonly<Partial<Record<Metric, number>>>;
}

/** Values of a slice beyond those that are listed, all of them with at most as many rows as these. */
export interface UnlistedValues {
  readonly slice: string;
  readonly values: number;
  /** Of the most frequent of them. */
  readonly rows: number;
}

export interface Evaluation {
  readonly rows: number;
  readonly metric: Metric;
  readonly metrics: Readonly<Partial<Record<Metric, number>>>;
  /** Of each slice the most frequent values first. */
  readonly slices: readonly SliceMetric[];
  /** Absent where all values are in `slices`. */
  readonly unlisted?: readonly UnlistedValues[];
  /** Absent without a champion. */
  readonly comparison?: Comparison;
  /** Rows of the held-out set that the champion had been trained on, and so were left out of the comparison. */
  readonly seenByChampion?: number;
  /** Why there is no comparison although there is a champion. */
  readonly notCompared?: string;
}

export type GateStatus = 'passed' | 'failed' | 'inconclusive' | 'not_applicable';

export interface GateResult {
  readonly gate: string;
  readonly status: GateStatus;
  /** One sentence with the numbers. */
  readonly detail: string;
}
