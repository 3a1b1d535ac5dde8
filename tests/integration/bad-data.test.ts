/**
 * Each kind of bad data ends as 'data rejected', with the check, the column and examples; the champion serves on, and what
 * comes after is taken in. Real activities, registry, store and DuckDB; the whole loop has the same in tests/e2e.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DataProfile } from '../../src/contracts/data.ts';
import { withoutExamples } from '../../src/domain/rejection.ts';
import { type BadDataWorld, badDataWorld, departures, type Items } from '../support/bad-data.ts';

let world: BadDataWorld;
beforeAll(async () => {
  world = await badDataWorld();
  await world.register('planes', { id: undefined, time: undefined, expect: [] });
  await world.arrive('planes', await world.parquet("SELECT 'N' || i AS tail FROM range(5) t(i)"));
  await world.register('flights');
  expect(await world.arrive('flights', await world.parquet(departures(0)), { partition: 'p1' })).toMatchObject({
    status: 'version',
  });
});
afterAll(() => world.close());

/** What a rejection must say: the check, the column, and an example or the reason. */
type Told = readonly [check: string, column: string | null, shown: RegExp];
const sentence = ([check, column]: Told): string =>
  `data rejected: ${check}${column === null ? '' : ` in column ${column}`}: `;

/** The registry has the whole sentence; what histories and chains get lacks the examples, which may name a person. */
function requireTold(result: { readonly reason?: string; readonly whole: string | null }, told: Told): void {
  expect(result.whole?.slice(0, sentence(told).length)).toBe(sentence(told));
  expect(result.whole).toMatch(told[2]);
  expect(result.reason).toBe(withoutExamples(result.whole ?? ''));
}

describe('an arrival of bad data', () => {
  const rows = (changes: Items, count?: number) => () => world.parquet(departures(400, changes, count));
  const text = (content: string | Uint8Array, ending: string) => () => world.text(content, ending);
  const header = 'id,at,distance,wind,seats,origin,gate,tail,late,delay';
  const line = 'f9000,2026-02-01,100,1.5,50,EWR,G1,N1,true,3.5';

  const cases: readonly (readonly [string, () => Promise<string>, Told, object?])[] = [
    // Schema.
    ['a column is missing', rows({ wind: null }), ['schema', 'wind', /lacks column wind \(float64\)/]],
    ['a number became a text', rows({ distance: "'far'" }), ['schema', 'distance', /as string, .* has it as int64/]],
    ['a text became a number', rows({ gate: 'i' }), ['schema', 'gate', /as int64, .* has it as string/]],
    ['a truth became a number', rows({ late: '1' }), ['schema', 'late', /as int64, .* has it as bool/]],
    ['the id is missing', rows({ id: null }), ['schema', 'id', /lacks column id/]],
    [
      'the time is missing',
      rows({ at: null }),
      ['missing_column', 'at', /has no column at, which is the dataset's time/],
    ],
    ['the time is a text', rows({ at: "'tomorrow'" }), ['type', 'at', /is string; the dataset's time must be/]],
    // Rows.
    ['no row at all', rows({}, 0), ['empty', null, /no rows/]],
    ['a header and nothing else', text(`${header}\n`, 'csv'), ['type', 'at', /is string/]],
    ['too few rows', rows({}, 99), ['rows', null, /99 rows, at least 100 are expected/]],
    ['too many rows', rows({}, 1001), ['rows', null, /1001 rows, at most 1000 are expected/]],
    [
      'another number of rows than the event says',
      rows({}),
      ['rows', null, /event says 7 rows, the files have 400/],
      { rows: 7 },
    ],
    // Values.
    [
      'nulls where there may be none',
      rows({ distance: 'CASE WHEN i <> 3 THEN 500 END' }),
      ['not_null', 'distance', /1 value .* null \(id f403\)/],
    ],
    [
      'too many nulls',
      rows({ wind: 'CASE WHEN i % 2 = 0 THEN 1.5 + i END' }),
      ['null_share', 'wind', /0\.5000 of wind is null/],
    ],
    [
      'a column without any value',
      rows({ gate: 'NULL::VARCHAR' }),
      ['all_null', 'gate', /null in all 400 rows: the version before has it in 100\.00 %/],
    ],
    ['a time without any value', rows({ at: 'NULL::TIMESTAMP' }), ['all_null', 'at', /null in all 400 rows/]],
    [
      'a number out of range',
      rows({ distance: 'CASE WHEN i = 5 THEN -1 ELSE 500 + i END' }),
      ['between', 'distance', /for example -1 \(id f405\)/],
    ],
    [
      'a time out of range',
      rows({ at: "CASE WHEN i = 5 THEN TIMESTAMP '1970-01-01' ELSE TIMESTAMP '2026-02-01' + to_seconds(i) END" }),
      ['between', 'at', /for example 1970-01-01 00:00:00 \(id f405\)/],
    ],
    [
      'an unknown value',
      rows({ origin: "CASE WHEN i < 3 THEN 'XXX' ELSE 'JFK' END" }),
      ['in', 'origin', /3 values .* 0\.75 % of the rows, for example XXX \(id f400\)/],
    ],
    [
      'a text of another pattern',
      rows({ gate: "CASE WHEN i = 7 THEN 'G7b' ELSE 'G' || i % 40 END" }),
      ['matches', 'gate', /for example G7b \(id f407\)/],
    ],
    [
      'a row that breaks a condition',
      rows({ seats: 'CASE WHEN i = 9 THEN 2 ELSE 50 + (i * 31) % 200 END' }),
      ['sql', 'seats', /seats-for-all: 1 row .* for example 2 \(id f409\)/],
    ],
    [
      'a condition that cannot be computed',
      rows({ gate: "CASE WHEN i = 7 THEN 'Gate' ELSE 'G' || i % 40 END" }),
      ['matches', 'gate', /Gate .*and 1 more: sql/],
    ],
    [
      'only NaN and infinities',
      rows({ wind: "CASE WHEN i % 2 = 0 THEN 'nan'::DOUBLE ELSE 'inf'::DOUBLE END" }),
      ['not_finite', 'wind', /no finite value: 400 values/],
    ],
    // Ids.
    [
      'an id twice',
      rows({ id: "'f' || (1000 + i // 2)" }),
      ['unique', 'id', /200 rows repeat a value of id, 50\.00 % .* f1000; f1001; f1002/],
    ],
    [
      'an id of another partition',
      rows({ id: "'f' || (i + 398)" }),
      ['unique', 'id', /2 values of id came before, .*f398 \(in p1\); f399 \(in p1\)/],
    ],
    [
      'a key that the other dataset does not have',
      rows({ tail: "'N' || i % 6" }),
      ['foreign_key', 'tail', /66 values .* for example N5 \(id f405\)/],
    ],
    // Against what came before.
    [
      'data that is too old',
      rows({ at: "TIMESTAMP '2015-01-01' + to_seconds(i)" }),
      ['between', 'at', /and 1 more: freshness/],
    ],
    ['another distribution', rows({ seats: '900 + i' }), ['like_reference', 'seats', /Jensen-Shannon .* was /]],
    // Files.
    [
      'a file that was cut off',
      async () => world.text((await bytesOf(departures(400))).subarray(0, 2_000), 'parquet'),
      ['unreadable', null, /parquet/],
    ],
    ['a file of something else', text('\u0001\u0002 no data', 'parquet'), ['format', null, /parquet/i]],
    ['an empty file', text('', 'jsonl'), ['empty', null, /jsonl/]],
    [
      'rows of uneven width',
      text(`${header}\n${line}\n${line},more\n`, 'csv'),
      ['unreadable', null, /csv|CSV|line|row/],
    ],
    [
      'another encoding',
      text(Buffer.from(`${header}\n${line.replace('EWR', 'Z\u00fcrich')}\n`, 'latin1'), 'csv'),
      ['encoding', null, /UTF-8|utf-8|encod/i],
    ],
    ['broken JSON', text('{"id": "a"}\n{"id": \n', 'jsonl'), ['unreadable', null, /json/i]],
    ['nested values', rows({ wind: '[1.0, 2.0]' }), ['type', 'wind', /DOUBLE\[\]|DECIMAL.*\[\]/]],
    ['a name of our own', rows({ __label: '1' }), ['column_name', '__label', /Refit's own/]],
    [
      'other bytes than the event says',
      rows({}),
      ['sha256', null, /the event says 0{64}/],
      { sha256: ['0'.repeat(64)] },
    ],
    // Places.
    ['an unknown format', text('x', 'xlsx'), ['format', null, /give the event a format/]],
    ['a file that is gone', async () => `file://${world.folder}/project/gone.parquet`, ['uri', null, /does not exist/]],
    ['a place outside of the project', async () => 'file:///etc/hostname.csv', ['uri', null, /exist|outside/]],
    [
      'a way out of the project',
      async () => `file://${world.folder}/project/../refit.csv`,
      ['uri', null, /exist|outside|\.\./],
    ],
    [
      'a hidden way out of the project',
      async () => `file://${world.folder}/project/%2e%2e%2frefit.csv`,
      ['uri', null, /hides|escape|%2f|\.\./],
    ],
    ['a scheme that nobody allowed', async () => 'gopher://example.org/x.csv', ['uri', null, /gopher/]],
  ];
  async function bytesOf(query: string): Promise<Buffer> {
    const { readFile } = await import('node:fs/promises');
    const { fileURLToPath } = await import('node:url');
    return readFile(fileURLToPath(await world.parquet(query)));
  }

  it.each(cases.map(([name, make, told, more]) => ({ name, make, told, more })))(
    '$name',
    async ({ make, told, more }) => {
      const before = await world.state('flights');
      const result = await world.arrive('flights', await make(), { partition: 'p2', ...more });
      expect(result.status).toBe('refused');
      requireTold(result, told);
      const [last] = await world.registry.audit('flights', 1);
      expect(last?.body.reason).toBe(withoutExamples(result.whole ?? ''));
      expect(await world.state('flights')).toEqual(before);
    },
  );

  it('and the next good one is a version', async () => {
    const good = await world.parquet(departures(400, { wind: "CASE WHEN i = 3 THEN 'nan'::DOUBLE ELSE i / 7.0 END" }));
    expect(await world.arrive('flights', good, { partition: 'p2' })).toMatchObject({ status: 'version', version: 2 });
    const warned = (await world.registry.audit('dataset/flights', 10)).find(({ action }) => action === 'data.warned');
    expect(warned?.body).toMatchObject({
      warnings: expect.arrayContaining([
        expect.objectContaining({ check: 'not_finite', column: 'wind', detail: expect.stringMatching(/^1 value/) }),
      ]),
    });
    // In CSV a text of digits alone stays a text, where the dataset has it as one.
    const lines = Array.from(
      { length: 120 },
      (_, row) => `f${5000 + row},2026-02-01,100,1.5,${50 + ((row * 31) % 200)},EWR,G1,N1,true,3.5`,
    );
    const digits = ['id,at,distance,wind,seats,origin,gate,tail,late,delay', ...lines].join('\n').replaceAll('f5', '5');
    expect(await world.arrive('flights', await world.text(digits, 'csv'), { partition: 'p3' })).toMatchObject({
      version: 3,
    });
    // A correction brings the ids of its own partition again.
    const corrected = await world.parquet(departures(400));
    expect(await world.arrive('flights', corrected, { partition: 'p2' })).toMatchObject({ version: 4 });
  });
});

describe('a run on data that only its label, features or split show to be bad', () => {
  const plain = { expect: [], id: 'id', time: undefined };
  const regression = { task: 'regression', label: { sql: 'delay' } };
  const DELAY = '((i * 104729) % 97 - 20.5)';
  const classes = { task: 'multiclass-classification', label: { sql: 'origin' }, features: ['distance', 'wind'] };
  const timed = { split: { type: 'time', test: 0.2, validation: 0.1 } };
  /** Rows of which each is there twice. */
  const twice: Items = {
    ...{ id: null, at: null, distance: '(i // 2 * 7919) % 900', wind: '(i // 2 * 104723) % 9973 / 100.0', gate: null },
    ...{ seats: 'i // 2', origin: "'EWR'", tail: null, late: '(i // 2 * 104729) % 7 < 2', delay: null },
  };
  const cases: readonly (readonly [string, Items, object, object, Told])[] = [
    ['no label is known', { late: 'NULL::BOOLEAN' }, plain, {}, ['empty', null, /no row with a known label/]],
    ['one class', { late: 'true' }, plain, {}, ['one_class', null, /all train rows have the label true.*true/]],
    [
      'three classes where there should be two',
      { late: 'i % 3' },
      plain,
      {},
      ['classes', null, /has 3, for example 0; 1; 2/],
    ],
    [
      'a text label for a regression',
      {},
      plain,
      { task: 'regression', label: { sql: 'gate' } },
      ['label', null, /needs a number/],
    ],
    [
      'a label that cannot be computed',
      {},
      plain,
      { label: { sql: 'CAST(gate AS BIGINT) > 1' } },
      ['label', null, /cannot be computed/],
    ],
    [
      'features that cannot be computed',
      { wind: "'much'" },
      plain,
      { ...regression, features: ['nowhere'] },
      ['features', null, /nowhere/],
    ],
    [
      'a feature without any value',
      { wind: 'NULL::DOUBLE' },
      plain,
      {},
      ['all_null', 'wind', /null in all train rows/],
    ],
    [
      'all rows at one time',
      { at: "TIMESTAMP '2026-01-01'" },
      { expect: [] },
      timed,
      ['empty', null, /share one time/],
    ],
    ['the label in a number', { wind: '(i * 104729) % 7 / 10.0' }, plain, {}, ['label_leak', 'wind', /AUC/]],
    [
      'the label in a text',
      { origin: "CASE WHEN (i * 104729) % 7 < 2 THEN 'EWR' ELSE 'JFK' END" },
      plain,
      {},
      ['label_leak', 'origin', /stands for one class/],
    ],
    [
      'the label in other units',
      { wind: `${DELAY} * 60 + 1` },
      plain,
      regression,
      ['label_leak', 'wind', /other units/],
    ],
    [
      'the label on another scale',
      { wind: `exp(${DELAY} / 10)` },
      plain,
      regression,
      ['label_leak', 'wind', /another scale/],
    ],
    [
      'a category that tells a number',
      { origin: "'c' || (i * 104729) % 7", wind: 'i % 13', delay: '(i * 104729) % 7 * 1.5' },
      plain,
      { ...regression, features: ['origin', 'wind'] },
      ['label_leak', 'origin', /one value of the label|other units/],
    ],
    [
      'one of three classes in a number of many values',
      { wind: '((i * 7) % 3) * 1000 + i / 2.0' },
      plain,
      classes,
      ['label_leak', 'wind', /class by class/],
    ],
    [
      'rows that are in train and test',
      twice,
      { ...plain, id: undefined },
      { features: ['distance', 'wind'] },
      ['train_test_overlap', null, /in the train part too, by the content of all columns.*row \d+/],
    ],
    [
      'ids that come again, where that is only warned of',
      { id: "'f' || i // 2" },
      { ...plain, expect: [{ type: 'unique', column: 'id', severity: 'warn' }] },
      {},
      ['repeated_ids', 'id', /200 rows repeat.*f0/],
    ],
  ];

  it.each(cases)('%s', async (title, changes, dataset, model, told) => {
    const name = `bad-${title.replaceAll(/[^a-z]+/g, '-').slice(0, 50)}`.replace(/-$/, '');
    await world.register(name, dataset, model);
    const before = await world.state(name);
    expect(await world.arrive(name, await world.parquet(departures(0, changes)))).toMatchObject({ status: 'version' });
    const result = await world.run(name);
    expect(result.status).toBe('data_rejected');
    requireTold(result, told);
    expect(await world.state(name)).toEqual({ ...(before as object), data: 1 });
  });
});

describe('what an arrival leaves', () => {
  const manifestOf = async (name: string) => (await world.registry.latestDatasetVersion(name))?.manifest;
  const columnsOf = async (name: string): Promise<readonly string[]> =>
    ((await manifestOf(name))?.columns ?? []).map((column) => `${column.name} ${column.type}`);
  const gateOf = async (name: string) => {
    const bytes = await world.store.getBytes((await manifestOf(name))?.profile ?? '');
    const profile = JSON.parse(Buffer.from(bytes).toString()) as DataProfile;
    return profile.columns.find((column) => column.name === 'gate');
  };
  const stored = async (): Promise<number> =>
    (await readdir(join(world.folder, 'artifacts'), { recursive: true, withFileTypes: true })).filter((one) =>
      one.isFile(),
    ).length;

  it('that is refused is nothing: neither erasure nor retention would ever find it', async () => {
    const before = await stored();
    for (const changes of [{ distance: '-1' }, { wind: null }])
      expect(await world.arrive('flights', await world.parquet(departures(800, changes)))).toMatchObject({
        status: 'refused',
      });
    expect(await stored()).toBe(before);
  });

  it('of a column that is no part of the dataset is nothing: named later as another type it is null before', async () => {
    const [name, dataset] = ['columns', { expect: [] }];
    await world.register(name, dataset);
    await world.arrive(name, await world.parquet(departures(0, { gate: null })));
    const extra = await world.parquet(departures(400, { gate: "'A' || i" }));
    expect(await world.arrive(name, extra)).toMatchObject({ status: 'version' });
    const more = await world.parquet(departures(800, { gate: 'i' }));
    expect(await world.arrive(name, more)).toMatchObject({ status: 'version' });
    await world.apply(name, { ...dataset, columns: { gate: 'int64' } });
    const next = await world.parquet(departures(1200, { gate: 'i' }));
    expect(await world.arrive(name, next)).toMatchObject({ status: 'version', version: 4 });
    expect(await columnsOf(name)).toContain('gate int64');
    expect(await gateOf(name)).toMatchObject({ type: 'int64', nulls: 1200 });
    // Sent again, a source takes the place of what was left of it, now with the column.
    expect(await world.arrive(name, more)).toMatchObject({ status: 'version', version: 5 });
    expect(await manifestOf(name)).toMatchObject({ rows: 1600 });
    expect(await gateOf(name)).toMatchObject({ nulls: 800 });
  });

  it('of a column that was let go is found when it is named as another type, and holds up no other arrival', async () => {
    const [name, dataset] = ['let-go', { expect: [] }];
    await world.register(name, dataset);
    const arrive = async (first: number, changes: Items) =>
      world.arrive(name, await world.parquet(departures(first, changes)));
    await arrive(0, { gate: "'A' || i" });
    await world.apply(name, { ...dataset, columns: { gate: 'ignored' } });
    await arrive(400, { gate: '{ x: i }' });
    expect(await columnsOf(name)).not.toContain('gate string');
    await world.apply(name, { ...dataset, columns: { gate: 'int64' } });
    const reason = expect.stringMatching(
      /data rejected: schema in column gate: partition .*give the column another name/,
    );
    expect(await arrive(800, { gate: 'i' })).toMatchObject({ status: 'refused', reason });
    await world.apply(name, { ...dataset, columns: { gate: 'ignored' } });
    expect(await arrive(800, { gate: 'i' })).toMatchObject({ status: 'version', version: 3 });
  });

  it('reads whole numbers that came as floats beside a null back, and takes no other floats for an id', async () => {
    const [name, dataset] = ['float-ids', { expect: [] }];
    await world.register(name, dataset);
    await world.arrive(name, await world.parquet(departures(0, { id: 'i' })));
    const asFloats = { id: 'CASE WHEN i > 0 THEN CAST(i + 400 AS DOUBLE) END', seats: '50.0 + i' };
    expect(await world.arrive(name, await world.parquet(departures(400, asFloats)))).toMatchObject({
      status: 'version',
    });
    expect(await columnsOf(name)).toEqual(expect.arrayContaining(['id int64', 'seats int64']));
    for (const id of [
      'CASE WHEN i > 0 THEN i + 800.5 END',
      "CASE WHEN i > 0 THEN i + 800.0 ELSE 'nan'::DOUBLE END",
      '1e17 + i * 1000',
    ])
      expect(
        await world.arrive(name, await world.parquet(departures(800, { id: `CAST(${id} AS DOUBLE)` }))),
      ).toMatchObject({
        reason: expect.stringMatching(
          /data rejected: schema in column id: .* an id of another type would be another id/,
        ),
      });
    await world.register('float-first', dataset);
    const first = departures(0, { id: 'CASE WHEN i > 0 THEN CAST(i AS DOUBLE) END' });
    await world.arrive('float-first', await world.parquet(first));
    expect(await columnsOf('float-first')).toContain('id int64');
    const wider = departures(800, { id: 'i + 800', seats: 'i + 0.5' });
    expect(await world.arrive(name, await world.parquet(wider))).toMatchObject({ status: 'version' });
    expect(await columnsOf(name)).toEqual(expect.arrayContaining(['id int64', 'seats float64']));
  });

  it('in rows of any year from 1 to 9999 is trained on; other times are refused', async () => {
    const [name, dataset] = ['old', { expect: [] }];
    await world.register(name, dataset);
    const before = "TIMESTAMP '1950-01-01' + to_seconds(i * 864)";
    await world.arrive(name, await world.parquet(departures(0, { at: before })));
    for (const time of ["'infinity'", "'10000-01-01'", "'0044-03-15 (BC)'"]) {
      const at = `CASE WHEN i = 0 THEN CAST(${time} AS TIMESTAMP) ELSE TIMESTAMP '2026-01-01' + to_seconds(i) END`;
      expect(await world.arrive(name, await world.parquet(departures(400, { at })))).toMatchObject({
        status: 'refused',
        reason: expect.stringMatching(
          /data rejected: time_range in column at: .* has times in 1 rows that are infinite/,
        ),
      });
    }
    await world.arrive(name, await world.parquet(departures(400, { at: "TIMESTAMP '2026-01-01' + to_seconds(i)" })));
    expect(await world.run(name)).toMatchObject({ status: 'ready', trainRows: expect.toSatisfy((rows) => rows > 400) });
  });

  it('by dates that another format of the document reads takes the place of the wrong reading', async () => {
    const name = 'read-anew';
    const dataset = { id: undefined, time: undefined, expect: [] };
    await world.register(name, { ...dataset, csv: { date_format: '%d/%m/%Y' } });
    const csv = await world.text('day,x\n03/04/2024,1\n01/02/2024,2\n', 'csv');
    await world.arrive(name, csv);
    const [wrong] = (await manifestOf(name))?.files ?? [];
    await world.apply(name, { ...dataset, csv: { date_format: '%m/%d/%Y' } });
    expect(await world.arrive(name, csv)).toMatchObject({ status: 'version', version: 2 });
    const files = (await manifestOf(name))?.files ?? [];
    expect(files).toMatchObject([{ rows: 2, partition: wrong?.partition, sourceDigest: wrong?.sourceDigest }]);
    expect(files[0]?.digest).not.toBe(wrong?.digest);
    expect((await world.registry.latestDatasetVersion(name))?.corrects).toMatchObject({ files: 1, rows: 2 });
  });
});
