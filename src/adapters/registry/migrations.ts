/** The tables, as numbered migrations. One that has been released is never changed again: add the next. */
import type { Database } from './database.ts';
import { inDialect } from './dialect.ts';
import { RegistryError } from './errors.ts';
import { int } from './rows.ts';
import { FIFTH, FIRST, FOURTH, SECOND, SIXTH, THIRD } from './schema.ts';

const MIGRATIONS: readonly string[] = [FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH];

/** Brings the registry to the newest schema, in one transaction, so that of several processes one does it. */
export function migrate(database: Database): Promise<void> {
  return database.transaction(async (db) => {
    await db.exec(inDialect(database.dialect, 'CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)'));
    const row = await db.get('SELECT version FROM schema_version');
    const version = row ? int(row, 'version') : 0;
    if (version > MIGRATIONS.length) {
      throw new RegistryError(
        `the registry ${database.name} has schema version ${version}, this Refit knows ${MIGRATIONS.length}: it was written by a newer one; use that one, or another registry`,
      );
    }
    if (version === MIGRATIONS.length) return;
    for (const sql of MIGRATIONS.slice(version)) await db.exec(inDialect(database.dialect, sql));
    await db.run('DELETE FROM schema_version');
    await db.run('INSERT INTO schema_version (version) VALUES (?)', MIGRATIONS.length);
  });
}
