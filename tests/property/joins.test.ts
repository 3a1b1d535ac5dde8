/**
 * Point-in-time joins against a reference that looks at every pair of rows: the same in a snapshot, in a batch and in the keyed store of
 * serving. No row may see what was not known at its time.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { createFeatureEngine } from '../../src/adapters/duckdb/feature-engine.ts';
import { type Cell, parquetOf, withSession } from '../../src/adapters/duckdb/session.ts';
import type { ResolvedJoin } from '../../src/contracts/data.ts';
import { lookupSpec } from '../../src/domain/joins.ts';
import { LOOKED_UP } from '../../src/ports/data.ts';

const engine = createDataEngine();
const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2024, 0, 1);
let folder: string;
let made = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-joins-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Flight {
  readonly origin: string | null;
  readonly gate: number;
  readonly hour: number;
}
interface Weather {
  readonly station: string | null;
  readonly gate: number;
  readonly hour: number;
  readonly temp: number | null;
}

/** What a row may know: looks at every row of the other side. Of those with one time the last to come counts. */
function known(flight: Flight, weather: readonly Weather[], maxAge: number, delay: number): Weather | null {
  let best: Weather | null = null;
  for (const one of weather) {
    if (flight.origin === null || one.station !== flight.origin || one.gate !== flight.gate) continue;
    if (one.hour + delay > flight.hour) continue;
    if (best === null || one.hour >= best.hour) best = one;
  }
  return best !== null && flight.hour - best.hour <= maxAge ? best : null;
}

async function parquet(name: string, rows: readonly object[]): Promise<string> {
  const path = join(folder, `${made}`, `${name}.parquet`);
  await writeFile(`${path}.jsonl`, rows.map((row) => JSON.stringify(row)).join('\n'));
  await engine.convert({ path: `${path}.jsonl`, format: 'jsonl', timeColumn: 'at', output: path });
  return path;
}
const at = (hour: number): string => new Date(START_MS + hour * HOUR_MS).toISOString();

const joinOf = (maxAge: number, delay: number): ResolvedJoin => ({
  dataset: 'weather',
  keys: [
    { left: 'origin', right: 'station', type: 'string' },
    { left: 'gate', right: 'gate', type: 'int64' },
  ],
  columns: [
    { name: 'temp', as: 'weather_temp', type: 'float64' },
    { name: 'serial', as: 'weather_serial', type: 'int64' },
    { name: 'at', as: 'weather_at', type: 'timestamp' },
  ],
  leftTime: 'at',
  rightTime: 'at',
  maxAgeMs: maxAge * HOUR_MS,
  delayMs: delay * HOUR_MS,
});
const SQL =
  'SELECT gate, weather_temp, weather_serial, epoch_us(weather_at) AS weather_us, weather_temp IS NULL AS is_unknown FROM source';

const place = fc.constantFrom('JFK', 'EWR', 'jfk', null);
const flights = fc.array(
  fc.record({ origin: place, gate: fc.constantFrom(1, 1, 1, 2), hour: fc.integer({ min: 0, max: 10 }) }),
  { minLength: 1, maxLength: 40 },
);
const weather = fc.array(
  fc.record({
    station: place,
    gate: fc.constantFrom(1, 1, 1, 2),
    hour: fc.integer({ min: 0, max: 10 }),
    temp: fc.option(fc.integer({ min: -9, max: 40 })),
  }),
  { minLength: 1, maxLength: 60 },
);
/** Whole numbers that a double does not hold, one for each row in the order of arrival. */
const serialOf = (index: number): string => (9_007_199_254_740_993n + BigInt(index)).toString();

it('no row sees what was not known at its time, and each sees the newest that was', async () => {
  await fc.assert(
    fc.asyncProperty(
      flights,
      weather,
      fc.integer({ min: 0, max: 8 }),
      fc.integer({ min: 0, max: 3 }),
      async (left, right, maxAge, delay) => {
        made += 1;
        await mkdir(join(folder, `${made}`));
        // Enough rows for a snapshot of any draw, which themselves find nothing.
        const filler = Array.from(
          { length: 60 },
          (_, index): Flight => ({ origin: `none-${index % 7}`, gate: 1 + (index % 2), hour: index % 30 }),
        );
        const all = [...left, ...filler];
        const left_ = await parquet(
          'flights',
          all.map((row, index) => ({
            id: `f${String(index).padStart(3, '0')}`,
            ...row,
            at: at(row.hour),
            y: (index * 7) % 11 < 5,
          })),
        );
        // Two files: what came later may be about earlier times.
        const half = Math.ceil(right.length / 2);
        const write = (name: string, rows: readonly Weather[], from: number): Promise<string> =>
          parquet(name, [
            ...rows.map((row, index) => ({
              ...row,
              temp: row.temp === null ? null : row.temp + 0.5,
              at: at(row.hour),
              serial: `S${serialOf(from + index)}`,
            })),
            { station: 'elsewhere', gate: 1, hour: 0, temp: 0.5, at: at(0), serial: 'S1' },
          ]);
        const raw = [await write('first', right.slice(0, half), 0), await write('second', right.slice(half), half)];
        const files: string[] = [];
        for (const path of raw) {
          const exact = path.replace('.parquet', '-exact.parquet');
          await withSession({ files: [path], folders: [join(path, '..')] }, (session) =>
            session.run(
              `COPY (SELECT CAST(station AS VARCHAR) AS station, gate, temp, "at", CAST(substr(serial, 2) AS BIGINT) AS serial FROM ${parquetOf([path])}) TO '${exact}' (FORMAT parquet)`,
            ),
          );
          files.push(exact);
        }
        const joined = joinOf(maxAge, delay);
        const joins = [{ ...joined, files }];
        const expected = all.map((row) => known(row, right, maxAge, delay));

        const output = join(folder, `${made}`);
        const { features, source, failures } = await engine.snapshot({
          ...{
            files: [left_],
            featuresSql: SQL,
            labelSql: 'y',
            task: 'binary-classification',
            idColumn: 'id',
            timeColumn: 'at',
          },
          ...{ window: null, slices: [], seed: 1, output, joins, split: { type: 'random', test: 0, validation: 0 } },
        });
        const unmatched = expected.filter((one) => one === null).length / all.length;
        expect(failures.some(({ check }) => check === 'join_without_match')).toBe(unmatched > 0.01);
        // Nothing at all known: the run would say so, and there is no snapshot to look into.
        const isEmpty = failures.some(({ severity }) => severity === 'block');
        if (!isEmpty) {
          const train = join(output, 'train.parquet');
          const rows = await withSession({ files: [train] }, (session) =>
            session.columns(
              `SELECT * REPLACE (CAST(weather_us AS BIGINT) AS weather_us) FROM ${parquetOf([train])} ORDER BY __id`,
            ),
          );
          expect(rows.weather_temp).toEqual(expected.map((one) => (one?.temp == null ? null : one.temp + 0.5)));
          expect(rows.weather_us).toEqual(
            expected.map((one) => (one === null ? null : (START_MS + one.hour * HOUR_MS) * 1_000)),
          );
          const batch = join(output, 'batch.parquet');
          await engine.computeFeatures({
            files: [left_],
            featuresSql: SQL,
            source,
            features,
            joins,
            idColumn: 'id',
            timeColumn: 'at',
            output: batch,
          });
          const again = await withSession({ files: [batch] }, (session) =>
            session.columns(`SELECT * FROM ${parquetOf([batch])}`),
          );
          expect(again.weather_temp).toEqual(rows.weather_temp);
          expect(again.weather_serial).toEqual(rows.weather_serial);
          expect(again.is_unknown).toEqual(rows.is_unknown);

          // Served from the keyed store: what is no older than max_age before the newest row of its key.
          const lookup = join(output, 'lookup.parquet');
          const stored = await engine.buildLookup({ spec: lookupSpec(joined), files, output: lookup });
          expect(stored.rows).toBeLessThanOrEqual(right.length + 1);
          const serving = await createFeatureEngine({
            featuresSql: SQL,
            source,
            features,
            joins: [{ join: joined, lookup }],
          });
          const now = Math.max(...right.map(({ hour }) => hour));
          const served = all
            .map((row, index) => ({ row, index }))
            .filter(({ row }) => row.hour >= now - maxAge - delay);
          for (const size of [1, served.length]) {
            for (let from = 0; from < served.length; from += size) {
              const some = served.slice(from, from + size);
              const found = await serving.compute(
                {
                  origin: some.map(({ row }) => row.origin),
                  gate: some.map(({ row }) => row.gate),
                  at: some.map(({ row }) => at(row.hour)),
                },
                some.length,
              );
              some.forEach(({ index }, place_) => {
                expect(found.weather_temp?.[place_]).toBe(rows.weather_temp?.[index]);
                const one = expected[index] ?? null;
                const serial: Cell = one === null ? null : serialOf((right as readonly Weather[]).indexOf(one));
                expect(found[`${LOOKED_UP}weather_serial`]?.[place_]).toBe(serial);
                expect(found[`${LOOKED_UP}weather_at`]?.[place_]).toBe(
                  one === null ? null : at(one.hour).replace('.000Z', 'Z'),
                );
              });
            }
          }
          serving.close();
        }
      },
    ),
    { numRuns: 20 },
  );
}, 120_000);
