/** Relays the outbox to Kafka: in order, at least once, under stable ids. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { EventBus } from '../ports/bus.ts';
import type { OutboxRegistry } from '../ports/registry/outbox.ts';

const BATCH = 500;
const IDLE_MS = 250;
const RETRY_MS = 1_000;

export interface Loop {
  readonly stop: () => Promise<void>;
}

/** Runs `step` again and again until stopped; `step` says whether there may be more to do at once, else it rests for `idleMs`. */
export function startLoop(name: string, logger: Logger, step: () => Promise<boolean>, idleMs = IDLE_MS): Loop {
  const controller = new AbortController();
  const { signal } = controller;
  // Rejects only when it is stopped, which the loop sees by itself. It also takes its listener off the signal each time.
  const sleep = (ms: number): Promise<void> => delay(ms, undefined, { signal }).catch(() => undefined);
  const running = (async () => {
    while (!signal.aborted) {
      try {
        if (!(await step())) await sleep(idleMs);
      } catch (error) {
        logger.warn({ err: error }, `${name} held back, trying again`);
        await sleep(RETRY_MS);
      }
    }
  })();
  return {
    stop: async () => {
      controller.abort();
      await running;
    },
  };
}

/** What is not sent yet, as the relay saw it last; it reads 500 at once. */
export interface Backlog {
  readonly rows: number;
  readonly oldestAt: string | null;
}
export interface Relay extends Loop {
  readonly backlog: () => Backlog;
}

/** Outgoing events are ours: each has its time. */
const timeOf = (event: string): string => (JSON.parse(event) as { readonly time: string }).time;

export function startRelay(
  registry: Pick<OutboxRegistry, 'outbox' | 'outboxPublished'>,
  bus: Pick<EventBus, 'publish'>,
  logger: Logger,
  now: () => Date,
): Relay {
  let backlog: Backlog = { rows: 0, oldestAt: null };
  const loop = startLoop('outbox relay', logger, async () => {
    const rows = await registry.outbox(BATCH);
    const [oldest] = rows;
    backlog = { rows: rows.length, oldestAt: oldest ? timeOf(oldest.event) : null };
    if (rows.length === 0) return false;
    for (const topic of new Set(rows.map((row) => row.topic))) {
      const records = rows
        .filter((row) => row.topic === topic)
        .map((row) => ({
          key: row.key,
          value: row.event,
          headers: { 'content-type': 'application/cloudevents+json; charset=UTF-8' },
        }));
      await bus.publish(topic, records);
    }
    await registry.outboxPublished(
      rows.map((row) => row.sequence),
      now().toISOString(),
    );
    return rows.length === BATCH;
  });
  return { ...loop, backlog: () => backlog };
}
