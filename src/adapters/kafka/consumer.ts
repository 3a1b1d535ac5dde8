/**
 * A consumer of a group. Fetching and handling are apart: what kafkajs fetches is queued by partition, so that its loop goes on to send
 * heartbeats and to fetch for the other partitions while a handler works or waits for an outage to end. Offsets are committed by hand, after the
 * handler has resolved. A consumer that crashed, or stands still without a word, is built anew.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Admin, Consumer, EachBatchPayload, Kafka } from 'kafkajs';
import type { Logger } from 'pino';
import type { TopicName } from '../../contracts/events.ts';
import type { SubscribeOptions, Subscription } from '../../ports/bus.ts';
import { unpackProblem } from './codecs.ts';
import { limiter } from './limiter.ts';
import { Partition } from './partition.ts';
import { busRecord } from './records.ts';

const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 5_000;
/** How long a fetch waits for the first record; also how often an idle consumer looks. */
const FETCH_WAIT_MS = 500;
const SESSION_MS = 10_000;
const HEARTBEAT_MS = 2_000;
/** Fetches follow one another within a second, a rejoin takes seconds. Longer than this, the loop is dead, whatever it says. */
const SILENT_MS = 60_000;
const WATCH_MS = 5_000;
/** What may take this long at the end; the rest stays uncommitted and is read again. */
const DRAIN_MS = 10_000;
/** In hand over all partitions before those that have something are not fetched any more. */
const MAX_TOTAL_BYTES = 67_108_864;

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export async function startConsumer(
  kafka: Kafka,
  topicPrefix: string,
  { group, topics, lingerMs, concurrency, handle }: SubscribeOptions,
  logger: Logger,
): Promise<Subscription> {
  const groupId = topicPrefix + group;
  const stopping = new AbortController();
  const inSlot = limiter(concurrency);
  let partitions = new Map<string, Partition>();
  let lags = new Map<string, number>();
  let consumer: Consumer | null = null;
  let problem: string | null = 'has not joined its group yet';
  let problemSinceMs: number | null = Date.now();
  let fetchedAtMs = Date.now();
  let retries = 0;
  let rebuilds = 0;
  let rebuilding: Promise<void> | null = null;

  const isStopping = (): boolean => stopping.signal.aborted;
  const keyOf = (topic: string, partition: number): string => `${topic}/${partition}`;
  /** Rejects only when it is aborted, which the callers look at themselves. */
  const sleep = (ms: number, signal: AbortSignal = stopping.signal): Promise<void> =>
    delay(ms, undefined, { signal }).catch(() => undefined);
  const fails = (why: string): void => {
    problem = why;
    problemSinceMs ??= Date.now();
  };

  /** Everything that is in hand is forgotten: it is not committed, so it is read again, by us or by the new owner. */
  function release(): readonly Partition[] {
    const before = [...partitions.values()];
    for (const one of before) one.release();
    partitions = new Map();
    return before;
  }

  function setPaused(owner: Consumer, partition: Partition, paused: boolean): void {
    if (partition.paused === paused) return;
    partition.paused = paused;
    const place = [{ topic: topicPrefix + partition.topic, partitions: [partition.partition] }];
    if (paused) owner.pause(place);
    else owner.resume(place);
  }

  const totalBytes = (): number => [...partitions.values()].reduce((sum, one) => sum + one.bytes, 0);

  function applyBackpressure(owner: Consumer): void {
    const isTooMuch = totalBytes() > MAX_TOTAL_BYTES;
    for (const one of partitions.values()) {
      if (one.isFull || (isTooMuch && !one.isEmpty)) setPaused(owner, one, true);
      else if (!one.blocked && one.hasRoom && (!isTooMuch || one.isEmpty)) setPaused(owner, one, false);
    }
  }

  async function commit(owner: Consumer, partition: Partition, next: string): Promise<void> {
    await owner.commitOffsets([{ topic: topicPrefix + partition.topic, partition: partition.partition, offset: next }]);
  }

  /** Where nothing is in hand before them, marks that were passed over are done with. */
  async function commitPassed(owner: Consumer, partition: Partition): Promise<void> {
    const next = partition.takePassed();
    if (next === null) return;
    try {
      await commit(owner, partition, next);
    } catch (error) {
      logger.debug({ err: error }, 'the end of a transaction was not committed; the next batch will do it');
    }
  }

  /** Hands over the oldest chunk once. False when it has to come again. */
  async function handleHead(owner: Consumer, partition: Partition): Promise<boolean> {
    const { records, next } = partition.head();
    const [first] = records;
    if (!first) return true;
    try {
      const isHandled = await inSlot(async () => {
        if (partition.isOver || isStopping()) return false;
        await handle(records);
        return true;
      });
      if (!isHandled || partition.isOver) return false;
      // Only now: an offset that is committed before its effect is durable loses the event with the next crash.
      await commit(owner, partition, next);
    } catch (error) {
      if (partition.isOver) return false;
      retries += 1;
      partition.problem = `offset ${first.offset}: ${textOf(error)}`;
      logger.warn(
        { err: error, topic: partition.topic, partition: partition.partition, offset: first.offset },
        'records held back, trying again',
      );
      return false;
    }
    partition.drop(records.length, Date.now());
    applyBackpressure(owner);
    await commitPassed(owner, partition);
    return true;
  }
  async function drain(owner: Consumer, partition: Partition): Promise<void> {
    let waitMs = RETRY_MIN_MS;
    while (!partition.isEmpty && !partition.isOver && !isStopping()) {
      const lingers = partition.lingerMs(lingerMs, Date.now());
      if (lingers > 0) {
        await sleep(lingers, partition.hurry);
        continue;
      }
      if (await handleHead(owner, partition)) {
        waitMs = RETRY_MIN_MS;
      } else {
        // An outage is waited for, not dead-lettered.
        await sleep(waitMs, partition.hurry);
        waitMs = Math.min(waitMs * 2, RETRY_MAX_MS);
      }
    }
  }

  function wake(owner: Consumer, partition: Partition): void {
    if (partition.isWorking) return;
    partition.isWorking = true;
    partition.settled = partition.settled
      .then(() => drain(owner, partition))
      .finally(() => {
        partition.isWorking = false;
      });
  }

  /** What kafkajs fetched is queued; it goes on fetching behind it, without anything being committed. */
  function take(owner: Consumer, { batch, resolveOffset }: EachBatchPayload): void {
    const partition = partitions.get(keyOf(batch.topic, batch.partition));
    const last = batch.messages.at(-1);
    if (!partition || !last || partition.isOver || partition.blocked || isStopping()) return;
    const wrongAt = batch.messages.findIndex((message) => unpackProblem(message) !== undefined);
    const wrong = batch.messages[wrongAt];
    const messages = wrong ? batch.messages.slice(0, wrongAt) : batch.messages;
    const records = messages.map((message) => busRecord(partition.topic, partition.partition, message));
    const lastTaken = records.at(-1);
    if (lastTaken) {
      const behind = wrong ? lastTaken.offset : batch.lastOffset();
      partition.push(records, String(BigInt(behind) + 1n), Date.now());
      resolveOffset(lastTaken.offset);
      wake(owner, partition);
    }
    if (wrong) {
      partition.blocked = true;
      partition.problem = `the batch at ${unpackProblem(wrong)} (it cannot be unpacked)`;
      setPaused(owner, partition, true);
      logger.error(
        { topic: partition.topic, partition: partition.partition, problem: partition.problem },
        'a batch cannot be unpacked; its partition stands still',
      );
    }
    applyBackpressure(owner);
  }

  async function build(): Promise<void> {
    const next = kafka.consumer({
      groupId,
      allowAutoTopicCreation: false,
      sessionTimeout: SESSION_MS,
      heartbeatInterval: HEARTBEAT_MS,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      minBytes: 1,
      // kafkajs's own restart is known to stop silently; a new consumer is built here instead.
      retry: { initialRetryTime: 100, maxRetryTime: 5_000, retries: 8, restartOnFailure: () => Promise.resolve(false) },
    });
    consumer = next;
    const isCurrent = (): boolean => consumer === next && !isStopping();
    next.on(next.events.FETCH, () => {
      fetchedAtMs = Date.now();
    });
    next.on(next.events.CRASH, ({ payload }) => {
      if (!isCurrent()) return;
      logger.error({ err: payload.error, group }, 'consumer crashed, building it anew');
      rebuild(`crashed: ${payload.error.message}`);
    });
    next.on(next.events.GROUP_JOIN, ({ payload }) => {
      if (!isCurrent()) return;
      const before = new Map(release().map((one) => [keyOf(topicPrefix + one.topic, one.partition), one]));
      for (const [topic, assigned] of Object.entries(payload.memberAssignment)) {
        for (const number of assigned) {
          const name = topic.slice(topicPrefix.length) as TopicName;
          const fresh = new Partition(name, number, Date.now());
          // What its loop before has in hand comes to its end first: two of them would mix up the order.
          fresh.settled = before.get(keyOf(topic, number))?.settled ?? Promise.resolve();
          partitions.set(keyOf(topic, number), fresh);
        }
        next.resume([{ topic, partitions: assigned }]);
      }
      fetchedAtMs = Date.now();
      problem = null;
      problemSinceMs = null;
    });
    next.on(next.events.END_BATCH_PROCESS, ({ payload }) => {
      // Marks of transactions have offsets too. Where nothing else follows, they are passed over, else they would count as lag for ever.
      const partition = partitions.get(keyOf(payload.topic, payload.partition));
      if (!partition || partition.blocked || payload.batchSize > 0) return;
      partition.passOver(String(BigInt(payload.lastOffset) + 1n));
      void commitPassed(next, partition);
    });
    await next.connect();
    await next.subscribe({ topics: topics.map((topic) => topicPrefix + topic), fromBeginning: true });
    await next.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: 1,
      eachBatch: (payload) => {
        if (isCurrent()) take(next, payload);
        return Promise.resolve();
      },
    });
  }

  function rebuild(why: string): void {
    fails(why);
    rebuilding ??= (async () => {
      release();
      const broken = consumer;
      for (let waitMs = RETRY_MIN_MS; !isStopping(); waitMs = Math.min(waitMs * 2, RETRY_MAX_MS)) {
        await sleep(waitMs);
        if (isStopping()) return;
        try {
          // Not awaited for ever: what stands still may not answer either.
          await Promise.race([broken?.disconnect(), sleep(SESSION_MS)]);
          rebuilds += 1;
          fetchedAtMs = Date.now();
          await build();
          return;
        } catch (error) {
          fails(textOf(error));
          logger.error({ err: error, group }, 'consumer could not be built, trying again');
        }
      }
    })().finally(() => {
      rebuilding = null;
    });
  }

  /** How far the group is behind, asked of the broker itself: the consumer's own word would be silent when it is. */
  async function measure(admin: Admin): Promise<void> {
    const names = topics.map((topic) => topicPrefix + topic);
    const committed = await admin.fetchOffsets({ groupId, topics: names });
    const found = new Map<string, number>();
    for (const { topic, partitions: positions } of committed) {
      const ends = new Map((await admin.fetchTopicOffsets(topic)).map((one) => [one.partition, one]));
      for (const { partition, offset } of positions) {
        const end = ends.get(partition);
        if (!end) continue;
        const from = BigInt(offset) < BigInt(end.low) ? BigInt(end.low) : BigInt(offset);
        found.set(keyOf(topic, partition), Number(BigInt(end.high) - from));
      }
    }
    lags = found;
  }

  /** Why the consumer is taken for dead although it has not said so; null when it lives. */
  function silence(): string | null {
    const nowMs = Date.now();
    if (nowMs - fetchedAtMs > SILENT_MS) return `has not fetched for ${Math.round((nowMs - fetchedAtMs) / 1000)} s`;
    for (const [key, one] of partitions) {
      const lag = lags.get(key) ?? 0;
      const isIdle = lag > 0 && one.isEmpty && !one.paused && !one.blocked;
      one.idleSinceMs = isIdle ? (one.idleSinceMs ?? nowMs) : null;
      if (one.idleSinceMs !== null && nowMs - one.idleSinceMs > SILENT_MS)
        return `has not fetched any of ${lag} records of ${key} for ${Math.round((nowMs - one.idleSinceMs) / 1000)} s`;
    }
    return null;
  }

  async function watch(): Promise<void> {
    const admin = kafka.admin();
    let isConnected = false;
    while (!isStopping()) {
      try {
        if (!isConnected) await admin.connect();
        isConnected = true;
        await measure(admin);
      } catch (error) {
        lags = new Map();
        logger.debug({ err: error, group }, 'the lag could not be asked for');
      }
      const silent = silence();
      if (silent !== null && !isStopping() && !rebuilding) {
        logger.error({ group, silent }, 'consumer stands still without a word, building it anew');
        rebuild(silent);
      }
      await sleep(WATCH_MS);
    }
    if (isConnected) await admin.disconnect();
  }

  await build();
  const watching = watch();
  return {
    state: () => ({
      problem,
      problemSinceMs,
      retries,
      rebuilds,
      partitions: [...partitions].map(([key, one]) => one.state(lags.get(key) ?? null)),
    }),
    stop: async () => {
      stopping.abort();
      for (const one of partitions.values()) one.hurryUp();
      const inHand = [...partitions.values()].map((one) => one.settled);
      await Promise.race([Promise.all(inHand), delay(DRAIN_MS, undefined, { ref: false })]);
      release();
      await Promise.all([watching, rebuilding]);
      await consumer?.disconnect();
    },
  };
}
