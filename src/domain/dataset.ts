/** The window of a run. Pure. */
import type { DataFile } from '../contracts/data.ts';

type Times = Pick<DataFile, 'minTime' | 'maxTime'>;

/** Where a window without a length begins, unless there is older data. */
const EPOCH_MS = 0;
/** Event times reach from the year 1 to the year 9999; ISO 8601 has no other, and an arrival with others is refused. */
export const FIRST_TIME_MS = Date.parse('0001-01-01T00:00:00Z');

/** @throws RangeError where a time of earlier releases is none that a window can have */
function millisecondsOf(time: string): number {
  const ms = Date.parse(time);
  if (Number.isNaN(ms)) throw new RangeError(`the data has an event time of ${time}, which no window can end with`);
  return ms;
}

/**
 * The half-open window that ends with the newest event time. A window counts back from the data, not from today; its end lies
 * one millisecond after the newest row, which so belongs to it. Without a length it has all rows. Null without event times.
 */
export function dataWindow(
  files: readonly Times[],
  lengthMs: number | null,
): { readonly start: string; readonly end: string } | null {
  const newest = files.flatMap(({ maxTime }) => maxTime ?? []).map(millisecondsOf);
  if (newest.length === 0) return null;
  const endMs = newest.reduce((one, other) => Math.max(one, other)) + 1;
  const end = new Date(endMs).toISOString();
  if (lengthMs !== null) return { start: new Date(Math.max(FIRST_TIME_MS, endMs - lengthMs)).toISOString(), end };
  const oldestMs = files.flatMap(({ minTime }) => minTime ?? []).map(millisecondsOf);
  return { start: new Date(oldestMs.reduce((one, other) => Math.min(one, other), EPOCH_MS)).toISOString(), end };
}

/** Whether a file can have rows of the window, by its range of times. */
export function inWindow(file: Times, window: { readonly start: string; readonly end: string } | null): boolean {
  if (window === null || file.minTime === null || file.maxTime === null) return true;
  // A time of earlier releases that is none leaves nothing out: rows are asked one by one.
  return !(Date.parse(file.maxTime) < Date.parse(window.start) || Date.parse(file.minTime) >= Date.parse(window.end));
}
