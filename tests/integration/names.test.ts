/** Columns and features may have any name, also those that Refit's own SQL gives to what it computes: a name that means two things stops a dataset. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createDriftDetector } from '../../src/adapters/drift.ts';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import type { Expectation } from '../../src/contracts/documents.ts';
import { checkRequest, parquetFiles } from '../support/data-checks.ts';

const FOLDER = new URL('../../src/adapters/duckdb/', import.meta.url);
/** What stands behind AS in the SQL of the adapters, so that the next one is tried as well; and what DuckDB adds to files. */
const words = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .flatMap((name) => [...readFileSync(new URL(name, FOLDER), 'utf8').matchAll(/\bAS (\w+)/g)])
  .map(([, word = '']) => word.toLowerCase());
const NAMES = [...new Set([...words, 'filename', 'file_row_number', 'data', 'kept', 'joined', 'source', 'model'])]
  .filter((name) => !name.startsWith('__') && /^[a-z]/.test(name) && !/^(id|at|varchar|bigint|double)$/.test(name))
  .sort();

const { parquet, folder } = parquetFiles();
const engine = createDataEngine();

/** Values that repeat, a few of them null. */
const VALUES = {
  texts: (place: number) => `CASE WHEN i % 50 = ${place % 50} THEN NULL ELSE 'v' || (hash(i, ${place}) % 7) END`,
  numbers: (place: number) => `CASE WHEN i % 50 = ${place % 50} THEN NULL ELSE hash(i, ${place}) % 1000 / 7.0 END`,
} as const;

describe.each(Object.entries(VALUES))('columns of %s', (kind, sqlOf) => {
  const rowsOf = (from: number, count: number): string =>
    `SELECT 'r' || i AS id, TIMESTAMP '2026-01-01' + INTERVAL (i) HOUR AS at, hash(i) % 5 < 2 AS own_class, hash(i, 'z') % 1000 / 10.0 AS own_amount,
      ${NAMES.map((name, place) => `${sqlOf(place)} AS "${name}"`).join(', ')} FROM range(${from}, ${from + count}) t(i)`;
  const isText = kind === 'texts';

  it('are checked, beside what stays', async () => {
    const file = await parquet(rowsOf(0, 300));
    const stays = await parquet(rowsOf(200, 300));
    const expectations = NAMES.flatMap((column): Expectation[] => [
      { type: 'unique', column, severity: 'warn' },
      isText
        ? { type: 'matches', column, pattern: 'v[1-3]', severity: 'warn' }
        : { type: 'between', column, min: 2, max: 5, severity: 'warn' },
    ]);
    const request = await checkRequest(file, {
      ...{ expectations, idColumn: 'id', timeColumn: 'at', kept: [{ path: stays, partition: 'stays' }] },
    });
    const found = await engine.check(request);
    for (const name of NAMES)
      expect(
        found.filter(({ column }) => column === name).map(({ check }) => check),
        name,
      ).toEqual(expect.arrayContaining(['unique', isText ? 'matches' : 'between']));
    expect(found.find(({ column, check }) => column === 'id' && check === 'unique')?.examples[0]).toMatch(
      /^r\d+ \(in stays\)$/,
    );
  });

  it('are profiled, split into a snapshot, and compared', async () => {
    const file = await parquet(rowsOf(0, 2_000));
    const columns = await engine.columns(file);
    const profile = await engine.profile([file], columns);
    for (const { name, distinct } of profile.columns) expect(distinct.values, name).toBeGreaterThan(1);
    for (const [task, labelSql] of [
      ['binary-classification', 'own_class'],
      ['regression', 'own_amount'],
    ] as const) {
      const output = join(folder(), `${kind}-${task}`.replaceAll(' ', '-'));
      mkdirSync(output);
      const features = NAMES.map((name) => `"${name}"`);
      const {
        failures,
        rows,
        features: made,
      } = await engine.snapshot({
        ...{ files: [file], columns, featuresSql: `SELECT ${features.join(', ')} FROM source`, labelSql, task },
        ...{ idColumn: 'id', timeColumn: 'at', window: null, slices: [], seed: 1, output },
        split: { type: 'random', test: 0.2, validation: 0.2, folds: 3 },
      });
      expect(failures.filter(({ severity }) => severity === 'block')).toEqual([]);
      expect(rows.train + rows.validation + rows.test).toBe(2_000);
      const train = join(output, 'train.parquet');
      const related = await engine.profile([train], made, { task, classes: 2 });
      expect(related.columns.filter(({ name }) => NAMES.includes(name))).toHaveLength(NAMES.length);
    }
    const drift = await createDriftDetector().compare(file, await parquet(rowsOf(2_000, 500)), 0.1);
    expect(drift.map(({ name }) => name)).toEqual(expect.arrayContaining(NAMES));
  });

  it('are erased, and computed for a batch', async () => {
    const file = await parquet(rowsOf(0, 100));
    const columns = await engine.columns(file);
    const output = join(folder(), `${kind}-left.parquet`);
    const erased = await engine.withoutIds({ path: file, ids: ['r7'], column: 'id', timeColumn: 'at', output });
    expect(erased).toMatchObject({ removed: 1, rows: 99 });
    const type = columns.find(({ name }) => name === NAMES[0])?.type ?? 'string';
    const features = NAMES.map((name) => ({ name, type: type === 'timestamp' ? 'string' : type }) as const);
    const { rows } = await engine.computeFeatures({
      ...{ files: [file], featuresSql: `SELECT ${NAMES.map((name) => `"${name}"`).join(', ')} FROM source`, features },
      ...{ source: columns.filter(({ name }) => NAMES.includes(name)), idColumn: 'id', timeColumn: 'at' },
      output: join(folder(), `${kind}-features.parquet`),
    });
    expect(rows).toBe(100);
  });
});
