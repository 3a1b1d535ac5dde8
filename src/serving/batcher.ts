/**
 * Joins the rows of concurrent requests, because a query for one row costs nearly as much as one for a hundred. There is no
 * timer: what arrives while a batch is computed is the next batch, so a lone request waits for nobody.
 */
import type { Rows } from '../ports/data.ts';

/** Rows in one batch, unless a single request has more. */
const BATCH_ROWS = 256;
/** Rows that may wait; more would only be answered after their callers have gone. */
const WAITING_ROWS = 50_000;

export interface BatchResult<T> {
  /** Of this request's rows. */
  readonly value: T;
  /** Time that the batch which had these rows took. */
  readonly latencyMs: number;
}

export interface Stage<T> {
  readonly compute: (rows: Rows, count: number) => Promise<T>;
  /** The part of a result that belongs to rows from..to. */
  readonly slice: (result: T, from: number, to: number) => T;
  readonly columns: readonly string[];
}

interface Waiting<T> {
  readonly rows: Rows;
  readonly count: number;
  readonly resolve: (result: BatchResult<T>) => void;
  readonly reject: (error: unknown) => void;
}

export interface Batcher<T> {
  run(rows: Rows, count: number): Promise<BatchResult<T>>;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

function joined<T>(batch: readonly Waiting<T>[], columns: readonly string[]): Rows {
  const [only] = batch;
  if (batch.length === 1 && only !== undefined) return only.rows;
  return Object.fromEntries(columns.map((name) => [name, batch.flatMap(({ rows }) => rows[name] ?? [])]));
}

export function createBatcher<T>({ compute, slice, columns }: Stage<T>): Batcher<T> {
  let queue: Waiting<T>[] = [];
  let waitingRows = 0;
  let busy: Promise<void> | null = null;

  const take = (): Waiting<T>[] => {
    let rows = 0;
    let end = 0;
    for (const waiting of queue) {
      if (end > 0 && rows + waiting.count > BATCH_ROWS) break;
      rows += waiting.count;
      end += 1;
    }
    const batch = queue.slice(0, end);
    queue = queue.slice(end);
    waitingRows -= rows;
    return batch;
  };

  const runBatch = async (batch: readonly Waiting<T>[]): Promise<void> => {
    const count = batch.reduce((sum, waiting) => sum + waiting.count, 0);
    const start = performance.now();
    try {
      const result = await compute(joined(batch, columns), count);
      const latencyMs = performance.now() - start;
      let row = 0;
      for (const waiting of batch) {
        waiting.resolve({ value: batch.length === 1 ? result : slice(result, row, row + waiting.count), latencyMs });
        row += waiting.count;
      }
    } catch (error) {
      if (batch.length === 1) batch[0]?.reject(error);
      // One request's row may be at fault: the others must not fail with it.
      else for (const waiting of batch) await runBatch([waiting]);
    }
  };

  const drain = async (): Promise<void> => {
    // Requests of the same turn of the event loop join the first batch.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (queue.length > 0) await runBatch(take());
    busy = null;
  };

  return {
    run: (rows, count) =>
      new Promise((resolve, reject) => {
        if (waitingRows + count > WAITING_ROWS) {
          reject(new Error(`overloaded: ${waitingRows} rows wait already`));
          return;
        }
        waitingRows += count;
        queue.push({ rows, count, resolve, reject });
        busy ??= drain();
      }),
    async idle() {
      while (busy !== null) await busy;
    },
  };
}
