/**
 * One SQLite file that several processes open at once: durable, and never blocking the event loop for long. The connection has one
 * transaction at a time, so callers of this process take turns; SQLite's lock orders the processes.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseSync, type DatabaseSyncInstance, type StatementSyncInstance } from '@photostructure/sqlite';
import {
  backoffs,
  type Database,
  PATIENCE_MS,
  type Row,
  type Session,
  SessionEnd,
  type SqlValue,
  storable,
  Turns,
} from './database.ts';
import { RegistryError, RegistryLocked } from './errors.ts';

/** A longer wait inside SQLite would hold up the heartbeats of Kafka and Temporal: the rest of the wait is asynchronous. */
const BUSY_TIMEOUT_MS = 100;
const SQLITE_BUSY = 5;

function isBusy(error: unknown): boolean {
  return (
    error instanceof Error &&
    'errcode' in error &&
    typeof error.errcode === 'number' &&
    (error.errcode & 0xff) === SQLITE_BUSY
  );
}

export async function openSqlite(file: string): Promise<Database> {
  try {
    mkdirSync(dirname(file), { recursive: true });
    const database = new Sqlite(file, new DatabaseSync(file));
    try {
      await database.prepareFile();
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

class Sqlite implements Database {
  readonly dialect = 'sqlite';
  readonly #connection: DatabaseSyncInstance;
  readonly #statements = new Map<string, StatementSyncInstance>();
  readonly #turns = new Turns();
  #closed = false;

  constructor(
    readonly name: string,
    connection: DatabaseSyncInstance,
  ) {
    this.#connection = connection;
  }

  async prepareFile(): Promise<void> {
    const connection = this.#connection;
    // First of all: without it the switch to WAL fails at once while another process opens the same file.
    connection.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
    await this.#patiently(async () => connection.exec('PRAGMA journal_mode = WAL'));
    connection.exec('PRAGMA synchronous = FULL');
    connection.exec('PRAGMA foreign_keys = ON');
  }

  transaction<T>(body: (session: Session) => Promise<T>): Promise<T> {
    return this.#patiently(() => this.#within('BEGIN IMMEDIATE', body));
  }

  read<T>(body: (session: Session) => Promise<T>): Promise<T> {
    return this.#patiently(() => this.#within('BEGIN', body));
  }

  async close(): Promise<void> {
    const endTurn = await this.#turns.take();
    if (!this.#closed) {
      this.#closed = true;
      this.#statements.clear();
      this.#connection.close();
    }
    endTurn();
  }

  async #within<T>(begin: string, body: (session: Session) => Promise<T>): Promise<T> {
    const connection = this.#connection;
    const end = new SessionEnd();
    connection.exec(begin);
    try {
      const result = await body(this.#session(end));
      connection.exec('COMMIT');
      return result;
    } catch (error) {
      // SQLite has rolled back by itself after some errors, such as a full disk.
      if (connection.isTransaction) connection.exec('ROLLBACK');
      throw error;
    } finally {
      end.end();
    }
  }

  #session(end: SessionEnd): Session {
    const statement = (sql: string): StatementSyncInstance => {
      end.check();
      return this.#statement(sql);
    };
    const all = (sql: string, values: readonly SqlValue[]): readonly Row[] => {
      const rows: readonly Row[] = statement(sql).all(...values.map(storable));
      return rows;
    };
    const run = (sql: string, values: readonly SqlValue[]): number =>
      statement(sql).run(...values.map(storable)).changes;
    return {
      run: async (sql, ...values) => run(sql, values),
      get: async (sql, ...values) => statement(sql).get(...values.map(storable)) as Row | undefined,
      all: async (sql, ...values) => all(sql, values),
      runEach: async (sql, lists) => lists.map((values) => run(sql, values)),
      allEach: async (sql, lists) => lists.map((values) => all(sql, values)),
      exec: async (sql) => {
        end.check();
        this.#connection.exec(sql);
      },
    };
  }

  async #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    const started = performance.now();
    for (const backoffMs of backoffs()) {
      const endTurn = await this.#turns.take();
      try {
        if (this.#closed) throw new RegistryError(`the registry ${this.name} is closed`);
        return await attempt();
      } catch (error) {
        if (!isBusy(error)) throw this.#named(error);
        if (performance.now() - started > PATIENCE_MS) throw new RegistryLocked(this.name, PATIENCE_MS / 1000, error);
      } finally {
        endTurn();
      }
      // Not in its turn: readers are not held up by a writer that waits for another process.
      await sleep(backoffMs);
    }
    throw new Error('unreachable: waiting has no end of its own');
  }

  /** SQLite's own messages name no file: 'database or disk is full' helps only with one. */
  #named(error: unknown): unknown {
    if (!(error instanceof Error) || !('errcode' in error)) return error;
    return new RegistryError(`the registry ${this.name}: ${error.message}`, { cause: error });
  }

  #statement(sql: string): StatementSyncInstance {
    const known = this.#statements.get(sql);
    if (known) return known;
    const prepared = this.#connection.prepare(sql);
    this.#statements.set(sql, prepared);
    return prepared;
  }
}
