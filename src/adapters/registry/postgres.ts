/**
 * A schema of a Postgres server that several processes on several hosts use at once. Write transactions take one advisory lock, so they
 * follow one another as SQLite's do (decision 18); reads see one snapshot and wait for nobody. What the network loses is tried again, and a
 * commit whose answer was lost is asked for, not guessed.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
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
import { type PostgresAddress, postgresAddress } from './postgres-url.ts';

/** Of each process: one may write, the others read. */
const CONNECTIONS = 8;
const CONNECT_TIMEOUT_MS = 10_000;
const PROBE_TIMEOUT_MS = 5_000;
/** A writer that was stopped in the middle must not hold the lock for ever: the server ends its session. */
const IDLE_IN_TRANSACTION_MS = 60_000;
/** Longer than the server lets anything wait: what has no answer by then has lost its connection. */
const ANSWER_TIMEOUT_MS = 90_000;

const INT8 = 20;
const LOCK_NOT_AVAILABLE = '55P03';
const INVALID_PARAMETER = '22023';
/**
 * The last commit of each connection: whether it was carried out can be asked for after its answer was lost, for that connection makes no other.
 * A connection's row goes a day after its last commit.
 */
const MARKS =
  'CREATE TABLE IF NOT EXISTS last_commits (connection TEXT PRIMARY KEY, mark TEXT NOT NULL, at TIMESTAMPTZ NOT NULL)';
const MARK = `INSERT INTO last_commits (connection, mark, at) VALUES (?, ?, now())
  ON CONFLICT (connection) DO UPDATE SET mark = excluded.mark, at = excluded.at`;
const FORGET_MARKS = "DELETE FROM last_commits WHERE at < now() - interval '1 day'";
const AUTOCOMMIT_LOCK = 7_365_834_116;

/** First statement of every write, alone, so that each later one sees all that was committed before. The number is for a lost answer to COMMIT. */
const LOCK = `SELECT pg_current_xact_id()::text AS xid,
  pg_advisory_xact_lock(hashtextextended('refit registry ' || current_schema(), 0))::text`;

const SQLSTATE = /^[0-9A-Z]{5}$/;
/** Serialization failure, deadlock, connection exceptions, the server starts or ends, no free connection, session ended by its time limit. */
const PASSING = /^(40001|40P01|08...|57P0[1-5]|53300|25P0[34])$/;
/** Of those, the ones after which the connection still is one. */
const KEEPS_CONNECTION = /^40/;

/** Worth another attempt: nothing was decided, or nobody knows what was. */
class Passing extends Error {
  override readonly name = 'Passing';
  constructor(
    override readonly cause: Error,
    readonly connectionLost: boolean,
  ) {
    super(cause.message);
  }
}

/** The answer to COMMIT was lost. */
class CommitUnknown extends Error {
  override readonly name = 'CommitUnknown';
  constructor(
    readonly xid: string,
    readonly mark: string,
    readonly result: unknown,
    override readonly cause: Error,
  ) {
    super(cause.message);
  }
}

function sorted(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (error instanceof pg.DatabaseError || SQLSTATE.test(code))
    return PASSING.test(code) ? new Passing(error, !KEEPS_CONNECTION.test(code)) : error;
  // Asked again it would say the same.
  if (error.message.includes('does not support SSL')) return error;
  // The client's own errors have no code, those of the socket one of the system's.
  return new Passing(error, true);
}

interface Prepared {
  readonly name: string;
  readonly text: string;
}
const prepared = new Map<string, Prepared>();

/** `?` outside of texts becomes `$n`; each text is translated once and prepared once on each connection. */
function prepare(sql: string): Prepared {
  const known = prepared.get(sql);
  if (known) return known;
  let count = 0;
  const text = sql.replace(/'[^']*'|\?/g, (found) => {
    if (found !== '?') return found;
    count += 1;
    return `$${count}`;
  });
  const made = { name: `refit_${prepared.size + 1}`, text };
  prepared.set(sql, made);
  return made;
}

type Parser = (value: string) => unknown;
const types: pg.CustomTypesConfig = {
  // Counts and numbers of rows: far below 2^53.
  getTypeParser: (oid, format): Parser => (oid === INT8 ? Number : (pg.types.getTypeParser(oid, format) as Parser)),
};

export async function openPostgres(url: string): Promise<Database> {
  const address = postgresAddress(url);
  const database = new Postgres(address);
  try {
    await database.prepareSchema(address.schema);
    return database;
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** One connection, without waiting for a server that is away. */
export async function probePostgres(url: string): Promise<string> {
  const { name, connection } = postgresAddress(url);
  const client = new pg.Client({ ...connection, connectionTimeoutMillis: PROBE_TIMEOUT_MS });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ version: string }>("SELECT current_setting('server_version') AS version");
    return `Postgres ${rows[0]?.version ?? ''} at ${name}`;
  } catch (error) {
    throw new RegistryError(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    await client.end();
  }
}

type Body<T> = (session: Session) => Promise<T>;

class Postgres implements Database {
  readonly dialect = 'postgres';
  readonly name: string;
  readonly #pool: pg.Pool;
  readonly #turns = new Turns();
  readonly #known = new WeakSet<pg.PoolClient>();
  /** Those that have committed, by a name of their own. */
  readonly #writers = new WeakMap<pg.PoolClient, string>();
  #closed = false;

  constructor(address: PostgresAddress) {
    this.name = address.name;
    this.#pool = new pg.Pool({
      ...address.connection,
      pipeline: true,
      max: CONNECTIONS,
      types,
      keepAlive: true,
      application_name: 'refit',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      lock_timeout: PATIENCE_MS,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
      query_timeout: ANSWER_TIMEOUT_MS,
    });
    // An idle connection that breaks is replaced by the pool; what uses one sees its own error.
    this.#pool.on('error', () => undefined);
  }

  /** A schema that was named is made where it is missing, so that a new registry needs nothing but a database. */
  async prepareSchema(schema: string | null): Promise<void> {
    await this.#patiently(async () => {
      await this.#with(async (client) => {
        await this.#query(client, `SELECT pg_advisory_lock(${AUTOCOMMIT_LOCK})`);
        try {
          if (schema !== null) await this.#query(client, `CREATE SCHEMA IF NOT EXISTS "${schema}"`);
          await this.#query(client, MARKS);
        } finally {
          await this.#query(client, `SELECT pg_advisory_unlock(${AUTOCOMMIT_LOCK})`);
        }
      });
    });
  }

  transaction<T>(body: Body<T>): Promise<T> {
    return this.#patiently(async () => {
      // One connection of this process waits for the lock, the others are free to read.
      const endTurn = await this.#turns.take();
      try {
        return await this.#with((client) => this.#write(client, body));
      } finally {
        endTurn();
      }
    });
  }

  read<T>(body: Body<T>): Promise<T> {
    return this.#patiently(() =>
      this.#with((client) =>
        this.#within(client, body, async () => {
          await this.#query(client, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
          return null;
        }),
      ),
    );
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#pool.end();
  }

  #write<T>(client: pg.PoolClient, body: Body<T>): Promise<T> {
    return this.#within(client, body, async () => {
      const [, locked] = await Promise.all([
        this.#query(client, 'BEGIN ISOLATION LEVEL READ COMMITTED'),
        this.#query(client, prepare(LOCK)),
      ]);
      const [row] = locked.rows as readonly { readonly xid: string }[];
      return row?.xid ?? null;
    });
  }

  async #within<T>(client: pg.PoolClient, body: Body<T>, begin: () => Promise<string | null>): Promise<T> {
    const end = new SessionEnd();
    try {
      const xid = await begin();
      const result = await body(this.#session(client, end));
      end.end();
      await this.#commit(client, xid, result);
      return result;
    } catch (error) {
      end.end();
      if (!(error instanceof CommitUnknown) && !(error instanceof Passing && error.connectionLost))
        await this.#query(client, 'ROLLBACK');
      throw error;
    }
  }

  async #commit(client: pg.PoolClient, xid: string | null, result: unknown): Promise<void> {
    const mark = randomUUID();
    try {
      // Sent together, so that the mark costs no round trip.
      const marked = xid === null ? [] : this.#mark(client, mark);
      const [{ command }] = await Promise.all([this.#query(client, 'COMMIT'), ...marked]);
      // Postgres answers ROLLBACK to the COMMIT of a transaction in which a statement failed.
      if (command !== 'COMMIT') throw new Error(`the registry ${this.name} did not commit: ${command}`);
    } catch (error) {
      if (xid !== null && error instanceof Passing && error.connectionLost)
        throw new CommitUnknown(xid, mark, result, error.cause);
      throw error;
    }
  }

  #mark(client: pg.PoolClient, mark: string): readonly Promise<pg.QueryResult>[] {
    const known = this.#writers.get(client);
    const connection = known ?? randomUUID();
    this.#writers.set(client, connection);
    const marked = this.#query(client, prepare(MARK), [connection, mark]);
    return known === undefined ? [this.#query(client, FORGET_MARKS), marked] : [marked];
  }

  /**
   * True when the transaction was committed: then its mark is there. Its number alone would not tell: a server that crashed gives numbers again that
   * its log had not kept. Throws `Passing` while the transaction is under way on the server.
   */
  async #wasCommitted({ xid, mark }: CommitUnknown): Promise<boolean> {
    return this.#with(async (client) => {
      if ((await this.#statusOf(client, xid)) === 'in progress')
        throw new Passing(new Error(`transaction ${xid} is still in progress`), false);
      const found = await this.#query(client, prepare('SELECT 1 FROM last_commits WHERE mark = ?'), [mark]);
      return found.rows.length > 0;
    });
  }

  /** Null for a number that the server does not know. */
  async #statusOf(client: pg.PoolClient, xid: string): Promise<string | null> {
    try {
      const answer = await this.#query(client, prepare('SELECT pg_xact_status(?::xid8) AS status'), [xid]);
      return (answer.rows as readonly { readonly status: string | null }[])[0]?.status ?? null;
    } catch (error) {
      const isUnknown = error instanceof pg.DatabaseError && error.code === INVALID_PARAMETER;
      if (isUnknown && /in the future/.test(error.message)) return null;
      throw error;
    }
  }

  async #with<T>(use: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw sorted(error);
    });
    if (!this.#known.has(client)) {
      this.#known.add(client);
      // The statement under way rejects with it; without a listener it would end the process.
      client.on('error', () => undefined);
    }
    let broken: Error | undefined;
    try {
      return await use(client);
    } catch (error) {
      if (error instanceof CommitUnknown || (error instanceof Passing && error.connectionLost)) broken = error;
      throw error;
    } finally {
      client.release(broken);
    }
  }

  async #query(client: pg.PoolClient, query: string | Prepared, values?: SqlValue[]): Promise<pg.QueryResult> {
    try {
      return await (typeof query === 'string' ? client.query(query) : client.query({ ...query, values: values ?? [] }));
    } catch (error) {
      throw sorted(error);
    }
  }

  #session(client: pg.PoolClient, end: SessionEnd): Session {
    const query = async (sql: string, values: readonly SqlValue[]): Promise<pg.QueryResult> => {
      end.check();
      return this.#query(client, prepare(sql), values.map(storable));
    };
    const run = async (sql: string, values: readonly SqlValue[]) => (await query(sql, values)).rowCount ?? 0;
    const all = async (sql: string, values: readonly SqlValue[]) => (await query(sql, values)).rows as readonly Row[];
    return {
      run: (sql, ...values) => run(sql, values),
      get: async (sql, ...values) => (await all(sql, values))[0],
      all: (sql, ...values) => all(sql, values),
      // Written to the connection at once, answered in order: one round trip for all.
      runEach: (sql, lists) => Promise.all(lists.map((values) => run(sql, values))),
      allEach: (sql, lists) => Promise.all(lists.map((values) => all(sql, values))),
      exec: async (sql) => {
        end.check();
        await this.#query(client, sql);
      },
    };
  }

  async #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    const started = performance.now();
    let unknown: CommitUnknown | undefined;
    for (const backoffMs of backoffs()) {
      if (this.#closed) throw new RegistryError(`the registry ${this.name} is closed`);
      try {
        if (unknown && (await this.#wasCommitted(unknown))) return unknown.result as T;
        unknown = undefined;
        return await attempt();
      } catch (error) {
        if (error instanceof CommitUnknown) unknown = error;
        else if (!(error instanceof Passing)) throw this.#named(error);
        if (performance.now() - started > PATIENCE_MS) throw this.#named(error);
      }
      await sleep(backoffMs);
    }
    throw new Error('unreachable: waiting has no end of its own');
  }

  #named(error: unknown): unknown {
    if (error instanceof CommitUnknown)
      return new RegistryError(
        `the registry ${this.name}: the answer to a commit was lost (${error.message}), and it could not be asked for within ${PATIENCE_MS / 1000} s`,
        { cause: error.cause },
      );
    if (error instanceof Passing)
      return new RegistryError(
        `the registry ${this.name} has not answered for ${PATIENCE_MS / 1000} s: ${error.message}; nothing was changed`,
        { cause: error.cause },
      );
    if (!(error instanceof pg.DatabaseError)) return error;
    if (error.code === LOCK_NOT_AVAILABLE) return new RegistryLocked(this.name, PATIENCE_MS / 1000, error);
    return new RegistryError(`the registry ${this.name}: ${error.message}`, { cause: error });
  }
}
