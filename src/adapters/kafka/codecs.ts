/**
 * How compressed batches are read. kafkajs brings gzip only, unbounded, and a codec that throws ends the whole consumer. Here a batch that
 * cannot be unpacked becomes a mark at its place instead, so that its partition alone stops, and can say at which offset.
 */
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { Decompress } from 'fzstd';
import kafkajs, { CompressionTypes, type KafkaMessage } from 'kafkajs';
import { unpackLz4 } from './lz4.ts';
import { unpackSnappy } from './snappy.ts';

// Node's lexer does not see this one among the exports of the CommonJS module.
const { CompressionCodecs } = kafkajs;

/** Most that may come out of one batch. Producers close a batch far below; more is a decompression bomb. */
export const MAX_UNPACKED_BYTES = 33_554_432;
/** What stands before the records of a batch, and where in it: the layout of Kafka's record batches, magic 2. */
const BATCH_HEADER_BYTES = 61;
const MAGIC_AT = 16;
const LAST_DELTA_AT = 23;
const COUNT_AT = 57;
/** A record with nothing in it takes 7 bytes; more of them than this are not made for a mark. */
const MAX_MARKED_RECORDS = 2_000_000;
/** Nobody else can know it, so no publisher can send a mark. */
const MARK = `refit-cannot-be-unpacked-${randomUUID()}`;

/** A number as records carry it: zigzag, seven bits a byte. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}
const lengthAnd = (bytes: Buffer): Buffer => Buffer.concat([varint(bytes.length), bytes]);

/**
 * As many records as the batch has, all at its last offset, so that none is taken for one that was read before; the first one carries the
 * reason. The header of the batch stands before its records in the same memory.
 */
function marked(packed: Buffer, error: unknown): Buffer {
  const reason = error instanceof Error ? error.message : String(error);
  const headerAt = packed.byteOffset - BATCH_HEADER_BYTES;
  const header = headerAt < 0 ? null : Buffer.from(packed.buffer, headerAt, BATCH_HEADER_BYTES);
  if (header?.readInt8(MAGIC_AT) !== 2) throw new Error(`a batch cannot be unpacked: ${reason}`);
  const count = header.readInt32BE(COUNT_AT);
  const first = header.readBigInt64BE(0);
  if (count > MAX_MARKED_RECORDS) throw new Error(`the batch at offset ${first} cannot be unpacked: ${reason}`);
  const delta = varint(header.readInt32BE(LAST_DELTA_AT));
  // Attributes, time; then, after the offset, no key and no value.
  const head = [Buffer.from([0, 0]), delta, varint(-1), varint(-1)];
  const told = lengthAnd(Buffer.from(`offset ${first}: ${reason}`));
  const withReason = lengthAnd(Buffer.concat([...head, varint(1), lengthAnd(Buffer.from(MARK)), told]));
  const empty = lengthAnd(Buffer.concat([...head, varint(0)]));
  return Buffer.concat([withReason, Buffer.alloc(empty.length * Math.max(0, count - 1), empty)]);
}

/** Why the batch that begins with this message could not be unpacked; undefined for a message as it was sent. */
export function unpackProblem(message: KafkaMessage): string | undefined {
  const told = message.headers?.[MARK];
  return told === undefined ? undefined : String(told);
}

function unpackZstd(packed: Buffer): Buffer {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const stream = new Decompress((chunk) => {
    bytes += chunk.length;
    if (bytes > MAX_UNPACKED_BYTES) throw new RangeError(`more than ${MAX_UNPACKED_BYTES} bytes come out of it`);
    chunks.push(chunk);
  });
  stream.push(packed, true);
  return Buffer.concat(chunks);
}
const unzip = promisify(gunzip);

const UNPACKERS: ReadonlyMap<
  Exclude<CompressionTypes, CompressionTypes.None>,
  (packed: Buffer) => Promise<Buffer>
> = new Map([
  [CompressionTypes.GZIP, (packed: Buffer) => unzip(packed, { maxOutputLength: MAX_UNPACKED_BYTES })],
  [CompressionTypes.Snappy, async (packed: Buffer) => unpackSnappy(packed, MAX_UNPACKED_BYTES)],
  [CompressionTypes.LZ4, async (packed: Buffer) => unpackLz4(packed, MAX_UNPACKED_BYTES)],
  [CompressionTypes.ZSTD, async (packed: Buffer) => unpackZstd(packed)],
]);

/** Makes all of Kafka's compressions known to kafkajs, which keeps them for the whole process. Repeating it is harmless. */
export function registerCodecs(): void {
  for (const [type, unpack] of UNPACKERS) {
    CompressionCodecs[type] = () => ({
      compress: () => {
        throw new Error('Refit sends records as they are; nothing here compresses');
      },
      decompress: async (packed: Buffer) => {
        try {
          return await unpack(packed);
        } catch (error) {
          return marked(packed, error);
        }
      },
    });
  }
}
