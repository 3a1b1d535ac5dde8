/**
 * The gateway's order of acts, for each batch of records: inbox row, then dead letters and signals, then (by the bus, when this has resolved)
 * the offset. A crash between any two repeats the later ones only, and repeating them is harmless. Nothing here tells a poisoned record by an
 * error: what is wrong with a record itself, intake says without throwing; every error is an outage, and the batch comes again.
 */
import type { Logger } from 'pino';
import { limiter } from '../adapters/kafka/limiter.ts';
import { eventKey } from '../domain/ids.ts';
import type { BusRecord, EventBus } from '../ports/bus.ts';
import type { Messenger } from '../ports/messenger.ts';
import type { EventRegistry, Incoming, Receipt } from '../ports/registry/events.ts';
import { type Dead, publishDead } from './dead-letters.ts';
import { attemptOf, intakeRecord } from './intake.ts';
import type { InboxMetrics } from './metrics.ts';

export interface InboxOptions {
  readonly registry: Pick<EventRegistry, 'receive'>;
  readonly messenger: Pick<Messenger, 'dataArrived' | 'eventsArrived'>;
  readonly bus: Pick<EventBus, 'publish' | 'publishFirst'>;
  readonly logger: Logger;
  readonly now: () => Date;
  readonly metrics: InboxMetrics;
}

/** Calls to Temporal in flight, over all partitions: more only adds latency. */
const SIGNALS_IN_FLIGHT = 16;
/** Deliveries in one transaction, when several partitions share it. */
const TRANSACTION_RECORDS = 5_000;

/** A time that a publisher set may be beyond what a date can hold. */
export function isoOf(timestampMs: number): string | null {
  const date = new Date(timestampMs);
  return timestampMs < 0 || Number.isNaN(date.getTime()) ? null : date.toISOString();
}

type Receive = EventRegistry['receive'];
interface Waiting {
  readonly batch: readonly Incoming[];
  readonly resolve: (receipts: readonly Receipt[]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * What partitions bring while a transaction is under way shares the next one: its cost is one sync to the disk, however many records it has.
 * Where a shared one fails, each partition is tried for itself, so that none is held up by what is wrong with another.
 */
function shareTransactions(receive: Receive): Receive {
  const waiting: Waiting[] = [];
  let isRunning = false;

  async function runOne(group: readonly Waiting[]): Promise<void> {
    try {
      const receipts = await receive(group.flatMap((one) => one.batch));
      let at = 0;
      for (const { batch, resolve } of group) {
        resolve(receipts.slice(at, at + batch.length));
        at += batch.length;
      }
    } catch (error) {
      if (group.length === 1) for (const { reject } of group) reject(error);
      else for (const one of group) await runOne([one]);
    }
  }
  async function run(): Promise<void> {
    isRunning = true;
    // Those that were fetched together come within this turn.
    await new Promise((resolve) => setImmediate(resolve));
    while (waiting.length > 0) {
      let records = 0;
      const over = waiting.findIndex((one, index) => {
        records += one.batch.length;
        return index > 0 && records > TRANSACTION_RECORDS;
      });
      await runOne(waiting.splice(0, over === -1 ? waiting.length : over));
    }
    isRunning = false;
  }
  return (batch) =>
    new Promise((resolve, reject) => {
      waiting.push({ batch, resolve, reject });
      if (!isRunning) void run();
    });
}

export function createInbox({ registry, messenger, bus, logger, now, metrics }: InboxOptions) {
  const receive = shareTransactions((batch) => registry.receive(batch));
  const inFlight = limiter(SIGNALS_IN_FLIGHT);

  /** One message for each workflow, of the keys that it looks up in the registry by itself. */
  async function signal(wanted: ReadonlyMap<string, Target>): Promise<void> {
    await Promise.all(
      [...wanted.values()].map(({ kind, name, keys }) =>
        inFlight(async () => {
          await (kind === 'dataset'
            ? messenger.dataArrived(name, [...keys])
            : messenger.eventsArrived(name, [...keys]));
          metrics.signalled(kind, keys.size);
        }),
      ),
    );
  }

  return async (records: readonly BusRecord[]): Promise<void> => {
    const started = performance.now();
    const at = now().toISOString();
    const incoming = records.map((record): Incoming => {
      const origin = { topic: record.topic, partition: record.partition, offset: record.offset };
      const publishedAt = isoOf(record.timestampMs);
      return { origin, at, publishedAt, ...attemptOf(record.headers), ...intakeRecord(record) };
    });
    const receipts = await receive(incoming);
    const wanted = new Map<string, Target>();
    const dead: Dead[] = [];
    for (const [index, receipt] of receipts.entries()) {
      const one = incoming[index];
      const record = records[index];
      if (!one || !record) throw new Error('the registry answered for more records than it was given');
      if (receipt.action === 'dead_letter') dead.push({ record, incoming: one });
      if (receipt.action !== 'signal' || !('event' in one)) continue;
      const { target, source, id } = one.event;
      const group = wanted.get(`${target.kind}/${target.name}`) ?? { ...target, keys: new Set<string>() };
      group.keys.add(eventKey(source, id));
      wanted.set(`${target.kind}/${target.name}`, group);
    }
    await publishDead({ bus, logger, metrics }, dead);
    await signal(wanted);
    metrics.batch(receipts, (performance.now() - started) / 1000);
  };
}
interface Target {
  readonly kind: 'dataset' | 'model';
  readonly name: string;
  readonly keys: Set<string>;
}
