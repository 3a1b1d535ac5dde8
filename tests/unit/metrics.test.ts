/** What the gateway tells Prometheus while its registry is slow: a scrape waits for nobody, and nothing is counted more often than that takes. */
import { expect, it } from 'vitest';
import { createMetrics } from '../../src/gateway/metrics.ts';
import type { DeliveryCounts } from '../../src/ports/registry/events.ts';

it('a count that takes long holds no scrape up, runs once, and rests twenty times as long', async () => {
  const waiting: ((counts: DeliveryCounts) => void)[] = [];
  let nowMs = 1_000_000;
  const metrics = createMetrics({
    consumers: () => ({}),
    backlog: () => ({ rows: 7, oldestAt: null }),
    deliveryCounts: () => new Promise((resolve) => waiting.push(resolve)),
    now: () => new Date(nowMs),
  });
  const counts = { acted_on: 3, coalesced: 0, duplicate: 0, refused: 0, ignored: 0, dead_lettered: 0, held: 0 };
  const finish = () => waiting.shift()?.({ published: 3, counts: { ...counts, received: 0 } });

  for (const _scrape of [1, 2]) expect(await metrics.text()).toContain('refit_outbox_rows 7');
  expect(waiting).toHaveLength(1);
  nowMs += 10_000;
  const scraped = metrics.text();
  finish();
  expect(await scraped).toContain('refit_deliveries{fate="acted_on"} 3');
  nowMs += 199_000;
  await metrics.text();
  expect(waiting).toHaveLength(0);
  nowMs += 2_000;
  const next = metrics.text();
  expect(waiting).toHaveLength(1);
  finish();
  await next;
});
