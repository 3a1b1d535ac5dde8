/** Profiles on real DuckDB, against the values of pandas, scikit-learn and SciPy (tests/support/reference-profile.py). */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import type { ColumnProfile, SourceColumn } from '../../src/contracts/data.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import { barsOf, coarser } from '../../src/domain/profile.ts';
import { parquetFiles } from '../support/data-checks.ts';

const engine = createDataEngine();
const { parquet, folder } = parquetFiles();

interface Reference {
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  readonly expected: Readonly<Record<string, Record<string, unknown>>> & {
    readonly binary: Readonly<Record<string, Record<string, number | null>>>;
    readonly regression: Readonly<Record<string, Record<string, number | null>>>;
  };
}
const reference = JSON.parse(
  await readFile(new URL('../unit/fixtures/profile.json', import.meta.url), 'utf8'),
) as Reference;
const COLUMNS: readonly SourceColumn[] = [
  { name: 'amount', type: 'float64' },
  { name: 'score', type: 'float64' },
  { name: 'hour', type: 'int64' },
  { name: 'place', type: 'string' },
  { name: 'late', type: 'bool' },
  { name: 'at', type: 'timestamp' },
];

/** The reference rows as Parquet with `__label`. */
async function rows(label: string): Promise<string> {
  const [path, output] = [join(folder(), `${label}.jsonl`), join(folder(), `${label}.parquet`)];
  const text = reference.rows
    .map((row) => JSON.stringify({ ...row, __label: undefined, label__: row[label] }))
    .join('\n');
  await writeFile(path, `${text}\n`);
  await engine.convert({ path, format: 'jsonl', timeColumn: 'at', output });
  return parquet(`SELECT * RENAME (label__ AS __label) FROM read_parquet('${output}')`);
}
const near = (found: number | null | undefined, expected: unknown): void => {
  expect(Math.abs(Number(found) - Number(expected))).toBeLessThan(1e-9 * Math.max(1, Math.abs(Number(expected))));
};
const columnOf = (columns: readonly ColumnProfile[], name: string): ColumnProfile => {
  const found = columns.find((column) => column.name === name);
  if (!found) throw new Error(`no profile of ${name}`);
  return found;
};

describe('a profile', () => {
  it('has the figures of pandas', async () => {
    const file = await rows('label');
    const { rows: count, columns } = await engine.profile([file], COLUMNS);
    expect(count).toBe(reference.rows.length);
    for (const name of ['amount', 'score', 'hour']) {
      const found = columnOf(columns, name);
      const expected = reference.expected[name] ?? {};
      expect(found.nulls).toBe(expected.nulls);
      expect(found.distinct).toEqual({ values: expected.distinct, estimated: false });
      for (const figure of ['min', 'max', 'mean', 'std'] as const) near(Number(found[figure]), expected[figure]);
      const shares = expected.quantiles as readonly number[];
      for (const [index, value] of shares.entries()) near(found.quantiles[index], value);
      if (!expected.histogram) continue;
      expect(found.histogram?.counts).toEqual(expected.histogram);
      for (const [index, edge] of (expected.edges as readonly number[]).entries())
        near(found.histogram?.bounds[index], edge);
    }
    for (const name of ['place', 'late']) {
      const { distinct, top } = columnOf(columns, name);
      expect({ distinct: distinct.values, top }).toEqual(reference.expected[name]);
    }
    const at = columnOf(columns, 'at');
    const times = reference.rows.map((row) => Date.parse(String(row.at)));
    expect(Date.parse(String(at.min))).toBe(Math.min(...times));
    expect(Date.parse(String(at.max))).toBe(Math.max(...times));
    expect(at.histogram?.counts.reduce((sum, one) => sum + one, 0)).toBe(count);
  });

  it('has the relation to a label of scikit-learn and SciPy', async () => {
    const features = COLUMNS.slice(0, 5);
    const binary = await engine.profile([await rows('label')], features, { task: 'binary-classification', classes: 2 });
    for (const [name, expected] of Object.entries(reference.expected.binary)) {
      const { relation } = columnOf(binary.columns, name);
      if (expected.auc === null) expect(relation?.auc).toBeNull();
      else near(relation?.auc, expected.auc);
      near(relation?.cramersV, expected.cramersV);
      near(relation?.mutualInformation, expected.mutualInformation);
    }
    const regression = await engine.profile([await rows('number')], features, { task: 'regression', classes: 0 });
    for (const [name, expected] of Object.entries(reference.expected.regression)) {
      const { relation } = columnOf(regression.columns, name);
      if (expected.correlation === null) expect(relation?.correlation).toBeNull();
      else expect(relation?.correlation).toBeCloseTo(Number(expected.correlation), 8);
      near(relation?.cramersV, expected.cramersV);
      near(relation?.mutualInformation, expected.mutualInformation);
    }
  });

  it('is the same each time, over files of any schema that the dataset takes', async () => {
    const files = [
      await parquet('SELECT i / 7.0 AS x, i % 3 AS n FROM range(300000) t(i)'),
      await parquet('SELECT NULL::VARCHAR AS "X", i % 3 AS n, \'new\' AS later FROM range(10) t(i)'),
    ];
    const columns: SourceColumn[] = [
      { name: 'x', type: 'float64' },
      { name: 'n', type: 'float64' },
      { name: 'later', type: 'string' },
    ];
    const first = await engine.profile(files, columns);
    expect(first.columns.map(({ nulls }) => nulls)).toEqual([10, 0, 300_000]);
    for (let round = 0; round < 3; round += 1)
      expect(canonicalJson(await engine.profile(files, columns))).toBe(canonicalJson(first));
  });

  it('says what it can of columns without values, with one, and with extremes', async () => {
    const file = await parquet(
      "SELECT NULL::DOUBLE AS none, 5.0::DOUBLE AS one, CASE i WHEN 0 THEN 'inf'::DOUBLE WHEN 1 THEN 'nan'::DOUBLE WHEN 2 THEN -1.7e308 ELSE 1.7e308 END AS wide, 'p' || i AS person FROM range(5) t(i)",
    );
    const { columns } = await engine.profile([file], await engine.columns(file));
    expect(columnOf(columns, 'none')).toMatchObject({ nulls: 5, min: null, quantiles: [], histogram: null, top: [] });
    expect(columnOf(columns, 'one').histogram).toEqual({ bounds: [5], counts: [5] });
    const wide = columnOf(columns, 'wide');
    expect(wide).toMatchObject({ notFinite: 2, min: -1.7e308, max: 1.7e308, distinct: { values: 4 } });
    expect(wide.histogram?.counts.reduce((sum, count) => sum + count, 0)).toBe(3);
    // Nothing of a person's name is kept.
    expect(JSON.stringify(columnOf(columns, 'person'))).not.toMatch(/p[0-4]/);
    expect(
      (await engine.profile([await parquet('SELECT 1 AS a WHERE false')], [{ name: 'a', type: 'int64' }])).rows,
    ).toBe(0);
  });

  it('keeps no text that occurs once, also where others repeat', async () => {
    const file = await parquet(
      "SELECT CASE WHEN i < 900 THEN '' ELSE 'written by ' || i END AS comment, i = 5 AS flag FROM range(1000) t(i)",
    );
    const { columns } = await engine.profile([file], await engine.columns(file));
    expect(columnOf(columns, 'comment')).toMatchObject({ distinct: { values: 101 }, top: [{ value: '', count: 900 }] });
    expect(columnOf(columns, 'flag').top).toEqual([
      { value: 'false', count: 999 },
      { value: 'true', count: 1 },
    ]);
  });

  it('sums fine bins up', () => {
    const fine = { bounds: [1, 2, 3, 4], counts: [10, 20, 30, 40] };
    expect(coarser(fine, [2, 4], false)).toEqual({ bounds: [2, 4], counts: [30, 70] });
    expect(coarser(fine, [2, 3], true)).toEqual({ bounds: [2, 3], counts: [30, 30, 40] });
    expect(barsOf(0, 20)).toHaveLength(20);
    expect(barsOf(3, 3)).toEqual([3]);
    expect(barsOf(2, 5, true)).toEqual([2, 3, 4, 5]);
  });
});
