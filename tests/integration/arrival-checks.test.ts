/** Checks of an arrival on real DuckDB: what a document expects, and what is always looked at. */
import { describe, expect, it } from 'vitest';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import type { Expectation } from '../../src/contracts/documents.ts';
import type { CheckRequest } from '../../src/ports/data.ts';
import { checkRequest, parquetFiles } from '../support/data-checks.ts';

const engine = createDataEngine();
const { parquet } = parquetFiles();
const block = 'block' as const;

/** What is found in the rows of a query. */
async function found(query: string, more: Partial<CheckRequest> = {}) {
  return engine.check(await checkRequest(await parquet(query), more));
}
const expecting = (query: string, ...expectations: readonly Expectation[]) => found(query, { expectations });
const rows = (count: number, items: string): string => `SELECT ${items} FROM range(${count}) t(i)`;

describe('expectations', () => {
  it('are judged over all files together', async () => {
    const files = [
      await parquet("SELECT 'a' AS id, 1 AS n, 'EWR' AS place"),
      await parquet("SELECT 'a' AS id, 7 AS n, NULL AS place"),
    ];
    const request = await checkRequest(files[0] ?? '', { files });
    const failures = await engine.check({
      ...request,
      expectations: [
        { type: 'unique', column: 'id', severity: block },
        { type: 'not_null', column: 'place', severity: 'warn' },
        { type: 'null_share', column: 'place', max: 0.5, severity: block },
        { type: 'between', column: 'n', min: 2, max: 9, severity: block },
        { type: 'in', column: 'place', values: ['JFK'], severity: block },
        { type: 'matches', column: 'PLACE', pattern: '^[A-Z]{3}$', severity: block },
        { type: 'matches', column: 'place', pattern: '(', severity: block },
        { type: 'rows', min: 3, severity: block },
        { type: 'unique', column: 'nowhere', severity: block },
        { type: 'between', column: 'place', min: 0, severity: block },
      ],
    });
    const told = failures.map(({ check, column, severity }) => `${check} ${column} ${severity}`).sort();
    expect(told.filter((one) => !one.startsWith('constant'))).toEqual([
      'between n block',
      'between place block',
      'in place block',
      'matches place block',
      'not_null place warn',
      'rows null block',
      'unique id block',
      'unique nowhere block',
    ]);
    expect(failures.find(({ check }) => check === 'in')).toMatchObject({ examples: ['EWR'] });
  });

  it('find values that repeat among more rows than are counted at once', async () => {
    const twice = rows(10_000_002, 'CASE WHEN i = 10000001 THEN 7 ELSE i END AS id');
    const failures = await found(twice, { idColumn: 'id' });
    expect(failures).toMatchObject([{ check: 'unique', column: 'id', severity: 'block', examples: ['7'] }]);
    expect(failures[0]?.detail).toMatch(/1 /);
  });

  it('show counts, the share of the rows, and values with the id of their row', async () => {
    const query = rows(200, "'r' || i AS id, i % 50 AS n");
    const failures = await found(query, {
      idColumn: 'id',
      expectations: [{ type: 'between', column: 'n', max: 47, severity: block }],
    });
    expect(failures).toEqual([
      {
        ...{ check: 'between', column: 'n', severity: 'block', count: 8, share: 0.04 },
        detail: '8 values of n outside -∞ to 47, 4.00 % of the rows',
        examples: ['48 (id r148)', '49 (id r149)'],
      },
    ]);
  });

  it('compare times', async () => {
    const query = rows(3, "TIMESTAMP '2024-01-01' + INTERVAL (i) DAY AS seen");
    const between = (min: string | number): Expectation => ({ type: 'between', column: 'seen', min, severity: block });
    expect(await expecting(query, between('2024-01-01'))).toEqual([]);
    expect(await expecting(query, between('2024-01-01T12:00:00+02:00'))).toMatchObject([
      { count: 1, examples: ['2024-01-01 00:00:00'] },
    ]);
    expect(await expecting(query, between(3))).toMatchObject([{ detail: expect.stringMatching(/no time such as/) }]);
  });

  it('take a condition on the row, under the rules of label.sql; null passes', async () => {
    const sql = (text: string): Expectation => ({ type: 'sql', name: 'dates', sql: text, severity: block });
    const query = rows(10, 'i AS n, CASE WHEN i < 9 THEN i * 2 END AS twice');
    expect(await expecting(query, sql('twice = n * 2 -- always'))).toEqual([]);
    expect(await expecting(query, sql('twice < 16'))).toMatchObject([
      { check: 'sql', column: 'twice', count: 1, detail: 'dates: 1 row (10.00 %) break twice < 16', examples: ['16'] },
    ]);
    for (const text of [
      'sum(n) > 1',
      'n',
      'n > (SELECT 1)',
      'nowhere > 1',
      "read_text('/etc/passwd') = ''",
      'n >',
      'random() > 0.5',
    ])
      expect(await expecting(query, sql(text))).toMatchObject([{ check: 'sql', severity: 'block' }]);
  });

  it('name the condition that fails on a row, and judge the others', async () => {
    const query = rows(3, "'x' || i AS word, i AS n");
    const failures = await expecting(
      query,
      { type: 'sql', name: 'number', sql: 'CAST(word AS BIGINT) > 0', severity: block },
      { type: 'between', column: 'n', max: 1, severity: block },
    );
    expect(failures).toMatchObject([
      { check: 'sql', detail: expect.stringMatching(/^number: it cannot be computed on this data/) },
      { check: 'between', count: 1 },
    ]);
  });

  it('look values up in another dataset', async () => {
    const planes = await parquet(rows(5, "'N' || i AS tail"));
    const key: Expectation = {
      ...{ type: 'foreign_key', column: 'plane', dataset: 'planes', references: 'tail', severity: block },
    };
    const query = rows(6, "'N' || i AS plane");
    const others = new Map([['planes', [planes]]]);
    expect(await found(query, { expectations: [key], others })).toMatchObject([
      { check: 'foreign_key', column: 'plane', count: 1, examples: ['N5'] },
    ]);
    expect(await found(query, { expectations: [key] })).toMatchObject([
      { detail: expect.stringMatching(/no version yet/) },
    ]);
    const wrong = { ...key, references: 'nowhere' };
    expect(await found(query, { expectations: [wrong], others })).toMatchObject([
      { detail: 'dataset planes has no column nowhere' },
    ]);
  });

  it('want data that is fresh when its event arrives', async () => {
    const query = rows(2, "TIMESTAMP '2024-01-01' + INTERVAL (i) DAY AS seen");
    const expectations: Expectation[] = [{ type: 'freshness', max_age: '2d', severity: block }];
    const arrived = (arrivedAt: string) => found(query, { expectations, timeColumn: 'seen', arrivedAt });
    expect(await arrived('2024-01-04T00:00:00Z')).toEqual([]);
    expect(await arrived('2024-01-04T00:00:01Z')).toMatchObject([
      { check: 'freshness', column: 'seen', examples: ['2024-01-02T00:00:00.000Z'] },
    ]);
  });

  it('compare an arrival with the version before', async () => {
    const query = (shift: number, place: string): string =>
      rows(
        2000,
        `'r' || i AS id, (i * 7919) % 1000 + ${shift} AS n, CASE WHEN i % 4 = 0 THEN '${place}' ELSE 'JFK' END AS place`,
      );
    const first = await checkRequest(await parquet(query(0, 'EWR')));
    const before = await engine.profile(first.files, first.columns);
    const compare = async (shift: number, place: string, column?: string) => {
      const expectation: Expectation = {
        type: 'like_reference',
        max: 0.1,
        severity: block,
        ...(column ? { column } : {}),
      };
      return found(query(shift, place), { idColumn: 'id', before, expectations: [expectation] });
    };
    expect(await compare(0, 'EWR')).toEqual([]);
    expect(await compare(400, 'EWR')).toMatchObject([{ check: 'like_reference', column: 'n' }]);
    expect(await compare(400, 'EWR', 'place')).toEqual([]);
    expect(await compare(0, 'LGA')).toMatchObject([
      { column: 'place', examples: expect.arrayContaining(['other values: 25.0 %, was 0.0 %']) },
    ]);
    expect(await expecting(query(400, 'LGA'), { type: 'like_reference', max: 0.1, severity: block })).toEqual([]);
  });
});

describe('always', () => {
  it('no id comes twice, in the arrival or in a partition that stays', async () => {
    const kept = [{ path: await parquet(rows(10, "'r' || i AS id")), partition: '2024-01' }];
    const query = rows(10, "'r' || (i + 8) AS id");
    expect(await found(query, { idColumn: 'id' })).toEqual([]);
    expect(await found(query, { idColumn: 'id', kept })).toMatchObject([
      { check: 'unique', column: 'id', severity: 'block', count: 2, examples: ['r8 (in 2024-01)', 'r9 (in 2024-01)'] },
    ]);
    expect(await found(rows(10, "'r' || (i % 8) AS id"), { idColumn: 'id' })).toMatchObject([
      { check: 'unique', count: 2, share: 0.2, examples: ['r0', 'r1'] },
    ]);
    const warned: Expectation[] = [{ type: 'unique', column: 'id', severity: 'warn' }];
    expect(await found(query, { idColumn: 'id', kept, expectations: warned })).toMatchObject([{ severity: 'warn' }]);
  });

  it('columns without values, with one, and with the values of another are told', async () => {
    const query = rows(5, "i AS n, 'x' AS same, NULL::VARCHAR AS empty, i * 1.5 AS a, i * 1.5 AS b, -i * 1.5 AS c");
    expect((await found(query)).map(({ check, column, severity }) => `${severity} ${check} ${column}`)).toEqual([
      'warn constant_column same',
      'warn all_null empty',
      'warn duplicate_columns b',
    ]);
  });

  it('a column that lost all its values rejects', async () => {
    const before = await engine.profile(
      [await parquet(rows(5, 'i AS n, i AS m'))],
      [
        { name: 'n', type: 'int64' },
        { name: 'm', type: 'int64' },
      ],
    );
    expect(await found(rows(5, 'i AS n, NULL::BIGINT AS m'), { before })).toMatchObject([
      { check: 'all_null', column: 'm', severity: 'block', count: 5 },
    ]);
  });

  it('NaN and infinities are counted, and reject where there is nothing else', async () => {
    const query = (all: boolean): string =>
      rows(4, `i AS n, CASE WHEN i = 1 THEN 'nan'::DOUBLE WHEN ${all} OR i = 2 THEN '-inf'::DOUBLE ELSE i END AS x`);
    expect(await found(query(false))).toMatchObject([
      { check: 'not_finite', column: 'x', severity: 'warn', count: 2, share: 0.5, examples: ['-inf', 'nan'] },
    ]);
    expect(await found(query(true))).toMatchObject([{ check: 'not_finite', severity: 'block', count: 4 }]);
  });
});
