/** How many values of a slice are judged, and how many are kept with the evaluation. What is left out is counted: no gate passes on it. Pure. */
import type { GateDocument } from '../contracts/documents.ts';
import type { Evaluation, SliceMetric, UnlistedValues } from '../contracts/evaluation.ts';

/** Values of one slice that stay with the evaluation, the most frequent first. */
const LISTED_VALUES = 100;
/** Values of one slice that gates look at: bounds the memory of an evaluation of which nearly every row is a value of its own. */
const JUDGED_VALUES = 10_000;

/** Of a slice's values with so many rows each, most first: how many are to be measured, where gates judge from `minRows` on. */
export function measuredValues(rows: readonly number[], minRows: number | undefined): number {
  const judged = minRows === undefined ? 0 : rows.filter((count) => count >= minRows).length;
  return Math.min(rows.length, JUDGED_VALUES, Math.max(LISTED_VALUES, judged));
}

/** By slice, the fewest rows from which one of the gates judges a value. */
export function judgedFrom(gates: readonly GateDocument[]): Readonly<Record<string, number>> {
  const least: Record<string, number> = {};
  for (const gate of gates)
    if (gate.type === 'slice')
      least[gate.slice] = Math.min(least[gate.slice] ?? Number.POSITIVE_INFINITY, gate.min_rows);
  return least;
}

/** Once gates have judged all of it: what is kept. */
export function listedSlices(evaluation: Evaluation): Evaluation {
  const slices: SliceMetric[] = [];
  const unlisted: UnlistedValues[] = [];
  for (const slice of new Set(evaluation.slices.map((one) => one.slice))) {
    const values = evaluation.slices.filter((one) => one.slice === slice);
    const before = evaluation.unlisted?.find((one) => one.slice === slice);
    const [first] = values.slice(LISTED_VALUES);
    slices.push(...values.slice(0, LISTED_VALUES));
    if (first !== undefined)
      unlisted.push({ slice, values: values.length - LISTED_VALUES + (before?.values ?? 0), rows: first.rows });
    else if (before !== undefined) unlisted.push(before);
  }
  return { ...evaluation, slices, ...(unlisted.length === 0 ? {} : { unlisted }) };
}
