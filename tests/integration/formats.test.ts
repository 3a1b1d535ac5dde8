/** Files as people send them: each becomes the same table, or a problem that names the file, the place, and what would be right. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { parquetOf, withSession } from '../../src/adapters/duckdb/session.ts';
import type { CsvDialect } from '../../src/contracts/documents.ts';
import type { DataFormat } from '../../src/contracts/values.ts';
import type { ConvertRequest } from '../../src/ports/data.ts';

let folder: string;
let parquet: Buffer;
const engine = createDataEngine({ maxBytes: 400 * 2 ** 20 });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-formats-'));
  const path = join(folder, 'whole.parquet');
  await withSession({ folders: [folder] }, (session) =>
    session.run(`COPY (SELECT i AS a, 'text ' || i AS b FROM range(50000) t(i)) TO '${path}' (FORMAT parquet)`),
  );
  parquet = await readFile(path);
});
afterAll(() => rm(folder, { recursive: true }));

let files = 0;
/** Times come as the text of a Date. */
const isoOf = (cell: unknown): unknown =>
  typeof cell === 'string' && / GMT\+0000 /.test(cell) ? new Date(cell).toISOString() : cell;

async function convert(
  bytes: string | Buffer,
  format: DataFormat,
  csv?: Partial<CsvDialect>,
  more: Partial<ConvertRequest> = {},
) {
  files += 1;
  const own = join(folder, String(files));
  await mkdir(own);
  const path = join(own, 'source');
  await writeFile(path, bytes);
  const output = join(own, 'out.parquet');
  try {
    const done = await engine.convert({
      ...{ path, format, timeColumn: null, output, name: 'x.csv' },
      ...(csv === undefined ? {} : { csv: { header: true, ...csv } }),
      ...more,
    });
    const rows = await withSession({ files: [output] }, (session) =>
      session.rows(`SELECT * FROM ${parquetOf([output])} LIMIT 100`),
    );
    return {
      ...done,
      values: rows.map((row) => Object.fromEntries(Object.entries(row).map(([key, cell]) => [key, isoOf(cell)]))),
    };
  } finally {
    const left = (await readdir(own)).filter((name) => name !== 'source' && name !== 'out.parquet');
    expect(left.filter((name) => name !== '.spill')).toEqual([]);
  }
}

const utf16 = (text: string, bigEndian = false): Buffer => {
  const bytes = Buffer.from(`\uFEFF${text}`, 'utf16le');
  return bigEndian ? bytes.swap16() : bytes;
};
const TABLE = [
  { a: 1, b: 'x, "y"' },
  { a: 2, b: 'é\nz' },
];
const CSV = 'a,b\n1,"x, ""y"""\n2,"é\nz"\n';

describe('the same table', () => {
  const cases: readonly (readonly [string, string | Buffer, DataFormat, Partial<CsvDialect>?])[] = [
    ['comma', CSV, 'csv'],
    ['semicolon', 'a;b\n1;"x, ""y"""\n2;"é\nz"\n', 'csv'],
    ['tab', 'a\tb\n1\t"x, ""y"""\n2\t"é\nz"\n', 'csv'],
    ['pipe', 'a|b\n1|"x, ""y"""\n2|"é\nz"\n', 'csv'],
    ['CR LF', 'a,b\r\n1,"x, ""y"""\r\n2,"é\nz"\r\n', 'csv'],
    ['no last line end', CSV.slice(0, -1), 'csv'],
    ['UTF-8 with a mark', `\uFEFF${CSV}`, 'csv'],
    ['UTF-16', utf16(CSV), 'csv'],
    ['UTF-16, big endian', utf16(CSV, true), 'csv'],
    ['UTF-16 without a mark', utf16(CSV).subarray(2), 'csv', { encoding: 'utf-16' }],
    ['latin-1', Buffer.from(CSV, 'latin1'), 'csv', { encoding: 'latin-1' }],
    ['a backslash before quotes', 'a,b\n1,"x, \\"y\\""\n2,"é\nz"\n', 'csv'],
    ['single quotes', "a,b\n1,'x, \"y\"'\n2,'é\nz'\n", 'csv', { quote: "'" }],
    ['a title', `A report\n\n${CSV}`, 'csv', { skip: 2 }],
    ['comments', `# a report\n${CSV}# the end\n`, 'csv', { comment: '#' }],
    ['gzip', gzipSync(CSV), 'csv'],
    ['gzip of UTF-16', gzipSync(utf16(CSV)), 'csv'],
    ['two gzip members', Buffer.concat([gzipSync(CSV.slice(0, 9)), gzipSync(CSV.slice(9))]), 'csv'],
    ['JSON Lines', `${TABLE.map((row) => JSON.stringify(row)).join('\n')}\n`, 'jsonl'],
    ['JSON Lines with a mark', `\uFEFF${TABLE.map((row) => JSON.stringify(row)).join('\r\n')}`, 'jsonl'],
    ['JSON Lines, gzip', gzipSync(TABLE.map((row) => JSON.stringify(row)).join('\n')), 'jsonl'],
  ];
  it.each(cases.map(([name, bytes, format, csv]) => ({ name, bytes, format, csv })))('$name', async (one) => {
    const { values, rows, columns } = await convert(one.bytes, one.format, one.csv);
    expect(values).toEqual(TABLE);
    expect(rows).toBe(2);
    expect(columns.map(({ name, type }) => `${name} ${type}`)).toEqual(['a int64', 'b string']);
  });

  it('other nulls and another decimal separator', async () => {
    const { values } = await convert('a;b\n1,5;NA\n-;x\n', 'csv', { nulls: ['NA', '-'], decimal: ',' });
    expect(values).toEqual([
      { a: 1.5, b: null },
      { a: null, b: 'x' },
    ]);
  });
  it('a file without a header', async () => {
    const { values } = await convert('1,x\n2,y\n', 'csv', { header: false });
    expect(values).toEqual([
      { column0: 1, column1: 'x' },
      { column0: 2, column1: 'y' },
    ]);
  });
  it('a row that begins like a comment, and blank lines, lose nothing', async () => {
    expect((await convert('a,b\n#1,2\n\n3,4\n', 'csv')).values).toEqual([
      { a: '#1', b: 2 },
      { a: '3', b: 4 },
    ]);
  });
});

describe('dates and texts are never guessed', () => {
  const column = async (values: readonly string[], csv?: Partial<CsvDialect>, more?: Partial<ConvertRequest>) => {
    const { columns, values: rows } = await convert(
      `x,n\n${values.map((one) => `${one},1\n`).join('')}`,
      'csv',
      csv,
      more,
    );
    return { type: columns.find(({ name }) => name === 'x')?.type, values: rows.map(({ x }) => x) };
  };
  const unclear = ['03/04/2024', '01/02/2024'];
  const moments = unclear.map((day) => `${day} 10:00:00`);

  it.each([
    ['days', unclear, /column x of x\.csv fits %d\/%m\/%Y as well as %m\/%d\/%Y: .* say csv\.date_format/],
    ['moments', moments, /column x of x\.csv fits .* as well as .* say csv\.timestamp_format/],
    ['years of two digits', ['03/04/24', '01/02/24'], /fits %y\/%m\/%d as well as %d\/%m\/%y/],
    ['years of two digits that come first', ['24-03-04', '24-02-04'], /x of x\.csv (fits|has years)/],
  ] as const)('%s that fit several orders are refused', async (_, values, message) => {
    await expect(column(values)).rejects.toThrow(message);
    // Nobody reads it as a date.
    expect(await column(values, undefined, { texts: ['X'] })).toEqual({ type: 'string', values });
    for (const more of [{ only: ['n'] }, { ignored: ['x'] }])
      expect((await convert(`x,n\n${values[0]},1\n`, 'csv', undefined, more)).values).toEqual([{ n: 1 }]);
  });

  it('the document says how they are written', async () => {
    await expect(column(unclear, { date_format: '%d/%m/%Y %Q' })).rejects.toThrow(/x\.csv cannot be read as csv: .*%Q/);
    expect(await column(unclear, { date_format: '%m/%d/%Y' })).toEqual({
      type: 'timestamp',
      values: ['2024-03-04T00:00:00.000Z', '2024-01-02T00:00:00.000Z'],
    });
    expect((await column(unclear, { date_format: '%d/%m/%Y' })).values[0]).toBe('2024-04-03T00:00:00.000Z');
    expect((await column(moments, { timestamp_format: '%m/%d/%Y %H:%M:%S' })).values[0]).toBe(
      '2024-03-04T10:00:00.000Z',
    );
  });

  it('dates that tell themselves are read', async () => {
    expect((await column(['03/14/2024', '01/02/2024'])).values).toEqual([
      '2024-03-14T00:00:00.000Z',
      '2024-01-02T00:00:00.000Z',
    ]);
    expect((await column(['14/03/2024', '01/02/2024'])).values[0]).toBe('2024-03-14T00:00:00.000Z');
    expect((await column(['03/03/2024', '04/04/2024'])).type).toBe('timestamp');
    expect((await column(['2024-03-04', '2024-01-02'])).values[0]).toBe('2024-03-04T00:00:00.000Z');
    expect((await column(['2024-03-04T10:00:00+02:00'])).values[0]).toBe('2024-03-04T08:00:00.000Z');
    expect(await column(['09:00:00', '10:30:00'])).toEqual({ type: 'string', values: ['09:00:00', '10:30:00'] });
  });

  it('texts of JSON stay as they are written, unless all of a column are ISO 8601', async () => {
    const row = {
      ...{ id: 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', opens: '09:00:00', day: '03-04-2024', short: '24-03-04' },
      ...{ at: '2024-03-04T10:00:00+02:00', date: '2024-03-04', code: '2024-03-04', n: 7, half: 1.5, ok: true },
    };
    const line = `${JSON.stringify(row)}\n`;
    const { columns, values } = await convert(line, 'jsonl', undefined, { texts: ['CODE'] });
    expect(values).toEqual([{ ...row, at: '2024-03-04T08:00:00.000Z', date: '2024-03-04T00:00:00.000Z' }]);
    expect(columns.flatMap(({ name, type }) => (type === 'timestamp' ? [name] : []))).toEqual(['at', 'date']);
    for (const at of [2, '2024-03-04'])
      await expect(convert(`${JSON.stringify({ a: 1, A: at })}\n`, 'jsonl')).rejects.toThrow(
        /column a of x\.csv is there twice/i,
      );
    expect((await convert('{"a":1,"a_1":"2024-03-04"}\n', 'jsonl')).columns).toHaveLength(2);
    // A number is no text.
    const numbers = await convert('{"code":7,"id":"2024-03-04"}\n', 'jsonl', undefined, { texts: ['code', 'id'] });
    expect(numbers.columns.map(({ type }) => type)).toEqual(['int64', 'string']);
  });
});

describe('what cannot be read is named', () => {
  const many = '1,2\n'.repeat(100_000);
  const wide = (levels: number): string => `{"a":${'['.repeat(levels)}${']'.repeat(levels)}}\n`;
  const noise = Array.from({ length: 500 }, (_, index) => createHash('md5').update(String(index)).digest('hex')).join(
    '\n',
  );
  const cases: readonly (readonly [string, () => string | Buffer, DataFormat, RegExp, Partial<CsvDialect>?])[] = [
    ['no bytes', () => '', 'csv', /x\.csv is empty/],
    ['gzip of nothing', () => gzipSync(''), 'csv', /x\.csv is empty/],
    ['blank lines only', () => '\n\n', 'csv', /has no header/],
    ['a short row', () => 'a,b,c\n1,2\n3,4,5\n', 'csv', /line 2 has 2 fields where the header has 3/],
    ['a long row', () => 'a,b\n1,2\n1,2,3\n', 'csv', /line 3 has 3 fields where the header has 2; quote/],
    ['a long row, late', () => `a,b\n${many}1,2,3\n`, 'csv', /line 100002 has 3 fields where the header has 2/],
    ['an open quote', () => 'a,b\n"1,2\n3,4\n', 'csv', /line 2 opens a quote that is never closed/],
    ['a title nobody told of', () => 'My report\na,b\n1,2\n', 'csv', /line 2 has 2 fields.*csv\.skip/],
    ['a column twice', () => 'a,b,A\n1,2,3\n', 'csv', /column A of x\.csv is there twice/],
    ['mixed line ends', () => 'a,b\r\n1,2\n3,4\r\n', 'csv', /line 2 ends in another way/],
    ['latin-1 as UTF-8', () => Buffer.from('a\nx\né\n', 'latin1'), 'csv', /line 3 of x\.csv is not UTF-8.*latin-1/],
    [
      'UTF-8 as UTF-16',
      () => Buffer.from('a\nb\nc'),
      'csv',
      /not UTF-16|has no header|cannot be read/,
      { encoding: 'utf-16' },
    ],
    ['NUL', () => 'a,b\n1,2\n3,\0\n', 'csv', /line 3 of x\.csv holds a NUL/],
    ['a huge field', () => `a,b\n1,${'x'.repeat(17 * 2 ** 20)}\n`, 'csv', /line 2 of x\.csv is longer than 16 MiB/],
    ['a zip archive', () => Buffer.from('504b030414000000', 'hex'), 'csv', /is a zip archive; send/],
    ['Parquet under another name', () => parquet, 'csv', /is Parquet, not csv/],
    ['gzip that was cut off', () => gzipSync(noise).subarray(0, 500), 'csv', /gzip compression cannot be undone/],
    ['a bomb', () => gzipSync(Buffer.alloc(70 * 2 ** 20, 'a,b\n')), 'csv', /unpacks to more than 200 times/],
    ['not JSON', () => '{"a":1}\n{"a":\n{"a":3}\n', 'jsonl', /Malformed JSON.*line [23]/],
    ['a JSON array', () => '[{"a":1}]\n', 'jsonl', /cannot be read as jsonl/],
    ['a number', () => '5\n', 'jsonl', /expected records/],
    ['nested JSON', () => '{"a":{"b":1}}\n', 'jsonl', /column a of x\.csv is STRUCT.*flatten/],
    ['mixed types', () => '{"a":1}\n{"a":"x"}\n', 'jsonl', /column a of x\.csv holds values of several kinds/],
    ['a key twice below mixed types', () => '{"a":1}\n{"a":"x"}\n{"a":1,"a":2}\n', 'jsonl', /duplicate key/],
    ['a key twice', () => '{"a":1,"a":2}\n', 'jsonl', /duplicate key|twice/],
    ['JSON 100,000 deep', () => wide(100_000), 'jsonl', /cannot be read as jsonl/],
    ['Parquet that was cut off', () => parquet.subarray(0, 5_000), 'parquet', /is cut off/],
    [
      'a footer that lies',
      () => Buffer.concat([parquet.subarray(0, -8), Buffer.from('ffffff7f', 'hex'), Buffer.from('PAR1')]),
      'parquet',
      /footer claims/,
    ],
    [
      'a damaged footer',
      () => Buffer.concat([parquet.subarray(0, -200), Buffer.alloc(192, 0xff), parquet.subarray(-8)]),
      'parquet',
      /cannot be read as parquet/,
    ],
    ['Parquet in gzip', () => gzipSync(parquet), 'parquet', /compresses by itself/],
    ['text as Parquet', () => CSV, 'parquet', /is not Parquet/],
  ];
  const named = cases.map(([name, bytes, format, message, csv]) => ({ name, bytes, format, message, csv }));
  it.each(named)('$name', async ({ bytes, format, message, csv }) => {
    const refused = convert(bytes(), format, csv);
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toMatchObject({ name: 'DataProblem' });
    await expect(refused).rejects.not.toThrow(folder);
  });

  it('what stands in a broken line is an example, no part of the sentence: that goes where nothing can be erased', async () => {
    await expect(convert('name,n\nJane Doe,1,2\n', 'csv')).rejects.toMatchObject({
      message: expect.not.stringContaining('Jane'),
      examples: ['Jane Doe,1,2'],
    });
  });

  it('a file larger than is allowed, also when it is so only unpacked', async () => {
    const small = createDataEngine({ maxBytes: 1_000 });
    const path = join(folder, 'large');
    const request = { path, format: 'csv', timeColumn: null, output: join(folder, 'large.parquet') } as const;
    for (const bytes of [`a\n${'1\n'.repeat(1_000)}`, gzipSync(`a\n${'1\n'.repeat(1_000)}`)]) {
      await writeFile(path, bytes);
      await expect(small.convert(request)).rejects.toThrow(/more than 1000 bytes.*REFIT_DATA_MAX_BYTES/);
    }
  });
});
