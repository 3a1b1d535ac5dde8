/** How a rejection of data reads, wherever it was found: 'data rejected', the check, the column, examples. Pure. */
import type { CheckFailure } from '../contracts/data.ts';

type Finding = Pick<CheckFailure, 'check' | 'column' | 'detail' | 'examples'>;

export function rejection({ check, column, detail, examples }: Finding): string {
  const where = column === null ? '' : ` in column ${column}`;
  const shown = examples.length > 0 ? `, for example ${examples.slice(0, 3).join('; ')}` : '';
  return `data rejected: ${check}${where}: ${detail}${shown}`;
}

/** Null where nothing blocks. The first finding in full, the others by name. */
export function blockingRejection(failures: readonly CheckFailure[]): string | null {
  const [first, ...others] = failures.filter((failure) => failure.severity === 'block');
  if (!first) return null;
  const more = others.length > 0 ? ` (and ${others.length} more: ${others.map((one) => one.check).join(', ')})` : '';
  return rejection(first) + more;
}

const LAST_LINES = '; its last lines:\n';
/** What a program wrote last before it failed: like examples these may be values of rows, or secrets. */
export const withLastLines = (text: string, lines: string): string => (lines === '' ? text : text + LAST_LINES + lines);

/**
 * The same sentence without its examples and last lines, which may name a person. An audit chain and events that were sent cannot forget, so
 * only this goes there.
 */
export const withoutExamples = (text: string): string =>
  (text.split(LAST_LINES)[0] ?? '').replace(/, for example .*?(?=$| \(and \d+ more: [^)]*\)$)/s, '');

/** Whether a text has one of the ids in it. */
export const namesAny = (text: string, ids: ReadonlySet<string>): boolean => [...ids].some((id) => text.includes(id));
