/** The window of a run. Pure. */
import type { DataFile } from '../contracts/data.ts';

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
