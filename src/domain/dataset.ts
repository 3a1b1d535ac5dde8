/** The schema that a dataset's first version fixed, and the window of a run. Pure. */
import type { DataFile, SourceColumn } from '../contracts/data.ts';

/** Why a file does not fit the dataset; null when it does. Columns that the dataset does not know are left aside. */
export function schemaProblem(
  expected: readonly SourceColumn[],
  found: readonly SourceColumn[],
  named: readonly (string | undefined)[],
  uri: string,
): { readonly column: string; readonly detail: string } | null {
  const types = new Map(found.map((column) => [column.name, column.type]));
  for (const name of named) {
    if (name !== undefined && !types.has(name))
      return {
        column: name,
        detail: `${uri} lacks column ${name}, which the Dataset document names; it has ${[...types.keys()].join(', ')}`,
      };
  }
  for (const column of expected) {
    const type = types.get(column.name);
    if (type === undefined)
      return { column: column.name, detail: `${uri} lacks column ${column.name} (${column.type})` };
    // Widening is no loss: whole numbers are read as such into a column of floats.
    if (type !== column.type && !(type === 'int64' && column.type === 'float64')) {
      return {
        column: column.name,
        detail: `${uri} has column ${column.name} as ${type}, the dataset has it as ${column.type}`,
      };
    }
  }
  return null;
}

/**
 * The half-open window that ends with the newest event time. A window counts back from the data, not from today; its end lies
 * one millisecond after the newest row, which so belongs to it. Null without event times.
 */
export function dataWindow(
  maxTime: string | null,
  lengthMs: number | null,
): { readonly start: string; readonly end: string } | null {
  if (maxTime === null) return null;
  const newestMs = Date.parse(maxTime);
  const end = new Date(newestMs + 1).toISOString();
  const start = lengthMs === null ? new Date(0).toISOString() : new Date(newestMs + 1 - lengthMs).toISOString();
  return { start, end };
}

/** Whether a file can have rows of the window, by its range of times. */
export function inWindow(
  file: Pick<DataFile, 'minTime' | 'maxTime'>,
  window: { readonly start: string; readonly end: string } | null,
): boolean {
  if (window === null || file.minTime === null || file.maxTime === null) return true;
  return Date.parse(file.maxTime) >= Date.parse(window.start) && Date.parse(file.minTime) < Date.parse(window.end);
}
