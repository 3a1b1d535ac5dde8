/** The publisher: sends until Kafka has acknowledged, and keeps a log on the disk of what it meant and what was acknowledged. */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import { type Planned, sha256 } from './plan.ts';

/** A line of JSON each, on the disk when `add` returns. */
export class DiskLog {
  readonly #file: number;
  constructor(path: string) {
    this.#file = openSync(path, 'a');
  }
  add(...lines: readonly object[]): void {
    if (lines.length === 0) return;
    writeSync(this.#file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    fsyncSync(this.#file);
  }
  close(): void {
    closeSync(this.#file);
  }
}

const TICK_MS = 200;

export interface Publishing {
  readonly done: Promise<void>;
  /** The rest at once, without the waits of the plan. */
  readonly hurry: () => void;
}

export function publish(
  records: readonly Planned[],
  { brokers, prefix, log }: { readonly brokers: readonly string[]; readonly prefix: string; readonly log: DiskLog },
): Publishing {
  const kafka = new Kafka({
    clientId: 'chaos',
    brokers: [...brokers],
    logLevel: logLevel.NOTHING,
    retry: { retries: 2 },
  });
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  const startedMs = Date.now();
  let hurried = false;

  async function send(due: readonly Planned[]): Promise<void> {
    for (const { value, ...meant } of due)
      log.add({
        ...meant,
        at: new Date().toISOString(),
        sha256: value === null ? null : sha256(Buffer.from(value, 'base64')),
      });
    for (const topic of new Set(due.map((one) => one.topic))) {
      const mine = due.filter((one) => one.topic === topic);
      const messages = mine.map((one) => ({
        key: one.key,
        value: one.value === null ? null : Buffer.from(one.value, 'base64'),
        headers: { 'chaos-n': String(one.n) },
      }));
      for (;;) {
        try {
          await producer.connect();
          await producer.send({ topic: prefix + topic, acks: -1, messages });
          break;
        } catch {
          // Kafka is away, as it is meant to be. What was taken but not acknowledged comes twice: a duplicate.
          await sleep(300);
        }
      }
      log.add(...mine.map(({ n }) => ({ acked: n })));
    }
  }

  const done = (async () => {
    let at = 0;
    while (at < records.length) {
      const elapsed = (Date.now() - startedMs) / 1_000;
      const due: Planned[] = [];
      for (
        let next = records[at];
        next && (hurried || next.atSeconds <= elapsed) && due.length < 200;
        next = records[at]
      ) {
        due.push(next);
        at += 1;
      }
      if (due.length > 0) await send(due);
      else await sleep(TICK_MS);
    }
    await producer.disconnect();
  })();
  return {
    done,
    hurry: () => {
      hurried = true;
    },
  };
}
