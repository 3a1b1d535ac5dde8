/** Reads metrics.jsonl while the trainer writes it. A line that is no finite measurement fails the training. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';

const lineSchema = z.object({ step: z.int().nonnegative(), name: z.string().min(1).max(128), value: z.number() });
type Measurement = z.infer<typeof lineSchema>;

export class MetricsTail {
  #seen = 0;
  #reading: Promise<void> | null = null;
  /** Newest value of each name. */
  readonly last: Record<string, number> = {};
  /** The first line that is no measurement, as `log`, and why. */
  problem: { readonly reason: string; readonly log: string } | null = null;

  constructor(
    readonly path: string,
    readonly onMetric: (metric: Measurement) => void,
  ) {}

  poll(): void {
    this.#reading ??= this.#read(false).finally(() => {
      this.#reading = null;
    });
  }

  async finish(): Promise<void> {
    await this.#reading;
    await this.#read(true);
  }

  async #read(isEnd: boolean): Promise<void> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (error) {
      // A trainer may have nothing to report (yet).
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.problem ??= { reason: `metrics.jsonl cannot be read: ${String(error)}`, log: '' };
      return;
    }
    const lines = text.split('\n');
    const complete = isEnd ? lines : lines.slice(0, -1);
    for (const line of complete.slice(this.#seen)) {
      this.#seen += 1;
      if (line.trim() !== '') this.#take(line);
    }
  }

  #refuse(line: string, why: string): void {
    this.problem ??= { reason: `metrics.jsonl line ${this.#seen} ${why}`, log: line.slice(0, 200) };
  }

  #take(line: string): void {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      this.#refuse(line, 'is not JSON (NaN and infinite values are not)');
      return;
    }
    const parsed = lineSchema.safeParse(value);
    if (!parsed.success) {
      this.#refuse(line, 'is not {step, name, value} with a finite value');
      return;
    }
    this.last[parsed.data.name] = parsed.data.value;
    this.onMetric(parsed.data);
  }
}
