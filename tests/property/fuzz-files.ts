/**
 * Files as no one means to send them: whole ones of each format, cut off, flipped, mixed up, or made to hurt. Each is made from its number and a seed,
 * so that a finding can be made again.
 */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { CsvDialect } from '../../src/contracts/documents.ts';
import type { DataFormat } from '../../src/contracts/values.ts';

export interface FuzzFile {
  readonly kind: string;
  readonly format: DataFormat;
  readonly bytes: Buffer;
  readonly csv?: CsvDialect;
  readonly timeColumn: string | null;
}

/** Numbers from a seed: xorshift over a hash, the same on every machine. */
export class Dice {
  #state: number;
  constructor(seed: string) {
    this.#state = createHash('sha256').update(seed).digest().readUInt32LE(0) || 1;
  }
  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % Math.max(1, limit);
  }
  of<T>(choices: readonly T[]): T {
    const chosen = choices[this.below(choices.length)];
    if (chosen === undefined) throw new Error('nothing to choose from');
    return chosen;
  }
}

const WORDS = [
  '1',
  '-7',
  '0.1',
  '1e999',
  'NaN',
  'inf',
  '',
  ' ',
  'x',
  'é',
  '漢',
  '2024-01-02',
  '2024-13-45',
  'true',
  'NULL',
  "'",
  '"',
  '""',
  '\\',
  '007',
  '9'.repeat(40),
  '#',
  ';',
  '{',
  '[',
  '\u202e',
  '\uFEFF',
];

function csvText(dice: Dice): string {
  const columns = 1 + dice.below(6);
  const delimiter = dice.of([',', ',', ';', '\t', '|']);
  const end = dice.of(['\n', '\n', '\r\n', '\r']);
  const isNamedOddly = dice.below(5) === 0;
  const isRagged = dice.below(4) === 0;
  const names = Array.from({ length: columns }, (_one, index) =>
    isNamedOddly && dice.below(3) === 0 ? dice.of(['c0', '', 'a b', '__x']) : `c${index}`,
  );
  const rows = Array.from({ length: dice.below(60) }, () => {
    const width = isRagged && dice.below(12) === 0 ? dice.below(9) : columns;
    const fields = Array.from({ length: width }, () => {
      const word = dice.of(WORDS);
      return dice.below(5) === 0 || (!isNamedOddly && /["';]/.test(word))
        ? `"${word.replaceAll('"', '""')}${dice.of(['', end, delimiter])}"`
        : word;
    });
    return fields.join(delimiter) + (isRagged && dice.below(40) === 0 ? dice.of(['\n', '\r\n', '\r', '']) : end);
  });
  return names.join(delimiter) + end + rows.join('');
}

function jsonValue(dice: Dice, depth: number): unknown {
  const kind = dice.below(depth > 3 ? 6 : 8);
  if (kind === 6) return Array.from({ length: dice.below(4) }, () => jsonValue(dice, depth + 1));
  if (kind === 7) return { [dice.of(WORDS)]: jsonValue(dice, depth + 1) };
  return [null, dice.below(1_000) - 500, dice.below(1_000) / 7, dice.of(WORDS), true, '2024-01-02T03:04:05Z'][kind];
}

function jsonText(dice: Dice): string {
  const flat = dice.below(2) === 0;
  const lines = Array.from({ length: dice.below(40) }, (_one, index) => {
    const line = JSON.stringify({
      id: index,
      a: flat ? dice.below(9) : jsonValue(dice, 0),
      b: flat ? dice.of(WORDS) : jsonValue(dice, 0),
    });
    const twist = dice.below(400);
    if (twist === 0) return line.slice(0, dice.below(line.length));
    if (twist === 1) return `${line}${line}`;
    if (twist === 2)
      return dice.of(['[]', '5', '"x"', 'null', '{}', '{"a":1,"a":2}', '{"a":1e99999}', '{"\\ud800":1}', '']);
    return line;
  });
  return lines.join(dice.of(['\n', '\r\n']));
}

/** Bits flipped, parts cut, doubled, zeroed or replaced. */
function damaged(given: Buffer, dice: Dice): Buffer {
  let bytes = Buffer.from(given);
  for (let left = 1 + dice.below(4); left > 0 && bytes.length > 0; left -= 1) {
    const at = dice.below(bytes.length);
    const length = 1 + dice.below(Math.min(64, bytes.length - at));
    switch (dice.below(7)) {
      case 0:
        bytes = bytes.subarray(0, at);
        break;
      case 1:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
        break;
      case 3:
        bytes.fill(dice.of([0, 255, 0x22, 0x0a]), at, at + length);
        break;
      default:
        for (let bit = 0; bit < 1 + dice.below(8); bit += 1) {
          const place = (at + dice.below(length)) % bytes.length;
          bytes[place] = (bytes[place] ?? 0) ^ (1 << dice.below(8));
        }
    }
  }
  return bytes;
}

/** A Parquet file whose footer is damaged: what a reader believes first. */
function damagedFooter(given: Buffer, dice: Dice): Buffer {
  const bytes = Buffer.from(given);
  const footer = bytes.readUInt32LE(bytes.length - 8);
  const start = bytes.length - 8 - footer;
  for (let left = 1 + dice.below(6); left > 0; left -= 1) {
    const at = start + dice.below(footer + 4);
    bytes[at] = dice.of([0, 1, 0x7f, 0x80, 0xff, dice.below(256)]);
  }
  return bytes;
}

/** The kinds that cost memory or depth, rarer than the others. */
function hurting(dice: Dice): FuzzFile {
  const csv = (kind: string, bytes: Buffer): FuzzFile => ({ kind, format: 'csv', bytes, timeColumn: null });
  switch (dice.below(9)) {
    case 0:
      return csv('huge field', Buffer.from(`a,b\n1,${'x'.repeat(2 ** (16 + dice.below(9)))}\n`));
    case 1:
      return csv('open quote before much', Buffer.from(`a,b\n"${'1,2\n'.repeat(10_000 * (1 + dice.below(8)))}`));
    case 2:
      return csv(
        'gzip bomb',
        gzipSync(Buffer.alloc((66 + dice.below(14)) * 2 ** 20, dice.of(['a', 'a,b\n', '\n', '\0'])), { level: 9 }),
      );
    case 3:
      return csv(
        'many columns',
        Buffer.from(`${Array.from({ length: 500 + dice.below(1_500) }, (_one, index) => `c${index}`).join(',')}\n1\n`),
      );
    case 4:
      return csv('many short lines', Buffer.from('\n'.repeat(2 ** (10 + dice.below(11)))));
    case 5: {
      const depth = 10 ** (2 + dice.below(4));
      const [open, shut] = dice.of([
        ['[', ']'],
        ['{"a":', '}'],
      ] as const);
      return {
        kind: 'deep JSON',
        format: 'jsonl',
        bytes: Buffer.from(`{"a":${open.repeat(depth)}1${shut.repeat(depth)}}\n`),
        timeColumn: null,
      };
    }
    case 6: {
      const line = (from: number): string =>
        `{${Array.from({ length: 60 }, (_one, index) => `"k${from * 60 + index}":${index}`).join(',')}}`;
      const lines = Array.from({ length: 20 }, (_one, index) => line(index));
      return { kind: 'ever new keys', format: 'jsonl', bytes: Buffer.from(lines.join('\n')), timeColumn: null };
    }
    case 7:
      return {
        kind: 'one long JSON line',
        format: 'jsonl',
        bytes: Buffer.from(`{"a":"${'y'.repeat(2 ** (18 + dice.below(7)))}"}`),
        timeColumn: null,
      };
    default:
      return csv('random bytes', Buffer.from(Array.from({ length: dice.below(5_000) }, () => dice.below(256))));
  }
}

/** @param parquets whole files to be damaged */
export function fuzzFile(seed: number, number: number, parquets: readonly Buffer[]): FuzzFile {
  const dice = new Dice(`${seed}/${number}`);
  const timeColumn = dice.below(10) === 0 ? 'at' : null;
  if (dice.below(40) === 0) return hurting(dice);
  switch (dice.below(20)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      return { kind: 'damaged Parquet', format: 'parquet', bytes: damaged(dice.of(parquets), dice), timeColumn };
    case 5:
    case 6:
    case 7:
    case 8:
      return {
        kind: 'Parquet with a damaged footer',
        format: 'parquet',
        bytes: damagedFooter(dice.of(parquets), dice),
        timeColumn,
      };
    case 9:
    case 10: {
      const bytes = Buffer.from(jsonText(dice));
      return {
        kind: 'JSON Lines',
        format: 'jsonl',
        bytes: dice.below(3) === 0 ? damaged(bytes, dice) : bytes,
        timeColumn,
      };
    }
    case 11: {
      const text = dice.below(2) === 0 ? csvText(dice) : jsonText(dice);
      const whole = gzipSync(text);
      return {
        kind: 'gzip',
        format: dice.of(['csv', 'jsonl', 'parquet']),
        bytes: dice.below(2) === 0 ? damaged(whole, dice) : whole,
        timeColumn,
      };
    }
    case 12: {
      const encoding = dice.of(['utf-8', 'utf-16', 'latin-1'] as const);
      const written = dice.of(['utf16le', 'latin1', 'utf8'] as const);
      const bytes = Buffer.from(dice.of(['\uFEFF', '']) + csvText(dice), written);
      return {
        kind: 'another encoding',
        format: 'csv',
        bytes,
        timeColumn,
        ...(dice.below(2) === 0 ? {} : { csv: { header: true, encoding } }),
      };
    }
    case 13: {
      const bytes = Buffer.from(csvText(dice));
      const csv: CsvDialect = {
        header: dice.below(2) === 0,
        ...(dice.below(2) === 0 ? { delimiter: dice.of([',', ';', '||', ' ', 'x']) } : {}),
        ...(dice.below(3) === 0 ? { quote: dice.of(['', "'", '"', '|']) } : {}),
        ...(dice.below(3) === 0 ? { escape: dice.of(['\\', '"', '#']) } : {}),
        ...(dice.below(3) === 0 ? { skip: dice.below(20) } : {}),
        ...(dice.below(3) === 0 ? { comment: dice.of(['#', ',', 'c']) } : {}),
        ...(dice.below(3) === 0 ? { decimal: ',' as const } : {}),
        ...(dice.below(3) === 0 ? { nulls: ['', 'x', 'NaN'] } : {}),
      };
      return { kind: 'another dialect', format: 'csv', bytes, csv, timeColumn };
    }
    case 14:
      return {
        kind: 'another format',
        format: dice.of(['csv', 'jsonl', 'parquet']),
        bytes: dice.of([dice.of(parquets), Buffer.from(jsonText(dice)), Buffer.from(csvText(dice)), Buffer.alloc(0)]),
        timeColumn,
      };
    default: {
      const bytes = Buffer.from(csvText(dice));
      return { kind: 'CSV', format: 'csv', bytes: dice.below(3) === 0 ? damaged(bytes, dice) : bytes, timeColumn };
    }
  }
}
