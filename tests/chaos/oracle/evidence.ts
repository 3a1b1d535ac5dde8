/**
 * What the oracle goes by: the publisher's log, all records of Kafka, the rows of the registry, the files of the store. It reads
 * them by itself and imports nothing of the product, so that a mistake there is not repeated here.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { Kafka, logLevel } from 'kafkajs';

export interface Where {
  readonly home: string;
  readonly prefix: string;
  readonly brokers: readonly string[];
  /** File of the workflows' bundle, for the replay. */
  readonly bundle: string;
  readonly temporal: { readonly address: string; readonly namespace: string };
  readonly serve: string | null;
  readonly models: readonly string[];
  /** Model k takes dataset k modulo this. */
  readonly datasets: number;
}

/** A line of the publisher's log. */
export interface Meant {
  readonly n: number;
  readonly topic: string;
  readonly kind: 'drift' | 'data' | 'labels' | 'malformed';
  readonly event: string | null;
  readonly variant: number;
  readonly target: string;
  readonly unknown: boolean;
  readonly verdict: string | null;
  readonly file: 'good' | 'missing' | 'outside' | 'garbled' | null;
  readonly labels: readonly { readonly id: string; readonly label: number; readonly time: string }[];
  readonly sha256: string | null;
}
export interface KafkaRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, string>>;
}
export type Row = Readonly<Record<string, string | number | null>>;

export interface Evidence {
  readonly where: Where;
  readonly meant: ReadonlyMap<number, Meant>;
  readonly acked: ReadonlySet<number>;
  readonly people: readonly Readonly<Record<string, unknown>>[];
  /** By topic without the prefix, in order within a partition. */
  readonly records: Readonly<Record<string, readonly KafkaRecord[]>>;
  readonly rows: (sql: string) => readonly Row[];
}

const TOPICS = ['data', 'labels', 'drift', 'lifecycle', 'dead-letter'];
const READ_TIMEOUT_MS = 60_000;

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');
export const text = (row: Row, column: string): string => String(row[column] ?? '');
export const number = (row: Row, column: string): number => Number(row[column]);

function lines(path: string): Record<string, unknown>[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

async function readTopics({ brokers, prefix }: Where): Promise<Record<string, KafkaRecord[]>> {
  const kafka = new Kafka({ clientId: 'oracle', brokers: [...brokers], logLevel: logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  const left = new Map<string, bigint>();
  const found: Record<string, KafkaRecord[]> = {};
  for (const topic of TOPICS) {
    found[topic] = [];
    for (const { partition, high, low } of await admin.fetchTopicOffsets(prefix + topic))
      if (BigInt(high) > BigInt(low)) left.set(`${topic}/${partition}`, BigInt(high));
  }
  await admin.disconnect();
  if (left.size === 0) return found;
  const consumer = kafka.consumer({ groupId: `${prefix}oracle-${process.pid}`, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topics: TOPICS.map((topic) => prefix + topic), fromBeginning: true });
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`Kafka's records could not be read: ${[...left.keys()].join(', ')}`)),
      READ_TIMEOUT_MS,
    );
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    consumer
      .run({
        autoCommit: false,
        eachMessage: async ({ topic, partition, message }) => {
          const name = topic.slice(prefix.length);
          const headers = Object.entries(message.headers ?? {}).map(([key, value]) => [key, String(value)]);
          found[name]?.push({
            topic: name,
            partition,
            offset: message.offset,
            value: message.value,
            headers: Object.fromEntries(headers),
          });
          const key = `${name}/${partition}`;
          const end = left.get(key);
          if (end !== undefined && BigInt(message.offset) + 1n >= end) left.delete(key);
          if (left.size === 0) done();
        },
      })
      .catch(reject);
  });
  await consumer.disconnect();
  return found;
}

export async function gather(where: Where): Promise<Evidence & { readonly close: () => void }> {
  const input = lines(join(where.home, 'input.jsonl'));
  const db = new DatabaseSync(join(where.home, 'refit.db'), { readOnly: true });
  db.exec('PRAGMA busy_timeout = 5000');
  return {
    where,
    meant: new Map(
      input.flatMap((line) => ('n' in line ? [[line.n as number, line as unknown as Meant] as const] : [])),
    ),
    acked: new Set(input.flatMap((line) => ('acked' in line ? [line.acked as number] : []))),
    people: lines(join(where.home, 'people.jsonl')),
    records: await readTopics(where),
    rows: (sql) => db.prepare(sql).all() as Row[],
    close: () => db.close(),
  };
}

/** The bytes with this digest, when the store has them whole; else why not. */
export function artifact(home: string, digest: string): Buffer | string {
  const path = join(home, 'artifacts', 'sha256', digest.slice(0, 2), digest.slice(2));
  if (!existsSync(path)) return `${digest} is not in the store`;
  const bytes = readFileSync(path);
  return sha256(bytes) === digest ? bytes : `${digest} has other bytes`;
}
