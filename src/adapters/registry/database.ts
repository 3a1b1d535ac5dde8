/**
 * What the registry needs of a database. The SQL text is shared: `?` for a value, ON CONFLICT, RETURNING. What differs between the dialects is in
 * `dialect.ts` (schema) and in the two implementations, `sqlite.ts` and `postgres.ts`.
 */
export type SqlValue = string | number | null;
export type Row = Readonly<Record<string, unknown>>;
export type Dialect = 'sqlite' | 'postgres';

/** One transaction: statements outside of one cannot be written. It ends with the body that it was given to. */
export interface Session {
  /** Number of rows changed. */
  run(sql: string, ...values: readonly SqlValue[]): Promise<number>;
  get(sql: string, ...values: readonly SqlValue[]): Promise<Row | undefined>;
  all(sql: string, ...values: readonly SqlValue[]): Promise<readonly Row[]>;
  /** One statement for each list of values, in order; with a server, sent together and not one after another. */
  runEach(sql: string, lists: readonly (readonly SqlValue[])[]): Promise<readonly number[]>;
  allEach(sql: string, lists: readonly (readonly SqlValue[])[]): Promise<readonly (readonly Row[])[]>;
  /** Statements without values, such as migrations. */
  exec(sql: string): Promise<void>;
}

export interface Database {
  readonly dialect: Dialect;
  /** For messages: a file, or a server's address without a password. */
  readonly name: string;
  /**
   * All or nothing, and one after another over all processes. Run again from its start when the database was locked or lost, so the body must do
   * nothing but use its session.
   */
  transaction<T>(body: (session: Session) => Promise<T>): Promise<T>;
  /** Several reads that see one state. */
  read<T>(body: (session: Session) => Promise<T>): Promise<T>;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

/** How long a lock or a lost server is waited for, from the call on. */
export const PATIENCE_MS = 30_000;
const BACKOFF_FIRST_MS = 5;
const BACKOFF_MOST_MS = 250;

/** Waiting times with jitter, or processes that met once meet again at every attempt. */
export function* backoffs(): Generator<number, never> {
  for (let backoffMs = BACKOFF_FIRST_MS; ; backoffMs = Math.min(backoffMs * 2, BACKOFF_MOST_MS))
    yield backoffMs * (0.5 + Math.random());
}

/** Postgres has no text with U+0000 in it; so that both say the same, its symbol stands for it in both. */
export const storable = (value: SqlValue): SqlValue =>
  typeof value === 'string' && value.includes('\0') ? value.replaceAll('\0', '\u2400') : value;

/** Callers of one process, one after another, in the order in which they came. */
export class Turns {
  #last: Promise<void> = Promise.resolve();

  /** Resolves when it is the caller's turn; what it gives ends that turn. */
  async take(): Promise<() => void> {
    const before = this.#last;
    let end = (): void => undefined;
    this.#last = new Promise((resolve) => {
      end = resolve;
    });
    await before;
    return end;
  }
}

/** A statement that comes after its transaction has ended would belong to another one. */
export class SessionEnd {
  #ended = false;
  end(): void {
    this.#ended = true;
  }
  check(): void {
    if (this.#ended) throw new Error('a statement came after the end of its transaction');
  }
}
