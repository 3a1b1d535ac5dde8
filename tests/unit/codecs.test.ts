/** What producers' compressions bring is read within bounds, also where it is cut off, changed, or made to blow up. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unpackLz4 } from '../../src/adapters/kafka/lz4.ts';
import { unpackSnappy } from '../../src/adapters/kafka/snappy.ts';

const MAX = 1_048_576;
/** A frame of independent blocks of at most 64 KiB, without checksums. */
const lz4Frame = (...blocks: readonly Buffer[]): Buffer =>
  Buffer.concat([
    Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]),
    ...blocks.flatMap((block) => {
      const size = Buffer.alloc(4);
      size.writeUInt32LE(block.length);
      return [size, block];
    }),
    Buffer.alloc(4),
  ]);
/** `abc`, then a match of `length` bytes at distance 3, then a last literal. */
const lz4Match = (length: number): Buffer => {
  const extra = length - 4 - 15;
  const more = [...Array<number>(Math.floor(extra / 255)).fill(255), extra % 255];
  return Buffer.from([0x3f, 0x61, 0x62, 0x63, 3, 0, ...more, 0x10, 0x7a]);
};

describe('LZ4', () => {
  it('repeats what a match refers to, also where both overlap', () => {
    const text = unpackLz4(lz4Frame(lz4Match(30)), MAX).toString();
    expect(text).toBe(`${'abc'.repeat(11)}z`);
  });
  it('stops at the bound', () => {
    const frames = Buffer.concat(Array.from({ length: 40 }, () => lz4Frame(lz4Match(60_000))));
    expect(() => unpackLz4(frames, MAX)).toThrow(/more than 1048576 bytes come out/);
    expect(() => unpackLz4(lz4Frame(lz4Match(70_000)), MAX)).toThrow(/beyond the block/);
  });
  it('refuses a match before the beginning', () => {
    expect(() => unpackLz4(lz4Frame(Buffer.from([0x10, 0x61, 9, 0, 0x10, 0x7a])), MAX)).toThrow(/beyond the block/);
  });
});

describe('Snappy', () => {
  it('reads literals and copies', () => {
    // Length 12, the literal `abc`, a copy of 9 at distance 3.
    expect(unpackSnappy(Buffer.from([12, 0x08, 0x61, 0x62, 0x63, 0x22, 3, 0]), MAX).toString()).toBe('abc'.repeat(4));
  });
  it('refuses a length beyond the bound before it takes memory for it', () => {
    expect(() => unpackSnappy(Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]), MAX)).toThrow(/more than 1048576 bytes/);
  });
});

it.each([
  ['LZ4', unpackLz4, lz4Frame(lz4Match(300))],
  ['Snappy', unpackSnappy, Buffer.from([12, 0x08, 0x61, 0x62, 0x63, 0x22, 3, 0])],
] as const)(
  '%s: bytes that were changed or cut off are refused or read, but neither loop nor exceed the bound',
  (_, unpack, good) => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 4 }),
        fc.nat(good.length),
        (changes, length) => {
          const bytes = Buffer.from(good.subarray(0, length));
          for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
          try {
            expect(unpack(bytes, MAX).length).toBeLessThanOrEqual(MAX);
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
          }
        },
      ),
    );
  },
);
