/** Logged predictions as the topic has them, and the area under the ROC curve. */
import type { KafkaRecord } from './evidence.ts';

export interface LoggedPrediction {
  readonly role: string;
  readonly version: number;
  readonly id: string;
  /** Probability of the last class: late. */
  readonly score: number;
}

export function loggedPredictions(records: readonly KafkaRecord[]): readonly LoggedPrediction[] {
  return records.map(({ value }) => {
    const { data } = JSON.parse(value) as {
      readonly data: {
        readonly role: string;
        readonly version: number;
        readonly id?: string;
        readonly output: readonly number[];
      };
    };
    return { role: data.role, version: data.version, id: data.id ?? '', score: data.output.at(-1) ?? Number.NaN };
  });
}

/** By ranks, with ties at their mean (Mann and Whitney's U). NaN without both classes. */
export function auc(rows: readonly { readonly score: number; readonly label: boolean }[]): number {
  const sorted = [...rows].sort((a, b) => a.score - b.score);
  let rankSum = 0;
  let positives = 0;
  for (let from = 0; from < sorted.length; ) {
    let to = from;
    while (to < sorted.length && sorted[to]?.score === sorted[from]?.score) to += 1;
    const inTie = sorted.slice(from, to).filter((row) => row.label).length;
    rankSum += inTie * ((from + 1 + to) / 2);
    positives += inTie;
    from = to;
  }
  const negatives = sorted.length - positives;
  return positives === 0 || negatives === 0
    ? Number.NaN
    : (rankSum - (positives * (positives + 1)) / 2) / (positives * negatives);
}
