/** Splits: no row, no group and no time in two parts, and a row stays where it is when rows are added. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { parquetOf, withSession } from '../../src/adapters/duckdb/session.ts';
import type { SnapshotRequest } from '../../src/ports/data.ts';

const engine = createDataEngine();
let folder: string;
let made = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-split-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Row {
  readonly id: string;
  readonly customer: string | null;
  readonly day: number;
}
interface Placed {
  readonly part: string;
  readonly fold: number | null;
}

/** Enough rows that no part is empty by bad luck: the first hundred are always there. */
const ALWAYS: readonly Row[] = Array.from({ length: 100 }, (_, index) => ({
  id: `a${index}`,
  customer: `always-${index % 40}`,
  day: index % 40,
}));
const rowsOf = fc
  .uniqueArray(
    fc.record({
      id: fc.string({ minLength: 1, maxLength: 6 }).map((text) => `r${text}`),
      customer: fc.option(fc.oneof(fc.constantFrom('ann', 'Ann', 'ben', ''), fc.string({ maxLength: 4 }))),
      day: fc.integer({ min: 0, max: 39 }),
    }),
    { selector: ({ id }) => id, maxLength: 60 },
  )
  .map((rows): readonly Row[] => [...ALWAYS, ...rows]);

/** Where the snapshot put each row; rows that were left out are not there. */
async function placed(rows: readonly Row[], split: SnapshotRequest['split']): Promise<ReadonlyMap<string, Placed>> {
  made += 1;
  const output = join(folder, String(made));
  await mkdir(output);
  const lines = rows.map((row, index) =>
    JSON.stringify({
      ...row,
      at: new Date(Date.UTC(2024, 0, 1 + row.day)).toISOString(),
      x: (index * 7_919) % 101,
      y: row.id.length % 2 === index % 2,
    }),
  );
  const file = join(output, 'data.parquet');
  await writeFile(join(output, 'data.jsonl'), lines.join('\n'));
  await engine.convert({ path: join(output, 'data.jsonl'), format: 'jsonl', timeColumn: 'at', output: file });
  const { failures } = await engine.snapshot({
    ...{
      files: [file],
      featuresSql: 'SELECT x FROM source',
      labelSql: 'y',
      task: 'binary-classification',
      window: null,
    },
    ...{ idColumn: 'id', timeColumn: 'at', slices: [], seed: 1, output, split },
  });
  expect(failures.filter(({ severity }) => severity === 'block')).toEqual([]);
  const parts = ['train', 'validation', 'test'];
  const files = parts.map((part) => join(output, `${part}.parquet`));
  const found = await withSession({ files }, (session) =>
    Promise.all(files.map((path) => session.rows(`SELECT * FROM ${parquetOf([path])}`))),
  );
  return new Map(
    found.flatMap((own, index) =>
      own.map((row): [string, Placed] => [
        String(row.__id),
        { part: parts[index] ?? '', fold: row.__fold === undefined ? null : Number(row.__fold) },
      ]),
    ),
  );
}

const shares = { test: 0.3, validation: 0.2 };

it('at random by group: a group is in one part and one fold, and stays there when rows are added', async () => {
  await fc.assert(
    fc.asyncProperty(rowsOf, fc.nat(), async (rows, seed) => {
      const split = { type: 'random', ...shares, group: 'customer', folds: 4 } as const;
      const all = await placed(rows, split);
      expect(all.size).toBe(rows.length);
      const ofGroup = new Map<string, Placed>();
      for (const { id, customer } of rows) {
        const here = all.get(id);
        if (customer === null || here === undefined) continue;
        const first = ofGroup.get(customer) ?? here;
        expect(here).toEqual(first);
        ofGroup.set(customer, first);
      }
      for (const { part, fold } of all.values()) {
        if (part === 'test') expect(fold).toBeNull();
        else expect([0, 1, 2, 3]).toContain(fold);
      }
      // Fewer rows, in another order.
      const fewer = [...ALWAYS, ...rows.slice(ALWAYS.length).filter((_, index) => (index + seed) % 3 !== 0)].reverse();
      for (const [id, place] of await placed(fewer, split)) expect(place).toEqual(all.get(id));
    }),
    { numRuns: 12 },
  );
}, 90_000);

it('by time: parts follow one another, and with a group share none', async () => {
  await fc.assert(
    fc.asyncProperty(rowsOf, fc.boolean(), async (rows, grouped) => {
      const all = await placed(rows, { type: 'time', ...shares, ...(grouped ? { group: 'customer' } : {}) });
      const daysOf = (part: string): number[] =>
        rows.filter(({ id }) => all.get(id)?.part === part).map(({ day }) => day);
      const [train, validation, test] = [daysOf('train'), daysOf('validation'), daysOf('test')];
      expect(Math.max(...train)).toBeLessThan(Math.min(...validation));
      expect(Math.max(...validation)).toBeLessThan(Math.min(...test));
      if (!grouped) {
        expect(all.size).toBe(rows.length);
        return;
      }
      const newest = new Map<string, number>();
      const partOf = new Map<string, Set<string>>();
      for (const { id, customer, day } of rows) {
        if (customer === null) continue;
        newest.set(customer, Math.max(day, newest.get(customer) ?? 0));
        const place = all.get(id);
        if (place) partOf.set(customer, (partOf.get(customer) ?? new Set()).add(place.part));
      }
      for (const parts of partOf.values()) expect(parts.size).toBe(1);
      // The newest rows of a group are never left out.
      for (const { id, customer, day } of rows)
        if (customer === null || day === newest.get(customer)) expect(all.has(id)).toBe(true);
    }),
    { numRuns: 15 },
  );
}, 90_000);
