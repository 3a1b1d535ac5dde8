/**
 * Sends to one topic, one request at a time over all its attempts. kafkajs numbers the records of an idempotent producer, and gives the numbers back
 * when it does not know what became of a request: an answer that was lost after the broker had kept it. What is sent next under these numbers is
 * acknowledged as a repetition, and kept nowhere, or refused from then on. So nobody sends between two attempts, and only the same records may go on with a
 * producer that failed; for all others there is a new one, whose numbers begin again.
 */
import kafkajs, { type Kafka, type Message, type Producer } from 'kafkajs';
import type { Logger } from 'pino';
import type { OutgoingRecord } from '../../ports/bus.ts';
import { BATCH_BYTES, bytesOf } from './records.ts';

// Node's lexer does not see this one among the exports of the CommonJS module.
const { Partitioners } = kafkajs;

const TOO_LARGE: ReadonlySet<unknown> = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE']);

/** kafkajs wraps what the broker or the network says. */
const causeOf = (error: unknown): unknown =>
  error instanceof Error && error.cause instanceof Error ? error.cause : error;

/** What no further attempt would change. */
export function isTooLarge(error: unknown): error is Error {
  const cause = causeOf(error);
  return cause instanceof Error && 'type' in cause && TOO_LARGE.has(cause.type);
}
/** That the attempts were used up by what may pass. Any other failure is about the producer itself, and would come again with it. */
function mayPass(error: unknown): boolean {
  const cause = causeOf(error);
  return cause instanceof Error && 'retriable' in cause && cause.retriable === true;
}

export interface Sender {
  /** Resolves when all in-sync replicas have the records, which must fit into one batch. */
  send(records: readonly OutgoingRecord[]): Promise<void>;
  close(): Promise<void>;
}

interface Sending {
  readonly records: readonly OutgoingRecord[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}
/** Records of which nobody knows whether they are kept, as they were given to kafkajs. */
interface Unknown {
  readonly records: readonly OutgoingRecord[];
  readonly messages: Message[];
}

/** The first partition of a record stays its partition: another attempt must be the same request, also for records without a key. */
function steadyPartitioner() {
  const choose = Partitioners.DefaultPartitioner();
  const chosen = new WeakMap<Message, number>();
  return (choice: Parameters<typeof choose>[0]): number => {
    const before = chosen.get(choice.message);
    if (choice.partitionMetadata.some(({ partitionId }) => partitionId === before) && before !== undefined)
      return before;
    const partition = choose(choice);
    chosen.set(choice.message, partition);
    return partition;
  };
}

const messageOf = ({ key, value, headers }: OutgoingRecord): Message => ({
  key,
  value,
  ...(headers === undefined ? {} : { headers: { ...headers } }),
});
const isSame = (some: readonly OutgoingRecord[], others: readonly OutgoingRecord[]): boolean =>
  some.length === others.length && some.every((record, index) => record === others[index]);

export function createSender(kafka: Kafka, topic: string, logger: Logger): Sender {
  const waiting: Sending[] = [];
  let producer: Producer | null = null;
  let unknown: Unknown | null = null;
  let isRunning = false;
  let isClosed = false;
  const stopping = (): Error => new Error(`nothing is sent to ${topic} any more: this part is stopping`);

  function drop(): void {
    const dropped = producer;
    producer = null;
    unknown = null;
    // Nobody waits for it: it may still wait for an answer that does not come.
    dropped?.disconnect().catch((error: unknown) => logger.debug({ err: error, topic }, 'a producer was left'));
  }

  async function connected(): Promise<Producer> {
    if (producer) return producer;
    const fresh = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: steadyPartitioner,
    });
    try {
      await fresh.connect();
    } catch (error) {
      await fresh.disconnect();
      throw error;
    }
    producer = fresh;
    return fresh;
  }

  async function request(records: readonly OutgoingRecord[]): Promise<void> {
    if (isClosed) throw stopping();
    const messages = unknown && isSame(unknown.records, records) ? unknown.messages : records.map(messageOf);
    if (unknown && unknown.messages !== messages) drop();
    const by = await connected();
    try {
      await by.send({ topic, acks: -1, messages });
      unknown = null;
    } catch (error) {
      // One record that is too large was surely not kept; of several, those of other partitions may be.
      if (records.length > 1 || !isTooLarge(error)) unknown = { records, messages };
      if (unknown && !mayPass(error)) drop();
      throw error;
    } finally {
      // An attempt may have connected anew.
      if (isClosed) await by.disconnect();
    }
  }

  async function sendTogether(group: readonly Sending[]): Promise<void> {
    try {
      await request(group.flatMap(({ records }) => records));
      for (const { resolve } of group) resolve();
    } catch (error) {
      if (group.length > 1 && isTooLarge(error)) for (const one of group) await sendTogether([one]);
      else for (const { reject } of group) reject(error);
    }
  }

  async function run(): Promise<void> {
    isRunning = true;
    while (waiting.length > 0) {
      let bytes = 0;
      const over = waiting.findIndex(({ records }, index) => {
        for (const record of records) bytes += bytesOf(record);
        return index > 0 && bytes > BATCH_BYTES;
      });
      // Whoever waited for the request before shares the next one.
      await sendTogether(waiting.splice(0, over === -1 ? waiting.length : over));
    }
    isRunning = false;
  }

  return {
    send: (records) =>
      new Promise((resolve, reject) => {
        if (isClosed) {
          reject(stopping());
          return;
        }
        waiting.push({ records, resolve, reject });
        if (!isRunning) void run();
      }),
    async close() {
      isClosed = true;
      await producer?.disconnect();
    },
  };
}
