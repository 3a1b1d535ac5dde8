/** Typed access to the columns of a row: what is stored is checked as it is read, not believed. */
import type { Row, Session, SqlValue } from './database.ts';

function wrong(row: Row, column: string, expected: string): never {
  throw new TypeError(`registry column ${column} holds ${JSON.stringify(row[column])}, not ${expected}`);
}

export function text(row: Row, column: string): string {
  const value = row[column];
  return typeof value === 'string' ? value : wrong(row, column, 'a text');
}

export function textOrNull(row: Row, column: string): string | null {
  return row[column] === null ? null : text(row, column);
}

export function int(row: Row, column: string): number {
  const value = row[column];
  return typeof value === 'number' ? value : wrong(row, column, 'a number');
}

/** What `SELECT count(*) AS n` gives. */
export async function count(db: Session, sql: string, ...values: readonly SqlValue[]): Promise<number> {
  const row = await db.get(sql, ...values);
  return row ? int(row, 'n') : 0;
}

export function intOrNull(row: Row, column: string): number | null {
  return row[column] === null ? null : int(row, column);
}

/** A value out of a closed list. */
export function oneOf<T extends string>(row: Row, column: string, values: readonly T[]): T {
  const value = row[column];
  return values.find((one) => one === value) ?? wrong(row, column, `one of ${values.join(', ')}`);
}

export function oneOfOrNull<T extends string>(row: Row, column: string, values: readonly T[]): T | null {
  return row[column] === null ? null : oneOf(row, column, values);
}

/** JSON that this adapter wrote itself from a value of type T. */
export function json<T>(row: Row, column: string): T {
  return JSON.parse(text(row, column)) as T;
}

/** One form for instants, so that texts sort as times do: publishers send offsets and any number of fraction digits. */
export function utc(time: string): string | undefined {
  const milliseconds = Date.parse(time);
  return Number.isNaN(milliseconds) ? undefined : new Date(milliseconds).toISOString();
}
