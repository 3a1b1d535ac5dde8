/**
 * The prediction log: a bounded buffer between answers and the publisher. A slow or absent publisher costs log rows, which
 * are counted, and never an answer; nor does a row that the publisher can never take hold up those behind it.
 */
import type { Prediction } from '../contracts/events.ts';
import type { ServingRole } from '../contracts/values.ts';
import type { OutgoingRecord } from '../ports/bus.ts';
import type { Rows } from '../ports/data.ts';
import { messageOf, type PredictionPublisher } from './ports.ts';
import type { InferenceRequest } from './tensors.ts';

/** One answer or failure of a version for all rows of a request. */
export interface LogEntry {
  readonly model: string;
  readonly version: number;
  readonly deployment: number;
  readonly role: ServingRole;
  readonly requestId: string;
  readonly request: InferenceRequest;
  readonly time: Date;
  readonly width: number;
  /** Empty for a failure. */
  readonly values: Float64Array;
  /** What joins looked up; left out for a failure. */
  readonly lookedUp?: Rows;
  readonly latencyMs: number;
  readonly error?: string;
  /** Called with the rows that had to be dropped. */
  readonly dropped: (rows: number) => void;
}

const FLUSH_INTERVAL_MS = 100;
const FLUSH_ROWS = 1_000;
/** Of rows that are ready to be published, about so much is in memory beside the entries. */
const FLUSH_BYTES = 1_000_000;
const RETRY_MS = 500;

interface Ready {
  readonly record: OutgoingRecord;
  readonly entry: LogEntry;
}

export interface PredictionLog {
  add(entry: LogEntry): void;
  readonly waitingRows: () => number;
  /** Publishes what waits, or gives up after the time. */
  close(timeoutMs: number): Promise<void>;
}

function rowsOf(entry: LogEntry): Prediction[] {
  const { request, width, values } = entry;
  const columns = Object.entries({ ...request.rows, ...entry.lookedUp });
  const common = {
    model: entry.model,
    version: entry.version,
    deployment: entry.deployment,
    role: entry.role,
    requestId: entry.requestId,
    time: entry.time.toISOString(),
    latencyMs: Math.round(entry.latencyMs * 1_000) / 1_000,
    ...(entry.error === undefined ? {} : { error: entry.error }),
  };
  return Array.from({ length: request.count }, (_, row): Prediction => {
    const id = request.ids[row];
    return {
      ...common,
      row,
      ...(id === undefined ? {} : { id }),
      source: Object.fromEntries(columns.map(([name, column]) => [name, column[row] ?? null])),
      output: Array.from(values.subarray(row * width, (row + 1) * width)),
    };
  });
}

export function createPredictionLog(
  publisher: PredictionPublisher,
  capacityRows: number,
  onProblem: (problem: string, error: unknown) => void,
): PredictionLog {
  let entries: LogEntry[] = [];
  /** Rows of entries that have left the buffer. They stay until they are settled: what is offered again is the same record. */
  let ready: Ready[] = [];
  let waiting = 0;
  let stopping = false;
  let wake: (() => void) | null = null;

  const pause = (milliseconds: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const makeReady = (): void => {
    let end = 0;
    for (let bytes = 0; end < entries.length && ready.length < FLUSH_ROWS && bytes < FLUSH_BYTES; end += 1) {
      const entry = entries[end];
      if (entry === undefined) break;
      for (const row of rowsOf(entry)) {
        const record = publisher.recordOf(row);
        bytes += record.value?.length ?? 0;
        ready.push({ record, entry });
      }
    }
    entries = entries.slice(end);
  };

  const flush = async (): Promise<void> => {
    for (;;) {
      if (ready.length === 0) makeReady();
      if (ready.length === 0) return;
      const { settled, refusal } = await publisher.publish(ready.map(({ record }) => record));
      // Rows leave the buffer, and free its space, only once they are settled.
      const done = ready.slice(0, settled);
      ready = ready.slice(settled);
      waiting -= done.length;
      if (refusal === null) continue;
      for (const { entry } of done) entry.dropped(1);
      const models = [...new Set(done.map(({ entry }) => entry.model))].join(', ');
      onProblem(`${done.length} predictions of ${models} are not logged: ${refusal}`, refusal);
    }
  };

  const loop = async (): Promise<void> => {
    while (!stopping || ready.length + entries.length > 0) {
      try {
        await flush();
        if (!stopping) await pause(FLUSH_INTERVAL_MS);
      } catch (error) {
        onProblem(`predictions cannot be published, ${waiting} rows wait: ${messageOf(error)}`, error);
        await pause(RETRY_MS);
      }
    }
  };
  const running = loop();

  return {
    add(entry) {
      const { count } = entry.request;
      if (waiting + count > capacityRows) {
        entry.dropped(count);
        return;
      }
      entries.push(entry);
      waiting += count;
    },
    waitingRows: () => waiting,
    async close(timeoutMs) {
      stopping = true;
      wake?.();
      let timer: NodeJS.Timeout | undefined;
      const gaveUp = new Promise<void>((resolve) => {
        timer = setTimeout(() => {
          for (const { entry } of ready) entry.dropped(1);
          for (const entry of entries) entry.dropped(entry.request.count);
          ready = [];
          entries = [];
          resolve();
        }, timeoutMs);
      });
      await Promise.race([running, gaveUp]);
      clearTimeout(timer);
    },
  };
}
