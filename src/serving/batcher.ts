/**
 * Joins the rows of concurrent requests, because a query for one row costs nearly as much as one for a hundred. There is no
 * timer: what arrives while a batch is computed is the next batch, so a lone request waits for nobody.
 */
import type { Rows } from '../ports/data.ts';

/** Rows in one batch, unless a single request has more. */
const BATCH_ROWS = 256;
/** Rows that may wait; more would only be answered after their callers have gone. */
const WAITING_ROWS = 50_000;

export interface BatchResult {
  readonly width: number;
  /** Row-major, of this request's rows. */
  readonly values: Float64Array;
  /** Time in features and model of the batch that had these rows. */
  readonly latencyMs: number;
}

interface Waiting {
  readonly rows: Rows;
  readonly count: number;
  readonly resolve: (result: BatchResult) => void;
  readonly reject: (error: unknown) => void;
}

export interface Batcher {
  run(rows: Rows, count: number): Promise<BatchResult>;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

type Compute = (rows: Rows, count: number) => Promise<{ readonly width: number; readonly values: Float64Array }>;

function joined(batch: readonly Waiting[], columns: readonly string[]): Rows {
  const [only] = batch;
  if (batch.length === 1 && only !== undefined) return only.rows;
  return Object.fromEntries(columns.map((name) => [name, batch.flatMap(({ rows }) => rows[name] ?? [])]));
}

export function createBatcher(compute: Compute, columns: readonly string[]): Batcher {
  let queue: Waiting[] = [];
  let waitingRows = 0;
  let busy: Promise<void> | null = null;

  const take = (): Waiting[] => {
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

  const runBatch = async (batch: readonly Waiting[]): Promise<void> => {
    const count = batch.reduce((sum, waiting) => sum + waiting.count, 0);
    const start = performance.now();
    try {
      const { width, values } = await compute(joined(batch, columns), count);
      const latencyMs = performance.now() - start;
      let row = 0;
      for (const waiting of batch) {
        waiting.resolve({ width, values: values.subarray(row * width, (row + waiting.count) * width), latencyMs });
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
