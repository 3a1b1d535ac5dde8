/** What the gateway tells Prometheus. */
import { setTimeout as delay } from 'node:timers/promises';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry as MetricsRegistry } from 'prom-client';
import type { SubscriptionState } from '../ports/bus.ts';
import type { DeliveryCounts, Receipt } from '../ports/registry/events.ts';
import type { Backlog } from './relay.ts';

export interface InboxMetrics {
  batch(receipts: readonly Receipt[], seconds: number): void;
  deadLetter(reason: string): void;
  signalled(kind: 'dataset' | 'model', keys: number): void;
}
export interface GatewayMetrics extends InboxMetrics {
  readonly contentType: string;
  /** The text that Prometheus reads. */
  text(): Promise<string>;
}
export interface MetricsSources {
  readonly consumers: () => Readonly<Record<string, SubscriptionState>>;
  readonly backlog: () => Backlog;
  readonly deliveryCounts: () => Promise<DeliveryCounts>;
  readonly now: () => Date;
}

/** Counting all deliveries reads all of them: it is not done for every scrape, and takes at most one part of the time in so many. */
const COUNTS_AGE_MS = 15_000;
const COUNTS_SHARE = 20;
/** How long a scrape waits for a count; then it tells the one before. */
const COUNTS_WAIT_MS = 1_000;

export function createMetrics(sources: MetricsSources): GatewayMetrics {
  const registers = [new MetricsRegistry()];
  const [metrics] = registers;
  if (!metrics) throw new Error('there is one register');
  collectDefaultMetrics({ register: metrics });
  const byPartition = ['group', 'topic', 'partition'] as const;
  const gauge = <T extends string>(name: string, help: string, labelNames: readonly T[]): Gauge<T> =>
    new Gauge({ name, help, labelNames: [...labelNames], registers });
  const counter = <T extends string>(name: string, help: string, labelNames: readonly T[]): Counter<T> =>
    new Counter({ name, help, labelNames: [...labelNames], registers });

  const lag = gauge('refit_consumer_lag', 'Records published and not handled yet', byPartition);
  const oldest = gauge('refit_consumer_oldest_seconds', 'Age of the oldest record in hand; 0 for none', byPartition);
  const paused = gauge('refit_consumer_paused', '1 while no more is fetched', byPartition);
  const problems = gauge('refit_consumer_problem', '1 while the consumer is not in its group', ['group']);
  const retries = gauge('refit_consumer_retries', 'Batches handed over again since the start', ['group']);
  const rebuilds = gauge('refit_consumer_rebuilds', 'Consumers built anew since the start', ['group']);
  const outboxRows = gauge('refit_outbox_rows', 'Outgoing events not sent yet, counted up to 500', []);
  const outboxOldest = gauge('refit_outbox_oldest_seconds', 'Age of the oldest outgoing event; 0 for none', []);
  const deliveries = gauge('refit_deliveries', 'Deliveries by fate', ['fate']);

  const batchRecords = new Histogram({
    name: 'refit_inbox_batch_records',
    help: 'Records handled at once',
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500],
    registers,
  });
  const batchSeconds = new Histogram({
    name: 'refit_inbox_batch_seconds',
    help: 'From a batch in hand to its signals, without the wait for an outage to end',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const taken = counter('refit_inbox_deliveries_total', 'Deliveries taken in, by what they were at once', ['fate']);
  const deadLetters = counter('refit_dead_letters_total', 'Dead letters by reason', ['reason']);
  const signals = counter('refit_signals_total', 'Messages to workflows', ['kind']);
  const keys = counter('refit_signalled_events_total', 'Events that these messages named', ['kind']);

  let countAgainMs = 0;
  let counting: Promise<void> | null = null;
  async function countDeliveries(): Promise<void> {
    const startedMs = sources.now().getTime();
    try {
      const { counts } = await sources.deliveryCounts();
      for (const [fate, count] of Object.entries(counts)) deliveries.set({ fate }, count);
      const endedMs = sources.now().getTime();
      countAgainMs = endedMs + Math.max(COUNTS_AGE_MS, (endedMs - startedMs) * COUNTS_SHARE);
    } catch {
      // The others are told also while the registry is away: that is when they are needed.
      deliveries.reset();
    } finally {
      counting = null;
    }
  }
  async function collectDeliveries(): Promise<void> {
    if (counting === null && sources.now().getTime() > countAgainMs) counting = countDeliveries();
    if (counting === null) return;
    const waiting = new AbortController();
    const waited = delay(COUNTS_WAIT_MS, undefined, { signal: waiting.signal, ref: false }).catch(() => undefined);
    await Promise.race([counting, waited]);
    waiting.abort();
  }
  function collectConsumers(): void {
    const nowMs = sources.now().getTime();
    // Partitions come and go with rebalances; what is not ours any more is not told.
    for (const one of [lag, oldest, paused]) one.reset();
    for (const [group, state] of Object.entries(sources.consumers())) {
      problems.set({ group }, state.problem === null ? 0 : 1);
      retries.set({ group }, state.retries);
      rebuilds.set({ group }, state.rebuilds);
      for (const { topic, partition, ...one } of state.partitions) {
        const labels = { group, topic, partition };
        if (one.lag !== null) lag.set(labels, one.lag);
        oldest.set(labels, one.oldestAtMs === null ? 0 : Math.max(0, nowMs - one.oldestAtMs) / 1000);
        paused.set(labels, one.paused ? 1 : 0);
      }
    }
    const { rows, oldestAt } = sources.backlog();
    outboxRows.set(rows);
    outboxOldest.set(oldestAt === null ? 0 : Math.max(0, nowMs - Date.parse(oldestAt)) / 1000);
  }

  return {
    contentType: metrics.contentType,
    batch(receipts, seconds) {
      batchRecords.observe(receipts.length);
      batchSeconds.observe(seconds);
      for (const { fate } of receipts) taken.inc({ fate: fate ?? 'received' });
    },
    deadLetter: (reason) => deadLetters.inc({ reason }),
    signalled(kind, count) {
      signals.inc({ kind });
      keys.inc({ kind }, count);
    },
    async text() {
      collectConsumers();
      await collectDeliveries();
      return metrics.metrics();
    },
  };
}
