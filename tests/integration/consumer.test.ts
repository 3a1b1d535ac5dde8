/** A consumer of Kafka under load and in trouble: what is handed over when, what is committed, what stands still, and what it says of itself. */
import { gzipSync } from 'node:zlib';
import kafkajs from 'kafkajs';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { createKafkaBus } from '../../src/adapters/kafka/bus.ts';
import { consumerProblem } from '../../src/gateway/health.ts';
import {
  type BusRecord,
  type EventBus,
  RecordTooLarge,
  type Settled,
  type SubscribeOptions,
  type Subscription,
} from '../../src/ports/bus.ts';
import { startProxy } from '../support/e2e-proxy.ts';
import { until } from '../support/e2e-refit.ts';
import {
  admin,
  kafka,
  logger,
  makeWorld,
  offsets,
  produce,
  TIMEOUT_MS,
  useGatewayWorlds,
  type World,
} from '../support/gateway-world.ts';

useGatewayWorlds();
const { CompressionCodecs, CompressionTypes } = kafkajs;

const open: { readonly stop: () => Promise<void> }[] = [];
afterAll(async () => {
  for (const one of open.toReversed()) await one.stop();
}, TIMEOUT_MS);

interface Setting {
  readonly world: World;
  readonly bus: EventBus;
}
async function setting(): Promise<Setting> {
  const world = await makeWorld();
  const bus = await createKafkaBus(world.settings.kafka, logger);
  await bus.ensureTopics();
  open.push({ stop: () => bus.close() });
  return { world, bus };
}
async function subscribe(
  bus: EventBus,
  options: Partial<SubscribeOptions> & Pick<SubscribeOptions, 'handle'>,
): Promise<Subscription> {
  const subscription = await bus.subscribe({
    group: 'gateway',
    topics: ['drift'],
    lingerMs: 0,
    concurrency: 8,
    ...options,
  });
  open.push(subscription);
  return subscription;
}
const joined = (subscription: Subscription): Promise<true> =>
  until('it has joined its group', () => (subscription.state().problem === null ? true : null), 120_000);
/** One that is in its group and takes whatever comes. */
async function collect(
  bus: EventBus,
  lingerMs = 0,
): Promise<{ readonly seen: string[]; readonly subscription: Subscription }> {
  const seen: string[] = [];
  const subscription = await subscribe(bus, {
    lingerMs,
    handle: async (records) => {
      seen.push(...records.map(textOf));
    },
  });
  await joined(subscription);
  return { seen, subscription };
}
/** Committed by partition, as the broker says. */
async function committed(world: World): Promise<ReadonlyMap<number, number>> {
  const [group] = await admin.fetchOffsets({ groupId: `${world.prefix}gateway`, topics: [`${world.prefix}drift`] });
  return new Map(group?.partitions.map((one) => [one.partition, Math.max(0, Number(one.offset))]));
}
async function send(world: World, partition: number, values: readonly string[]): Promise<void> {
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic: `${world.prefix}drift`, messages: values.map((value) => ({ value, partition })) });
  await producer.disconnect();
}
const numbers = (count: number, from = 0): readonly string[] =>
  Array.from({ length: count }, (_, index) => String(from + index));
const textOf = (record: BusRecord): string => record.value?.toString() ?? '';
const caughtUp = (world: World): Promise<true> =>
  until(
    'all is committed',
    async () => {
      // A topic that was made a moment ago may have no leader yet.
      const found = await offsets(world, 'drift').catch((error: unknown) => {
        if (error instanceof kafkajs.KafkaJSProtocolError && error.retriable) return null;
        throw error;
      });
      return (found !== null && found.committed === found.end && found.end > 0) || null;
    },
    120_000,
  );

describe('a consumer', () => {
  it(
    'gathers what comes within its linger, in order, and hands over at most 5,000 at once',
    async () => {
      const { world, bus } = await setting();
      const seen: (readonly string[])[] = [];
      const subscription = await subscribe(bus, {
        lingerMs: 5_000,
        handle: async (records) => {
          seen.push(records.map(textOf));
        },
      });
      await joined(subscription);
      const isInHand = () => subscription.state().partitions.some((one) => one.oldestAtMs !== null) || null;
      for (const [index, value] of numbers(5).entries()) {
        await produce(world, 'drift', [{ value }]);
        if (index === 0) await until('it waits for others', isInHand);
      }
      await caughtUp(world);
      expect(seen).toEqual([numbers(5)]);
      await produce(
        world,
        'drift',
        numbers(11_000, 5).map((value) => ({ value })),
      );
      await caughtUp(world);
      expect(seen.flat()).toEqual(numbers(11_005));
      expect(Math.max(...seen.map((one) => one.length))).toBe(5_000);
    },
    TIMEOUT_MS,
  );

  it(
    'holds the offset of a partition that cannot go on, names it, and goes on with the others',
    async () => {
      const { world, bus } = await setting();
      const seen: string[] = [];
      let isAway = true;
      const subscription = await subscribe(bus, {
        handle: async (records) => {
          if (isAway && records.some((one) => one.partition === 0)) throw new Error('the registry is away');
          seen.push(...records.map(textOf));
        },
      });
      await joined(subscription);
      await send(world, 0, ['held-1', 'held-2']);
      await send(world, 1, ['free-1']);
      await until('it was tried again', () => (subscription.state().retries > 2 ? true : null), 120_000);
      await send(world, 1, ['free-2']);
      await until('the other went on', () => (seen.includes('free-2') ? true : null), 120_000);
      const restsAt = (partition: number) =>
        subscription.state().partitions.find((one) => one.partition === partition)?.waitsSinceMs === null || null;
      await until('the other has committed', () => restsAt(1), 120_000);
      expect((await committed(world)).get(0)).toBe(0);
      const held = subscription.state().partitions.find((one) => one.partition === 0);
      expect(held).toMatchObject({ problem: 'offset 0: the registry is away', blocked: false });
      const later = (held?.waitsSinceMs ?? 0) + 31_000;
      expect(consumerProblem(subscription.state(), later)).toMatch(
        /^no progress on drift\/0 for 31 s \(offset 0: the registry is away\)$/,
      );
      isAway = false;
      await caughtUp(world);
      expect(seen.toSorted()).toEqual(['free-1', 'free-2', 'held-1', 'held-2']);
      expect(consumerProblem(subscription.state(), Date.now())).toBeNull();
    },
    TIMEOUT_MS,
  );

  it(
    'stops fetching for a partition that has too much in hand, and goes on when there is room',
    async () => {
      const { world, bus } = await setting();
      let open: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      let seen = 0;
      const subscription = await subscribe(bus, {
        handle: async (records) => {
          await gate;
          seen += records.length;
        },
      });
      await joined(subscription);
      const large = 'x'.repeat(200_000);
      for (let round = 0; round < 40; round += 1)
        await send(
          world,
          2,
          Array.from({ length: 4 }, () => large),
        );
      const state = () => subscription.state().partitions.find((one) => one.partition === 2);
      await until('it is paused', () => (state()?.paused ? true : null), 120_000);
      await until('its lag is known', () => ((state()?.lag ?? 0) === 160 ? true : null), 120_000);
      expect(seen).toBe(0);
      open();
      await caughtUp(world);
      expect(seen).toBe(160);
      expect(state()).toMatchObject({ paused: false, oldestAtMs: null });
    },
    TIMEOUT_MS,
  );

  it(
    'finishes and commits what is in hand when it is stopped, and leaves the rest to the next',
    async () => {
      const { world, bus } = await setting();
      const first: string[] = [];
      let entered = false;
      let open: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      const subscription = await subscribe(bus, {
        handle: async (records) => {
          entered = true;
          await gate;
          first.push(...records.map(textOf));
        },
      });
      await joined(subscription);
      await send(world, 3, numbers(11_000));
      await until('it has the first in hand', () => (entered ? true : null), 120_000);
      const stopping = subscription.stop();
      open();
      await stopping;
      expect((await committed(world)).get(3)).toBe(first.length);
      expect(first.length).toBeGreaterThan(0);
      expect(first.length).toBeLessThanOrEqual(5_000);
      const rest: string[] = [];
      await subscribe(bus, {
        handle: async (records) => {
          rest.push(...records.map(textOf));
        },
      });
      await caughtUp(world);
      expect([...first, ...rest]).toEqual(numbers(11_000));
    },
    TIMEOUT_MS,
  );

  it(
    'does not commit for a partition that was taken away while it was handled: the new owner handles it again',
    async () => {
      const { world, bus } = await setting();
      const other = await createKafkaBus(world.settings.kafka, logger);
      open.push({ stop: () => other.close() });
      let release: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => {
        release = resolve;
      });
      const byOld: string[] = [];
      const byNew: string[] = [];
      let inHand = 0;
      const old = await subscribe(bus, {
        handle: async (records) => {
          inHand += records.length;
          await gate;
          byOld.push(...records.map(textOf));
        },
      });
      await joined(old);
      const all = [0, 1, 2, 3];
      for (const partition of all) await send(world, partition, [`slow-${partition}`]);
      await until('all are in hand', () => (inHand === 4 ? true : null), 120_000);
      const next = await subscribe(other, {
        handle: async (records) => {
          byNew.push(...records.map(textOf));
        },
      });
      const owned = (subscription: Subscription) => subscription.state().partitions.map((one) => one.partition);
      await until(
        'the partitions are shared',
        () => (owned(next).length === 2 && owned(old).length === 2 ? true : null),
        120_000,
      );
      const taken = owned(next);
      for (const partition of all) await send(world, partition, [`later-${partition}`]);
      await until('the new owner is done', async () => {
        const done = await committed(world);
        return taken.every((partition) => done.get(partition) === 2) || null;
      });
      for (const partition of all)
        expect((await committed(world)).get(partition)).toBe(taken.includes(partition) ? 2 : 0);
      release();
      await caughtUp(world);
      // What the old one finished late did not move the offsets of the new one back, and what it kept it handled again.
      expect([...(await committed(world)).values()]).toEqual([2, 2, 2, 2]);
      expect(byNew.toSorted()).toEqual(taken.flatMap((one) => [`later-${one}`, `slow-${one}`]).toSorted());
      expect(byOld.filter((one) => one.startsWith('later')).toSorted()).toEqual(
        owned(old)
          .map((one) => `later-${one}`)
          .toSorted(),
      );
    },
    2 * TIMEOUT_MS,
  );

  it(
    'stands still at a batch that cannot be unpacked, alone in its partition, and says at which offset',
    async () => {
      const { world, bus } = await setting();
      const { seen, subscription } = await collect(bus);
      await send(world, 0, ['before']);
      const ours = CompressionCodecs[CompressionTypes.GZIP];
      CompressionCodecs[CompressionTypes.GZIP] = () => ({
        compress: async ({ buffer }: { buffer: Buffer }) => gzipSync(buffer),
      });
      const producer = kafka.producer();
      await producer.connect();
      // 40 MB of nothing are 40 kB on the wire: the broker takes them.
      await producer.send({
        topic: `${world.prefix}drift`,
        compression: CompressionTypes.GZIP,
        messages: [0, 1].map(() => ({ value: Buffer.alloc(20_000_000), partition: 0 })),
      });
      await producer.disconnect();
      CompressionCodecs[CompressionTypes.GZIP] = ours;
      await send(world, 0, ['behind']);
      await send(world, 1, ['elsewhere']);
      await until('it stands still', () => consumerProblem(subscription.state(), Date.now()), 120_000);
      expect(consumerProblem(subscription.state(), Date.now())).toMatch(
        /^drift\/0 stands still: the batch at offset 1: .*(larger|33554432).* \(it cannot be unpacked\)$/,
      );
      await until('the other goes on', () => (seen.includes('elsewhere') ? true : null), 120_000);
      expect(seen.toSorted()).toEqual(['before', 'elsewhere']);
      await until('what was before it is committed', async () => ((await committed(world)).get(0) === 1 ? true : null));
    },
    TIMEOUT_MS,
  );

  it(
    'that crashed is built anew and goes on where it was',
    async () => {
      const { world, bus } = await setting();
      const { seen, subscription } = await collect(bus);
      await send(world, 0, ['before']);
      await caughtUp(world);
      // Its topic goes away under it, and comes back: kafkajs gives up on it for good.
      await admin.deleteTopics({ topics: [`${world.prefix}drift`] });
      await until('it has crashed', () => (subscription.state().rebuilds > 0 ? true : null), 120_000);
      await until(
        'its topic is there again',
        () =>
          bus.ensureTopics().then(
            () => true as const,
            () => null,
          ),
        120_000,
      );
      await joined(subscription);
      await send(world, 1, ['after']);
      await until('it goes on', () => (seen.includes('after') ? true : null), 120_000);
    },
    3 * TIMEOUT_MS,
  );

  it.each([
    ['nothing is in hand', 0],
    ['what comes before them is still in hand', 2_000],
  ])(
    'passes over the marks that transactions leave, so that they are no lag: %s',
    async (_when, lingerMs) => {
      const { world, bus } = await setting();
      const { seen } = await collect(bus, lingerMs);
      const producer = kafka.producer({
        transactionalId: `${world.prefix}t`,
        idempotent: true,
        maxInFlightRequests: 1,
      });
      await producer.connect();
      for (const outcome of ['commit', 'abort'] as const) {
        const transaction = await producer.transaction();
        await transaction.send({ topic: `${world.prefix}drift`, messages: [{ value: outcome, partition: 0 }] });
        await transaction[outcome]();
      }
      await producer.disconnect();
      await caughtUp(world);
      expect(seen).toEqual(['commit']);
    },
    TIMEOUT_MS,
  );
});

describe('what is published a batch at a time', () => {
  it(
    'settles in order: one that the broker never takes is named, and those around it are there once',
    async () => {
      const { bus } = await setting();
      const texts = ['1', '2', 'large'.repeat(400_000), '4', '5'.repeat(600_000), '6'.repeat(600_000)];
      const answers: Settled[] = [];
      for (let rest = texts.map((value) => ({ key: 'one partition', value })); rest.length > 0; ) {
        const answer = await bus.publishFirst('drift', rest);
        answers.push(answer);
        rest = rest.slice(answer.settled);
      }
      expect(answers).toEqual([
        { settled: 2, refusal: null },
        { settled: 1, refusal: expect.stringMatching(/larger than the max/i) },
        { settled: 2, refusal: null },
        { settled: 1, refusal: null },
      ]);
      const { seen } = await collect(bus);
      await until('all are read', () => seen.length >= 5 || null, 120_000);
      expect(seen.map((text) => text[0])).toEqual(['1', '2', '4', '5', '6']);
    },
    TIMEOUT_MS,
  );

  it(
    'fits itself to a broker whose limit is lower than usual',
    async () => {
      const { world, bus } = await setting();
      await admin.alterConfigs({
        validateOnly: false,
        resources: [
          {
            type: kafkajs.ConfigResourceTypes.TOPIC,
            name: `${world.prefix}drift`,
            configEntries: [{ name: 'max.message.bytes', value: '2000' }],
          },
        ],
      });
      const large = { key: 'one partition', value: 'x'.repeat(5_000) };
      await until(
        'the broker knows its limit',
        async () => (await bus.publishFirst('drift', [large])).refusal,
        120_000,
      );
      let rest = ['a', 'b', 'c', 'd'].map((letter) => ({ key: 'one partition', value: letter.repeat(700) }));
      let calls = 0;
      for (; rest.length > 0; calls += 1) {
        const { settled, refusal } = await bus.publishFirst('drift', rest);
        expect(refusal).toBeNull();
        rest = rest.slice(settled);
      }
      expect(calls).toBe(2);
      // What must be kept in order is, too; and what the broker never takes is told as that, no outage.
      await bus.publish(
        'drift',
        ['e', 'f', 'g', 'h'].map((letter) => ({ key: 'one partition', value: letter.repeat(700) })),
      );
      await expect(bus.publish('drift', [large])).rejects.toBeInstanceOf(RecordTooLarge);
    },
    TIMEOUT_MS,
  );
});

describe('what is published while answers of Kafka are lost', () => {
  const numbered = (name: string, count: number) =>
    Array.from({ length: count }, (_, index) => ({ key: 'one partition', value: `${name}${index}` }));
  /** A bus behind a proxy, with a producer that has its number and its connections. */
  async function behindProxy() {
    const proxy = await startProxy(inject('kafkaBrokers'));
    const world = await makeWorld({ KAFKA_BROKERS: proxy.address });
    const bus = await createKafkaBus(world.settings.kafka, logger);
    await bus.ensureTopics();
    open.push({ stop: () => proxy.close() }, { stop: () => bus.close() });
    await bus.publish('drift', numbered('first', 1));
    return { proxy, world, bus };
  }
  /** All that stands in their partition, in order. */
  async function kept({ world, bus }: Setting): Promise<readonly string[]> {
    const ends = await admin.fetchTopicOffsets(`${world.prefix}drift`);
    const end = ends.reduce((sum, { high }) => sum + Number(high), 0);
    const { seen, subscription } = await collect(bus);
    await until('all are read', () => seen.length >= end || null, 30_000);
    await subscription.stop();
    return seen;
  }

  it(
    'is kept before it is acknowledged, whoever else sends meanwhile',
    async () => {
      const { proxy, world, bus } = await behindProxy();
      for (const round of ['a', 'b', 'c', 'd']) {
        proxy.hold('answers');
        const sends = [bus.publish('drift', numbered(`${round}-unknown`, 1))];
        await until('the broker has kept the first', () => proxy.held() > 0 || null);
        sends.push(
          bus.publish('drift', numbered(`${round}-next`, 1)),
          bus.publish('drift', numbered(`${round}-last`, 1)),
        );
        proxy.cut();
        await Promise.all(sends);
      }
      const wanted = ['a', 'b', 'c', 'd'].flatMap((round) => [`${round}-unknown0`, `${round}-next0`, `${round}-last0`]);
      expect(await kept({ world, bus })).toEqual(['first0', ...wanted]);
    },
    TIMEOUT_MS,
  );

  it(
    'and no longer than it is tried: what comes next is kept as well, and what is offered again is there once',
    async () => {
      const { proxy: first, world, bus } = await behindProxy();
      let proxy = first;
      /** They are kept, and nobody is told. */
      async function lose(records: ReturnType<typeof numbered>): Promise<void> {
        proxy.hold('answers');
        const sending = bus.publishFirst('drift', records);
        await until('the broker has kept them', () => proxy.held() > 0 || null);
        await proxy.close();
        await expect(sending).rejects.toThrow(/ECONNREFUSED|closed connection|connect/i);
        proxy = await startProxy(inject('kafkaBrokers'), Number(proxy.address.split(':')[1]));
        const current = proxy;
        open.push({ stop: () => current.close() });
      }
      await lose(numbered('lost', 1));
      await bus.publish('drift', numbered('as-many', 1));
      await lose(numbered('lost-too', 1));
      await bus.publish('drift', numbered('more', 2));
      const again = numbered('again', 2);
      await lose(again);
      expect(await bus.publishFirst('drift', again)).toEqual({ settled: 2, refusal: null });
      const texts = ['first0', 'lost0', 'as-many0', 'lost-too0', 'more0', 'more1', 'again0', 'again1'];
      expect(await kept({ world, bus })).toEqual(texts);
    },
    TIMEOUT_MS,
  );
});
