/** Records as the port shows them, from those of kafkajs, and groups of them that a broker takes. */
import type { KafkaMessage } from 'kafkajs';
import type { TopicName } from '../../contracts/events.ts';
import type { BusRecord, OutgoingRecord } from '../../ports/bus.ts';

/** Of one request to a broker, which takes 1 MiB of a batch by default. */
export const BATCH_BYTES = 700_000;
/** Framing, generously. */
const RECORD_OVERHEAD_BYTES = 500;

/** Of headers that are there more than once the first counts. */
function textHeaders(headers: KafkaMessage['headers']): Pick<BusRecord, 'headers' | 'illegibleHeaders'> {
  const texts: Record<string, string> = {};
  const illegible: string[] = [];
  for (const [given, value] of Object.entries(headers ?? {})) {
    const one = Array.isArray(value) ? value[0] : value;
    if (one === undefined || one === null) continue;
    const name = given.toLowerCase();
    const text = one.toString();
    if (typeof one !== 'string' && !Buffer.from(text).equals(one)) illegible.push(name);
    texts[name] = text;
  }
  return { headers: texts, ...(illegible.length === 0 ? {} : { illegibleHeaders: illegible }) };
}

export const busRecord = (topic: TopicName, partition: number, message: KafkaMessage): BusRecord => ({
  topic,
  partition,
  offset: message.offset,
  key: message.key,
  value: message.value,
  ...textHeaders(message.headers),
  timestampMs: Number(message.timestamp),
});

const headerBytes = (headers: OutgoingRecord['headers']): number =>
  Object.entries(headers ?? {}).reduce((sum, [name, text]) => sum + name.length + Buffer.byteLength(text) + 10, 0);

/** About so much does a record take in a batch. */
export const bytesOf = ({ key, value, headers }: OutgoingRecord): number =>
  Buffer.byteLength(key ?? '') + Buffer.byteLength(value ?? '') + headerBytes(headers) + RECORD_OVERHEAD_BYTES;

/** The records from `start` on that fit into one batch, at least one: a larger one is refused by the broker (message.max.bytes, 1 MiB by default) as a whole. */
export function batchFrom(records: readonly OutgoingRecord[], start = 0): readonly OutgoingRecord[] {
  let end = start;
  for (let bytes = 0; end < records.length; end += 1) {
    const record = records[end];
    if (record) bytes += bytesOf(record);
    if (bytes > BATCH_BYTES && end > start) break;
  }
  return records.slice(start, end);
}
