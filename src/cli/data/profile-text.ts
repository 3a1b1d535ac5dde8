/** A profile in the terminal: one line a column, with small bars. */
import type { ColumnProfile, DataProfile, LabelRelation } from '../../contracts/data.ts';
import { table } from '../output.ts';

const BARS = '▁▂▃▄▅▆▇█';
const SHOWN_VALUES = 3;

/** Counts as bars; nothing is a blank, and little is the smallest bar. */
export function bars(counts: readonly number[]): string {
  const most = Math.max(...counts, 0);
  return counts
    .map((count) => (count === 0 ? ' ' : (BARS[Math.min(7, Math.floor((8 * count) / most))] ?? '')))
    .join('');
}

/** Short, for people: 6 digits at most. */
export function figure(value: number | string | null): string {
  if (value === null) return '';
  if (typeof value === 'string') return value.replace('T00:00:00Z', '').replace('T', ' ').replace('Z', '');
  const size = Math.abs(value);
  return size >= 1e7 || (size > 0 && size < 1e-4) ? value.toExponential(2) : String(Number(value.toPrecision(6)));
}

export const shareText = (count: number, rows: number): string => {
  const share = (100 * count) / Math.max(1, rows);
  return count === 0 ? '0' : share < 0.1 ? '< 0.1 %' : `${share.toFixed(1)} %`;
};

/** The measure that says most of this kind of column, by name. */
export function strongest({ auc, correlation, cramersV, mutualInformation }: LabelRelation): string {
  if (auc !== null) return `AUC ${auc.toFixed(3)}`;
  if (correlation !== null) return `r ${correlation.toFixed(3)}`;
  return cramersV === null ? `MI ${mutualInformation.toFixed(3)}` : `V ${cramersV.toFixed(3)}`;
}

const distinctText = ({ distinct }: ColumnProfile): string => `${distinct.estimated ? '≈' : ''}${distinct.values}`;

export const medianOf = ({ quantiles, type }: ColumnProfile): number | string | null => {
  const median = quantiles[7];
  if (median === undefined) return null;
  return type === 'timestamp' ? new Date(median).toISOString().replace(/\.\d+Z$/, 'Z') : median;
};

function distribution(column: ColumnProfile, rows: number): string {
  if (column.histogram) return bars(column.histogram.counts);
  return column.top
    .slice(0, SHOWN_VALUES)
    .map(({ value, count }) => `${value} ${shareText(count, rows)}`)
    .join(', ');
}

export function profileTable({ rows, columns }: DataProfile): string {
  const related = columns.some(({ relation }) => relation);
  const head = ['column', 'type', 'unknown', 'distinct', 'min', 'median', 'max', 'values'];
  const lines = columns.map((column) => [
    column.name,
    column.type,
    shareText(column.nulls + column.notFinite, rows),
    distinctText(column),
    figure(column.min),
    figure(medianOf(column)),
    figure(column.max),
    distribution(column, rows),
    ...(related ? [column.relation ? strongest(column.relation) : ''] : []),
  ]);
  return table(related ? [...head, 'label'] : head, lines);
}
