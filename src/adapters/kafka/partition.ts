/**
 * One partition while it is ours: what was fetched and not handled yet, in order, and how far it is. No I/O: the consumer drives it. Once it is
 * taken away it is `over` for good; what is in hand then is not committed any more.
 */
import type { TopicName } from '../../contracts/events.ts';
import type { BusRecord, PartitionState } from '../../ports/bus.ts';

/** Records handed over at once: bounds the transaction and the signals that they lead to. */
const CHUNK_RECORDS = 5_000;
const CHUNK_BYTES = 8_388_608;
/** In hand for one partition before no more is fetched; it goes on at half of it. */
const MAX_QUEUED_RECORDS = 15_000;
const MAX_QUEUED_BYTES = 16_777_216;
/** For each record, besides its value. */
const RECORD_BYTES = 200;

interface Queued {
  readonly record: BusRecord;
  readonly bytes: number;
  /** Where to go on once this one is handled: behind it, and behind what follows it in the batch and is no record of a publisher's. */
  readonly next: string;
  readonly arrivedAtMs: number;
}
export interface Chunk {
  readonly records: readonly BusRecord[];
  readonly next: string;
}

export class Partition {
  readonly #queue: Queued[] = [];
  #bytes = 0;
  /** Behind marks of transactions that follow what is in hand; null where there are none. */
  #passed: string | null = null;
  readonly #over = new AbortController();
  readonly #hurry = new AbortController();
  /** Set by the consumer; told by `state`. */
  paused = false;
  blocked = false;
  problem: string | null = null;
  /** When something was handled last, or there was nothing to handle. */
  progressAtMs: number;
  /** Since when there is lag, but nothing in hand and nothing fetched. */
  idleSinceMs: number | null = null;
  /** Resolves when its loop has ended. */
  settled: Promise<void> = Promise.resolve();
  isWorking = false;

  constructor(
    readonly topic: TopicName,
    readonly partition: number,
    nowMs: number,
  ) {
    this.progressAtMs = nowMs;
  }

  get isOver(): boolean {
    return this.#over.signal.aborted;
  }
  /** Aborted when its loop is not to sleep any more. */
  get hurry(): AbortSignal {
    return this.#hurry.signal;
  }
  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }
  get bytes(): number {
    return this.#bytes;
  }

  hurryUp(): void {
    this.#hurry.abort();
  }
  /** It is not ours any more. */
  release(): void {
    this.#over.abort();
    this.hurryUp();
  }

  push(records: readonly BusRecord[], next: string, nowMs: number): void {
    if (this.isEmpty) this.progressAtMs = nowMs;
    // These lie behind the marks.
    this.#passed = null;
    for (const [index, record] of records.entries()) {
      const bytes = (record.value?.length ?? 0) + (record.key?.length ?? 0) + RECORD_BYTES;
      const isLast = index === records.length - 1;
      this.#queue.push({
        record,
        bytes,
        next: isLast ? next : String(BigInt(record.offset) + 1n),
        arrivedAtMs: nowMs,
      });
      this.#bytes += bytes;
    }
  }

  passOver(next: string): void {
    this.#passed = next;
  }
  /** Where to go on behind marks, once nothing is in hand before them; null where there are none. */
  takePassed(): string | null {
    if (!this.isEmpty || this.isOver) return null;
    const passed = this.#passed;
    this.#passed = null;
    return passed;
  }

  /** What is handed over next, the oldest first; at least one record however large it is. */
  head(): Chunk {
    let bytes = 0;
    let count = 0;
    for (const one of this.#queue) {
      if (count > 0 && (count === CHUNK_RECORDS || bytes + one.bytes > CHUNK_BYTES)) break;
      bytes += one.bytes;
      count += 1;
    }
    const chunk = this.#queue.slice(0, count);
    return { records: chunk.map((one) => one.record), next: chunk.at(-1)?.next ?? '0' };
  }

  drop(count: number, nowMs: number): void {
    for (const { bytes } of this.#queue.splice(0, count)) this.#bytes -= bytes;
    this.progressAtMs = nowMs;
    this.problem = null;
  }

  /** Milliseconds that the oldest record should still wait for others; 0 when a chunk is full. */
  lingerMs(lingerMs: number, nowMs: number): number {
    const [oldest] = this.#queue;
    if (!oldest || this.#queue.length >= CHUNK_RECORDS || this.#bytes >= CHUNK_BYTES) return 0;
    return Math.max(0, oldest.arrivedAtMs + lingerMs - nowMs);
  }

  get isFull(): boolean {
    return this.#queue.length >= MAX_QUEUED_RECORDS || this.#bytes >= MAX_QUEUED_BYTES;
  }
  get hasRoom(): boolean {
    return this.#queue.length <= MAX_QUEUED_RECORDS / 2 && this.#bytes <= MAX_QUEUED_BYTES / 2;
  }

  state(lag: number | null): PartitionState {
    const [oldest] = this.#queue;
    const hasWork = !this.isEmpty || this.blocked;
    return {
      topic: this.topic,
      partition: this.partition,
      lag: lag ?? (this.isEmpty && !this.blocked ? null : this.#queue.length),
      oldestAtMs: oldest?.record.timestampMs ?? null,
      waitsSinceMs: hasWork ? this.progressAtMs : null,
      paused: this.paused,
      problem: this.problem,
      blocked: this.blocked,
    };
  }
}
