/**
 * The rules of features.sql against texts that nobody wrote: whatever is refused is refused in any place, and whatever is taken
 * gives each row its value whatever rows come with it.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { createFeatureEngine } from '../../src/adapters/duckdb/feature-engine.ts';
import type { SourceColumn } from '../../src/contracts/data.ts';
import type { Rows } from '../../src/ports/data.ts';
import { parseJson } from '../../src/serving/json.ts';

const engine = createDataEngine();
const SOURCE: readonly SourceColumn[] = [
  { name: 'f', type: 'float64' },
  { name: 'n', type: 'int64' },
  { name: 's', type: 'string' },
  { name: 'b', type: 'bool' },
  { name: 't', type: 'timestamp' },
];

const number: fc.Arbitrary<string> = fc.letrec<{ number: string; text: string; truth: string }>((tie) => ({
  number: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom('f', 'n', '2', '0.5', '-1', 'NULL', 'length(s)', 'hour(t)', 'epoch_us(t)', 'CAST(b AS INTEGER)'),
    fc
      .tuple(tie('number'), fc.constantFrom('+', '-', '*', '/', '%'), tie('number'))
      .map((parts) => `(CAST(${parts[0]} AS DOUBLE) ${parts[1]} ${parts[2]})`),
    tie('number').map((inner) => `abs(try_cast(${inner} AS DOUBLE))`),
    fc
      .tuple(tie('truth'), tie('number'), tie('number'))
      .map(([when, then, or]) => `CASE WHEN ${when} THEN CAST(${then} AS DOUBLE) ELSE ${or} END`),
    tie('text').map((inner) => `length(${inner})`),
  ),
  text: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(
      's',
      "'a'",
      "''",
      'upper(s)',
      "coalesce(s, 'x')",
      'CAST(n AS VARCHAR)',
      "strftime(t, '%Y-%m-%d')",
      'CAST(f AS VARCHAR)',
    ),
    fc.tuple(tie('text'), tie('text')).map(([left, right]) => `concat(${left}, ${right})`),
    tie('text').map((inner) => `md5(${inner})`),
  ),
  truth: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom('b', 'n > 3', "s = 'a'", 'f IS NULL', 'true'),
    fc.tuple(tie('number'), tie('number')).map(([left, right]) => `${left} < CAST(${right} AS DOUBLE)`),
    fc.tuple(tie('truth'), fc.constantFrom('AND', 'OR'), tie('truth')).map((parts) => `(${parts.join(' ')})`),
  ),
})).number;

const row = fc.record({
  f: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
  n: fc.option(fc.oneof(fc.integer(), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n).map(String))),
  s: fc.option(fc.string({ unit: 'grapheme', maxLength: 8 })),
  b: fc.option(fc.boolean()),
  t: fc.option(
    fc
      .date({ min: new Date('1900-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
      .map((date) => date.toISOString()),
  ),
});
type Row = typeof row extends fc.Arbitrary<infer T> ? T : never;
const asRows = (rows: readonly Row[]): Rows =>
  Object.fromEntries(SOURCE.map(({ name }) => [name, rows.map((one) => one[name as keyof Row])]));

it('what is taken gives a row the same value alone and among others', async () => {
  await fc.assert(
    fc.asyncProperty(number, fc.array(row, { minLength: 2, maxLength: 12 }), async (expression, rows) => {
      const sql = `SELECT CAST(f AS DOUBLE) AS f, n, s, b, t IS NULL AS timeless, ${expression} AS x FROM source`;
      const { problems, features } = await engine.checkFeatures(sql, SOURCE, []);
      expect(problems).toEqual([]);
      const serving = await createFeatureEngine({ featuresSql: sql, source: SOURCE, features });
      try {
        const together = await serving.compute(asRows(rows), rows.length).catch(() => null);
        // A value that overflows its type fails the rows that are in it, and no others.
        if (together === null) return;
        for (const [index, one] of rows.entries()) {
          const alone = await serving.compute(asRows([one]), 1);
          for (const { name } of features) expect(alone[name]?.[0]).toBe(together[name]?.[index]);
        }
      } finally {
        serving.close();
      }
    }),
    { numRuns: 60 },
  );
}, 60_000);

/** Values that depend on other rows, the clock, files or chance. */
const HOSTILE = [
  'sum(n)',
  'avg(f) OVER ()',
  'lag(n) OVER (ORDER BY t)',
  'row_number() OVER ()',
  '(SELECT max(n) FROM source)',
  'count(*)',
  'random()',
  'epoch(now())',
  'epoch(current_timestamp)',
  'rowid',
  'epoch(today())',
  "length(getenv('HOME'))",
  "nextval('q')",
  'unnest([1, 2])',
  'list_sum([n])',
  'hash(s)',
  'txid_current()',
  "length(read_text('/etc/passwd'))",
  'n IN (SELECT n FROM source)',
  'outcome',
  'source.outcome',
  '"OUTCOME"',
  'any_value(n)',
  'arg_max(n, f)',
  'first(n)',
  'quantile_cont(f, 0.5)',
  "length(current_setting('threads'))",
  'list_transform([n], lambda v: v)[1]',
  'epoch(get_current_time())',
  'setseed(0.1)',
  "getvariable('x')",
  'pg_typeof(n)',
  'error(s)',
  'write_log(s)',
  'system.main.sum(n)',
  'epoch(transaction_timestamp())',
  'sum(DISTINCT n)',
  'count(n) FILTER (WHERE b)',
  '#1',
  '$1',
  '?',
  'struct_pack(a := n).a',
  'uuid()::VARCHAR',
  'epoch(age(t))',
] as const;
const CONTEXTS: readonly ((inner: string) => string)[] = [
  (inner) => inner,
  (inner) => `coalesce(${inner}, 0)`,
  (inner) => `CASE WHEN n > 0 THEN ${inner} ELSE 0 END`,
  (inner) => `CASE WHEN ${inner} > 0 THEN 1 END`,
  (inner) => `CAST(${inner} AS DOUBLE)`,
  (inner) => `TRY_CAST(${inner} AS VARCHAR)`,
  (inner) => `n BETWEEN 0 AND ${inner}`,
  (inner) => `n IN (1, ${inner})`,
  (inner) => `(NOT (${inner} IS NULL))`,
  (inner) => `concat('a', ${inner})`,
  (inner) => `/* -- */ ${inner} -- harmless\n`,
  (inner) => `abs(-(${inner}))`,
  (inner) => `try(${inner})`,
  (inner) => `(${inner}) COLLATE NOCASE`,
];

it('what is refused is refused in any place', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...HOSTILE),
      fc.array(fc.constantFrom(...CONTEXTS), { minLength: 1, maxLength: 3 }),
      async (hostile, contexts) => {
        const expression = contexts.reduce((inner, context) => context(inner), hostile as string);
        const { problems, features } = await engine.checkFeatures(
          `SELECT n, ${expression} AS x FROM source`,
          [...SOURCE, { name: 'outcome', type: 'int64' }],
          ['outcome'],
        );
        expect(problems).not.toEqual([]);
        expect(features).toEqual([]);
      },
    ),
    { numRuns: 150 },
  );
}, 60_000);

it('a body keeps its long whole numbers, and everything else as JSON has it', () => {
  const exact = (value: unknown): unknown =>
    typeof value === 'bigint'
      ? Number.isSafeInteger(Number(value))
        ? Number(value)
        : value.toString()
      : Array.isArray(value)
        ? value.map(exact)
        : value;
  const write = (value: unknown): string =>
    typeof value === 'bigint'
      ? value.toString()
      : Array.isArray(value)
        ? `[${value.map(write).join(', ')}]`
        : JSON.stringify(value);
  const leaf = fc.oneof(
    fc.bigInt(-(2n ** 64n), 2n ** 64n),
    fc
      .double({ noNaN: true, noDefaultInfinity: true })
      .filter((value) => !Object.is(value, -0) && !/^-?\d{16,}$/.test(JSON.stringify(value))),
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom('"', '\\', '1234567890123456', ',', '-', '.', 'e') }),
    fc.constantFrom(null, true, '1234567890123456789', '"-1234567890123456789'),
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(leaf, fc.array(leaf))), (value) => {
      expect(parseJson(write(value))).toEqual(exact(value));
    }),
    { numRuns: 500 },
  );
});
