/** Durations as users write them: a whole number and a unit, `90s`, `10m`, `6h`, `7d` (`250ms` for tests and demos). */
import { z } from 'zod';

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Milliseconds of a duration text, or undefined when the text is none. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
  if (!match) return undefined;
  return Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS];
}

export const durationSchema = z
  .string()
  .refine((text) => parseDurationMs(text) !== undefined, 'a duration such as 90s, 10m, 6h or 7d')
  .meta({ description: 'Whole number and unit: 90s, 10m, 6h, 7d' });

/** Milliseconds of a duration that its schema has accepted. */
export function durationMs(text: string): number {
  const value = parseDurationMs(text);
  if (value === undefined)
    throw new Error(`'${text}' is no duration; write a number and a unit, such as 90s, 10m, 6h or 7d`);
  return value;
}
