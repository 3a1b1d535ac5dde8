/**
 * The columns of `source` in one form, wherever features are computed: for a snapshot, a batch, a sweep or a request.
 *
 * What a request cannot say must not be there in training either. JSON has neither NaN nor infinity and most writers of it
 * lose the sign of zero, so a number that is not finite, or a time that is not, is null, and -0 is 0.
 */
import type { SourceColumn } from '../../contracts/data.ts';
import type { ColumnType } from '../../contracts/values.ts';
import { quoteName } from './session.ts';
import { SQL_TYPES } from './types.ts';

/** An expression in its type of ours, as `source` has it. */
export function sourceValue(expression: string, type: ColumnType): string {
  const value = `CAST(${expression} AS ${SQL_TYPES[type]})`;
  if (type === 'float64') return `CASE WHEN isfinite(${value}) THEN ${value} + 0.0::DOUBLE END`;
  if (type === 'timestamp') return `CASE WHEN isfinite(${value}) THEN ${value} END`;
  return value;
}

/** The columns as items of a select over a relation that has them. */
export const sourceItems = (columns: readonly SourceColumn[]): string =>
  columns.map(({ name, type }) => `${sourceValue(quoteName(name), type)} AS ${quoteName(name)}`).join(', ');
