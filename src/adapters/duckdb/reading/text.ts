/**
 * What stands between a file that somebody sent and DuckDB's readers: gzip is undone within bounds, other encodings become UTF-8, and what
 * would be read as something that nobody meant (bytes of another encoding, NUL, a line without an end) is refused with its line. One pass,
 * a few megabytes of memory whatever the size; a copy is written only where the bytes change.
 */
import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import type { DataFormat } from '../../../contracts/values.ts';
import { DataProblem } from '../../../ports/data.ts';
import { fileSink } from '../../file-sink.ts';

/** A longer line is no row of anything, and readers keep whole lines in memory. */
export const MAX_LINE_BYTES = 16 * 2 ** 20;
/** Gzip can say a thousand bytes in one; what people compress is far from that. */
const MAX_RATIO = 200;
/** Up to here any ratio is harmless. */
const RATIO_FREE_BYTES = 64 * 2 ** 20;
/** From which the dialect of a CSV file is told. */
const SAMPLE_BYTES = 256 * 1024;

const MIB = 2 ** 20;

export type Encoding = 'utf-8' | 'utf-16' | 'latin-1';

export interface TextRequest {
  readonly path: string;
  readonly format: DataFormat;
  /** For messages. */
  readonly name: string;
  /** undefined: told by the byte order mark, else UTF-8. */
  readonly encoding: Encoding | undefined;
  /** Where a copy is written, if one is needed. */
  readonly copy: string;
  /** Most bytes, uncompressed. */
  readonly maxBytes: number;
}

export interface ReadyFile {
  /** What DuckDB is to read: the file itself, or the copy. */
  readonly path: string;
  readonly bytes: number;
  /** The first bytes as text, in whole lines; empty for Parquet. */
  readonly sample: string;
  /** The sample is all of it. */
  readonly isWhole: boolean;
  /** The first line that ends in another way than the lines before it; null where all end alike. */
  readonly otherLineEnd: number | null;
}

const OTHER_MAGIC: readonly (readonly [string, string])[] = [
  ['504b0304', 'a zip archive'],
  ['28b52ffd', 'compressed with zstd'],
  ['425a68', 'compressed with bzip2'],
  ['fd377a585a00', 'compressed with xz'],
  ['4f72433', 'ORC'],
  ['4f626a01', 'Avro'],
  ['d0cf11e0', 'an old Excel file'],
];

async function bytesAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}

const PARQUET = Buffer.from('PAR1');

/** The frame of a Parquet file: a footer that cannot be there is told as what it mostly is, a file that was cut off. */
async function checkParquet(file: FileHandle, size: number, head: Buffer, name: string): Promise<void> {
  if (!head.subarray(0, 4).equals(PARQUET))
    throw new DataProblem('format', `${name} is not Parquet: it does not begin with PAR1`);
  const tail = await bytesAt(file, Math.max(0, size - 8), 8);
  if (tail.subarray(4).toString('latin1') === 'PARE')
    throw new DataProblem('format', `${name} has an encrypted footer; send it unencrypted`);
  if (size < 12 || !tail.subarray(4).equals(PARQUET))
    throw new DataProblem('unreadable', `${name} is cut off: it does not end as Parquet does; send it again, whole`);
  const footer = tail.readUInt32LE(0);
  if (footer > size - 12)
    throw new DataProblem(
      'unreadable',
      `${name} is damaged: its footer claims ${footer} bytes, the file has ${size}; send it again`,
    );
}

/** The stages of the pass, by the bytes that they see. */
class Pass {
  #bytes = 0;
  #lines = 0;
  #inLine = 0;
  #last = -1;
  #carry: Buffer = Buffer.alloc(0);
  #sample: Buffer[] = [];
  #sampled = 0;
  /** 1: lines end in LF, 2: in CR LF. */
  #lineEnd = 0;
  otherLineEnd: number | null = null;

  constructor(
    readonly request: TextRequest,
    readonly compressedBytes: number | null,
  ) {}

  get bytes(): number {
    return this.#bytes;
  }

  get sample(): { readonly text: string; readonly isWhole: boolean } {
    const bytes = Buffer.concat(this.#sample);
    const isWhole = this.#sampled === this.#bytes;
    const end = Math.max(bytes.lastIndexOf(10), bytes.lastIndexOf(13));
    const text = (isWhole || end < 0 ? bytes : bytes.subarray(0, end + 1)).toString('utf8');
    return { text: text.replace(/^\uFEFF/, ''), isWhole };
  }

  /** Of what comes out of gzip, or of the plain file. */
  measure(bytes: number): void {
    const { name, maxBytes } = this.request;
    if (bytes > maxBytes)
      throw new DataProblem(
        'size',
        `${name} has more than ${maxBytes} bytes${this.compressedBytes === null ? '' : ' uncompressed'}; split it, or raise REFIT_DATA_MAX_BYTES`,
      );
    if (this.compressedBytes !== null && bytes > RATIO_FREE_BYTES && bytes > this.compressedBytes * MAX_RATIO)
      throw new DataProblem(
        'gzip',
        `${name} unpacks to more than ${MAX_RATIO} times its ${this.compressedBytes} bytes, which no data does; send it uncompressed if it is data`,
      );
  }

  /** Looks at UTF-8. */
  check(chunk: Buffer): void {
    const { name } = this.request;
    if (this.#sampled < SAMPLE_BYTES) {
      const part = Buffer.from(chunk.subarray(0, SAMPLE_BYTES - this.#sampled));
      this.#sample.push(part);
      this.#sampled += part.length;
    }
    this.#bytes += chunk.length;
    const nul = chunk.indexOf(0);
    if (nul !== -1)
      throw new DataProblem(
        'encoding',
        `line ${this.#lineOf(chunk, nul)} of ${name} holds a NUL byte; it is damaged, or UTF-16 without its mark (csv.encoding: utf-16)`,
      );
    this.#checkUtf8(chunk);
    this.#checkLines(chunk);
    this.#last = chunk.at(-1) ?? this.#last;
  }

  finish(): void {
    if (this.#carry.length > 0) this.#badEncoding(this.#lines + 1);
  }

  #lineOf(chunk: Buffer, until: number): number {
    let lines = this.#lines + 1;
    for (let at = chunk.indexOf(10); at !== -1 && at < until; at = chunk.indexOf(10, at + 1)) lines += 1;
    return lines;
  }

  #badEncoding(line: number): never {
    const { name, format } = this.request;
    const mend = format === 'csv' ? 'write it in UTF-8, or say csv.encoding: latin-1' : 'write it in UTF-8';
    throw new DataProblem('encoding', `line ${line} of ${name} is not UTF-8; ${mend}`);
  }

  #checkUtf8(chunk: Buffer): void {
    const bytes = this.#carry.length > 0 ? Buffer.concat([this.#carry, chunk]) : chunk;
    // A character may go on in the next chunk: its first bytes wait for it.
    let cut = bytes.length;
    for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
      const byte = bytes[bytes.length - back] ?? 0;
      if (byte < 0x80) break;
      if (byte >= 0xc0) {
        if (back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2)) cut = bytes.length - back;
        break;
      }
    }
    if (!isUtf8(bytes.subarray(0, cut))) {
      let line = this.#lines + 1;
      for (let from = 0; from < cut; ) {
        const found = bytes.indexOf(10, from);
        const end = found === -1 || found >= cut ? cut : found + 1;
        if (!isUtf8(bytes.subarray(from, end))) break;
        line += 1;
        from = end;
      }
      this.#badEncoding(line);
    }
    this.#carry = Buffer.from(bytes.subarray(cut));
  }

  #checkLines(chunk: Buffer): void {
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) {
      this.#lines += 1;
      const end = (at > 0 ? chunk[at - 1] : this.#last) === 13 ? 2 : 1;
      if (this.#lineEnd === 0) this.#lineEnd = end;
      else if (this.#lineEnd !== end) this.otherLineEnd ??= this.#lines;
    }
    // Within a chunk no line is too long: chunks are smaller than the limit.
    const first = chunk.findIndex((byte) => byte === 10 || byte === 13);
    this.#inLine += first === -1 ? chunk.length : first;
    if (this.#inLine > MAX_LINE_BYTES)
      throw new DataProblem(
        'line',
        `line ${this.#lines + 1} of ${this.request.name} is longer than ${MAX_LINE_BYTES / MIB} MiB; it is no table of rows, or a quote is never closed`,
      );
    if (first !== -1) this.#inLine = chunk.length - 1 - Math.max(chunk.lastIndexOf(10), chunk.lastIndexOf(13));
  }
}

interface Decoder {
  /** Bytes of the file as UTF-8. */
  readonly decode: (chunk: Buffer, isLast: boolean) => Buffer;
  readonly isChanging: boolean;
}

function decoderOf(request: TextRequest, head: Buffer): Decoder {
  const mark = head.subarray(0, 2).toString('hex');
  const isUtf16 = mark === 'fffe' || mark === 'feff';
  const encoding = request.encoding ?? (isUtf16 ? 'utf-16' : 'utf-8');
  if (encoding === 'utf-8') {
    // DuckDB's CSV reader knows the mark of UTF-8, the one of JSON does not.
    const isMarked = request.format === 'jsonl' && head.subarray(0, 3).toString('hex') === 'efbbbf';
    let left = isMarked ? 3 : 0;
    return {
      isChanging: isMarked,
      decode(chunk) {
        const cut = Math.min(left, chunk.length);
        left -= cut;
        return chunk.subarray(cut);
      },
    };
  }
  if (encoding === 'latin-1')
    return { isChanging: true, decode: (chunk) => Buffer.from(chunk.toString('latin1'), 'utf8') };
  const decoder = new TextDecoder(mark === 'feff' ? 'utf-16be' : 'utf-16le', { fatal: true });
  return {
    isChanging: true,
    decode(chunk, isLast) {
      try {
        return Buffer.from(decoder.decode(chunk, { stream: !isLast }), 'utf8');
      } catch {
        throw new DataProblem('encoding', `${request.name} is not UTF-16 throughout; write it in UTF-8`);
      }
    },
  };
}

/** @throws DataProblem for what is in the file; other errors are faults of the machine */
export async function readyFile(request: TextRequest): Promise<ReadyFile> {
  const { path, name, format, copy } = request;
  const file = await open(path, 'r');
  let head: Buffer;
  let size: number;
  try {
    ({ size } = await file.stat());
    head = await bytesAt(file, 0, 8);
    if (size === 0) throw new DataProblem('empty', `${name} is empty: it has no bytes`);
    const isGzip = head.subarray(0, 2).toString('hex') === '1f8b';
    const other = OTHER_MAGIC.find(([magic]) => head.toString('hex').startsWith(magic));
    if (other)
      throw new DataProblem('format', `${name} is ${other[1]}; send Parquet, CSV or JSON Lines, plain or with gzip`);
    if (format !== 'parquet' && head.subarray(0, 4).equals(PARQUET))
      throw new DataProblem(
        'format',
        `${name} is Parquet, not ${format}; name it .parquet or give the event its format`,
      );
    if (format === 'parquet' && isGzip)
      throw new DataProblem(
        'format',
        `${name} is compressed with gzip; Parquet compresses by itself, send it as it is`,
      );
    if (format === 'parquet') {
      await checkParquet(file, size, head, name);
      new Pass(request, null).measure(size);
      return { path, bytes: size, sample: '', isWhole: false, otherLineEnd: null };
    }
  } finally {
    await file.close();
  }
  return head.subarray(0, 2).toString('hex') === '1f8b' ? unpacked(request, size) : plain(request, size, head, copy);
}

async function plain(request: TextRequest, size: number, head: Buffer, copy: string): Promise<ReadyFile> {
  const pass = new Pass(request, null);
  pass.measure(size);
  return run(request, pass, createReadStream(request.path, { highWaterMark: MIB }), decoderOf(request, head), copy);
}

async function unpacked(request: TextRequest, size: number): Promise<ReadyFile> {
  const pass = new Pass(request, size);
  const source = createReadStream(request.path, { highWaterMark: MIB });
  const gunzip = createGunzip({ chunkSize: MIB });
  // What fails in the source fails in what is read from it.
  source.on('error', (error) => gunzip.destroy(error));
  source.pipe(gunzip);
  try {
    return await run(request, pass, gunzip, null, request.copy);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code.startsWith('Z_'))
      throw new DataProblem(
        'gzip',
        `${request.name} is cut off or damaged: its gzip compression cannot be undone; send it again, whole`,
      );
    throw error;
  } finally {
    source.destroy();
    gunzip.destroy();
  }
}

/** @param known how the bytes are decoded; null: told from the first ones, and a copy is written */
async function run(
  request: TextRequest,
  pass: Pass,
  source: Readable,
  known: Decoder | null,
  copy: string,
): Promise<ReadyFile> {
  let decoder = known;
  const isCopied = known === null || known.isChanging;
  let unpackedBytes = 0;
  async function* text(): AsyncGenerator<Buffer> {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      unpackedBytes += chunk.length;
      pass.measure(unpackedBytes);
      decoder ??= decoderOf(request, chunk);
      const decoded = decoder.decode(chunk, false);
      pass.check(decoded);
      yield decoded;
    }
    const rest = decoder?.decode(Buffer.alloc(0), true) ?? Buffer.alloc(0);
    pass.check(rest);
    pass.finish();
    yield rest;
  }
  if (isCopied) await pipeline(Readable.from(text(), { objectMode: false }), await fileSink(copy));
  else for await (const _ of text());
  const { text: sample, isWhole } = pass.sample;
  if (pass.bytes === 0) throw new DataProblem('empty', `${request.name} is empty: it unpacks to no bytes`);
  return {
    path: isCopied ? copy : request.path,
    bytes: pass.bytes,
    sample,
    isWhole,
    otherLineEnd: pass.otherLineEnd,
  };
}
