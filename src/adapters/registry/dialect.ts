/** The schema in the words of each dialect. It is written in SQLite's; what Postgres says differently is all here. */
import type { Dialect } from './database.ts';

const POSTGRES: readonly (readonly [RegExp, string])[] = [
  [/\bWITHOUT ROWID\b/g, ''],
  // Both only grow, and never give a number again.
  [/\bINTEGER PRIMARY KEY AUTOINCREMENT\b/g, 'BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY'],
  [/\bINTEGER\b/g, 'BIGINT'],
  [/\bREAL\b/g, 'DOUBLE PRECISION'],
  // Order by bytes, as SQLite's, whatever the locale of the server.
  [/\bTEXT\b/g, 'TEXT COLLATE "C"'],
  [/(?<!")\boffset\b(?!")/g, '"offset"'],
];

export const inDialect = (dialect: Dialect, schema: string): string =>
  dialect === 'sqlite' ? schema : POSTGRES.reduce((sql, [from, to]) => sql.replace(from, to), schema);
