/**
 * One SQLite file that several processes open at once: durable, typed at its edge, and never blocking the event loop for long.
 * The body of a transaction is synchronous, so that nothing of this process can come in between.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseSync, type DatabaseSyncInstance, type StatementSyncInstance } from '@photostructure/sqlite';
import { RegistryError, RegistryLocked } from './errors.ts';
import { migrate } from './migrations.ts';

export type SqlValue = string | number | null;
export type Row = Readonly<Record<string, unknown>>;

/** A longer wait inside SQLite would hold up the heartbeats of Kafka and Temporal: the rest of the wait is asynchronous. */
const BUSY_TIMEOUT_MS = 100;
const LOCK_PATIENCE_MS = 30_000;
const BACKOFF_FIRST_MS = 5;
const BACKOFF_MOST_MS = 250;
const SQLITE_BUSY = 5;

function isBusy(error: unknown): boolean {
  return (
    error instanceof Error &&
    'errcode' in error &&
    typeof error.errcode === 'number' &&
    (error.errcode & 0xff) === SQLITE_BUSY
  );
}

export class Database {
  readonly #connection: DatabaseSyncInstance;
  readonly #statements = new Map<string, StatementSyncInstance>();
  #closed = false;

  private constructor(
    readonly file: string,
    connection: DatabaseSyncInstance,
  ) {
    this.#connection = connection;
  }

  static async open(file: string): Promise<Database> {
    try {
      mkdirSync(dirname(file), { recursive: true });
      const database = new Database(file, new DatabaseSync(file));
      try {
        await database.#prepareFile();
      } catch (error) {
        await database.close();
        throw error;
      }
      return database;
    } catch (error) {
      if (error instanceof RegistryLocked || error instanceof RegistryError) throw error;
      throw new RegistryError(
        `the registry ${file} cannot be opened: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
  }

  async #prepareFile(): Promise<void> {
    const connection = this.#connection;
    // First of all: without it the switch to WAL fails at once while another process opens the same file.
    connection.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
    await this.#patiently(() => connection.exec('PRAGMA journal_mode = WAL'));
    connection.exec('PRAGMA synchronous = FULL');
    connection.exec('PRAGMA foreign_keys = ON');
    await this.transaction(() => migrate(this));
  }

  /** For statements without parameters, such as migrations. */
  exec(sql: string): void {
    this.#connection.exec(sql);
  }

  /** Number of rows changed. */
  run(sql: string, ...values: readonly SqlValue[]): number {
    return this.#statement(sql).run(...values).changes;
  }

  get(sql: string, ...values: readonly SqlValue[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined;
  }

  all(sql: string, ...values: readonly SqlValue[]): readonly Row[] {
    const rows: readonly Row[] = this.#statement(sql).all(...values);
    return rows;
  }

  /** All or nothing. Run again from its start when the file is locked, so it must do nothing but use this database. */
  transaction<T>(body: () => T): Promise<T> {
    return this.#patiently(() => this.#within('BEGIN IMMEDIATE', body));
  }

  /** Several reads that see one state. */
  read<T>(body: () => T): Promise<T> {
    return this.#patiently(() => this.#within('BEGIN', body));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#statements.clear();
    this.#connection.close();
  }

  #within<T>(begin: string, body: () => T): T {
    const connection = this.#connection;
    connection.exec(begin);
    try {
      const result = body();
      connection.exec('COMMIT');
      return result;
    } catch (error) {
      // SQLite has rolled back by itself after some errors, such as a full disk.
      if (connection.isTransaction) connection.exec('ROLLBACK');
      throw error;
    }
  }

  async #patiently<T>(attempt: () => T): Promise<T> {
    const started = performance.now();
    for (let backoffMs = BACKOFF_FIRST_MS; ; backoffMs = Math.min(backoffMs * 2, BACKOFF_MOST_MS)) {
      if (this.#closed) throw new RegistryError(`the registry ${this.file} is closed`);
      try {
        return attempt();
      } catch (error) {
        if (!isBusy(error)) throw this.#named(error);
        if (performance.now() - started > LOCK_PATIENCE_MS)
          throw new RegistryLocked(this.file, LOCK_PATIENCE_MS / 1000, error);
      }
      // Jitter, or processes that met once meet again at every attempt.
      await sleep(backoffMs * (0.5 + Math.random()));
    }
  }

  /** SQLite's own messages name no file: 'database or disk is full' helps only with one. */
  #named(error: unknown): unknown {
    if (!(error instanceof Error) || !('errcode' in error)) return error;
    return new RegistryError(`the registry ${this.file}: ${error.message}`, { cause: error });
  }

  #statement(sql: string): StatementSyncInstance {
    const known = this.#statements.get(sql);
    if (known) return known;
    const prepared = this.#connection.prepare(sql);
    this.#statements.set(sql, prepared);
    return prepared;
  }
}
