/**
 * Reads LZ4 frames, as Kafka's producers write them. Checksums are left aside: the broker's CRC covers the whole batch. What is read is
 * never trusted: each length is checked against what is there, and the output is bounded.
 */
const MAGIC = 0x184d2204;
/** Largest block by its code in the frame's descriptor. */
const BLOCK_BYTES: Readonly<Record<number, number>> = { 4: 65_536, 5: 262_144, 6: 1_048_576, 7: 4_194_304 };
const STORED = 0x80000000;
const MIN_MATCH = 4;

/** A length of 15 in a token goes on in the following bytes, as long as they are 255. */
function longLength(input: Buffer, start: number, end: number): { readonly length: number; readonly next: number } {
  let length = 15;
  for (let at = start; at < end; at += 1) {
    const byte = input.readUInt8(at);
    length += byte;
    if (byte !== 255) return { length, next: at + 1 };
  }
  throw new Error('LZ4: a length is cut off');
}

/** Unpacks one block behind what `output` holds already, which it may refer to. Gives the new end. */
function unpackBlock(input: Buffer, start: number, end: number, output: Buffer, written: number): number {
  let at = start;
  let to = written;
  while (at < end) {
    const token = input.readUInt8(at);
    at += 1;
    let literals = token >> 4;
    if (literals === 15) ({ length: literals, next: at } = longLength(input, at, end));
    if (at + literals > end || to + literals > output.length) throw new Error('LZ4: literals beyond the block');
    input.copy(output, to, at, at + literals);
    at += literals;
    to += literals;
    // The last sequence of a block has no match.
    if (at === end) return to;
    if (at + 2 > end) throw new Error('LZ4: an offset is cut off');
    const distance = input.readUInt16LE(at);
    at += 2;
    let length = token & 15;
    if (length === 15) ({ length, next: at } = longLength(input, at, end));
    length += MIN_MATCH;
    if (distance === 0 || distance > to || to + length > output.length)
      throw new Error('LZ4: a match beyond the block');
    // Not `copyWithin`: where both overlap, what was just written is repeated.
    for (const until = to + length; to < until; to += 1) output[to] = output[to - distance] ?? 0;
  }
  return to;
}

/** @throws Error for bytes that are no LZ4 frame, and RangeError where more than `maxBytes` would come out. */
export function unpackLz4(input: Buffer, maxBytes: number): Buffer {
  let output = Buffer.alloc(0);
  let written = 0;
  let at = 0;
  while (at < input.length) {
    if (input.readUInt32LE(at) !== MAGIC) throw new Error('LZ4: no frame begins here');
    const flags = input.readUInt8(at + 4);
    if (flags >> 6 !== 1) throw new Error(`LZ4: frame version ${flags >> 6} is not known`);
    const blockBytes = BLOCK_BYTES[(input.readUInt8(at + 5) >> 4) & 7];
    if (blockBytes === undefined) throw new Error('LZ4: the size of a block is not known');
    if ((flags & 1) !== 0) throw new Error('LZ4: dictionaries are not supported');
    // Magic, flags, block size, content size if given, header checksum.
    at += 7 + ((flags & 8) === 0 ? 0 : 8);
    for (;;) {
      const size = input.readUInt32LE(at);
      at += 4;
      if (size === 0) break;
      const isStored = size >= STORED;
      const end = at + (isStored ? size - STORED : size);
      if (end > input.length) throw new Error('LZ4: a block is cut off');
      if (output.length < written + blockBytes) {
        const wanted = Math.min(maxBytes, Math.max(written + blockBytes, output.length * 2));
        output = Buffer.concat([output.subarray(0, written), Buffer.alloc(wanted - written)]);
      }
      try {
        if (isStored && written + end - at > output.length)
          throw new Error('LZ4: a block is larger than its frame says');
        written = isStored
          ? written + input.copy(output, written, at, end)
          : unpackBlock(input, at, end, output, written);
      } catch (error) {
        if (output.length === maxBytes)
          throw new RangeError(`more than ${maxBytes} bytes come out of it`, { cause: error });
        throw error;
      }
      at = end + ((flags & 0x10) === 0 ? 0 : 4);
    }
    at += (flags & 4) === 0 ? 0 : 4;
  }
  return output.subarray(0, written);
}
