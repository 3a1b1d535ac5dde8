/**
 * Reads Snappy, bare as librdkafka writes it and in the frames of the Java client. What is read is never trusted: each length is checked
 * against what is there, and the output is bounded.
 */
/** The Java client's frame: this, two versions of four bytes each, then blocks that begin with their length. */
const JAVA_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const JAVA_HEADER_BYTES = 16;

function contentLength(input: Buffer): { readonly length: number; readonly next: number } {
  let length = 0;
  for (let at = 0; at < Math.min(5, input.length); at += 1) {
    const byte = input.readUInt8(at);
    length += (byte & 0x7f) * 2 ** (7 * at);
    if (byte < 0x80) return { length, next: at + 1 };
  }
  throw new Error('Snappy: the length is cut off');
}

/** Literal lengths above 60 stand in the next one to four bytes, little endian. */
function literalLength(input: Buffer, tag: number, at: number): { readonly length: number; readonly next: number } {
  const code = tag >> 2;
  if (code < 60) return { length: code + 1, next: at };
  const bytes = code - 59;
  return { length: input.readUIntLE(at, bytes) + 1, next: at + bytes };
}

/** Length and distance of a copy: its tag says how many bytes they take. */
function copyOf(input: Buffer, tag: number, at: number): { length: number; distance: number; next: number } {
  if ((tag & 3) === 1)
    return { length: ((tag >> 2) & 7) + 4, distance: ((tag >> 5) << 8) | input.readUInt8(at), next: at + 1 };
  if ((tag & 3) === 2) return { length: (tag >> 2) + 1, distance: input.readUInt16LE(at), next: at + 2 };
  return { length: (tag >> 2) + 1, distance: input.readUInt32LE(at), next: at + 4 };
}

function unpackBlock(input: Buffer, maxBytes: number): Buffer {
  const { length: total, next } = contentLength(input);
  if (total > maxBytes) throw new RangeError(`more than ${maxBytes} bytes come out of it`);
  const output = Buffer.alloc(total);
  let to = 0;
  for (let at = next; at < input.length; ) {
    const tag = input.readUInt8(at);
    at += 1;
    if ((tag & 3) === 0) {
      const literal = literalLength(input, tag, at);
      const end = literal.next + literal.length;
      if (end > input.length || to + literal.length > total) throw new Error('Snappy: a literal beyond the block');
      input.copy(output, to, literal.next, end);
      to += literal.length;
      at = end;
    } else {
      const { length, distance, next: after } = copyOf(input, tag, at);
      if (distance === 0 || distance > to || to + length > total) throw new Error('Snappy: a copy beyond the block');
      for (const until = to + length; to < until; to += 1) output[to] = output[to - distance] ?? 0;
      at = after;
    }
  }
  if (to !== total) throw new Error(`Snappy: ${to} bytes came out, ${total} were announced`);
  return output;
}

/** @throws Error for bytes that are no Snappy, and RangeError where more than `maxBytes` would come out. */
export function unpackSnappy(input: Buffer, maxBytes: number): Buffer {
  if (!input.subarray(0, JAVA_MAGIC.length).equals(JAVA_MAGIC)) return unpackBlock(input, maxBytes);
  const blocks: Buffer[] = [];
  let bytes = 0;
  for (let at = JAVA_HEADER_BYTES; at < input.length; ) {
    const end = at + 4 + input.readUInt32BE(at);
    if (end > input.length) throw new Error('Snappy: a block is cut off');
    const block = unpackBlock(input.subarray(at + 4, end), maxBytes - bytes);
    blocks.push(block);
    bytes += block.length;
    at = end;
  }
  return Buffer.concat(blocks);
}
