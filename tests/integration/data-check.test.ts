/** `refit data check`: what ingestion and the runs would say of files, without any service. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runRefit } from '../support/e2e-refit.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const TIMEOUT_MS = 60_000;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-data-check-test-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const check = (...args: readonly string[]) =>
  runRefit(['data', 'check', ...args], { cwd: ROOT, env: { REFIT_HOME: join(folder, 'home') } });

/** Beds of a garden, sown in rows; `tall` is the label. */
async function project(): Promise<string> {
  const at = join(folder, 'project');
  await mkdir(at, { recursive: true });
  await writeFile(
    join(at, 'refit.yaml'),
    [
      '{ apiVersion: refit.dev/v1, kind: Dataset, name: beds, id: bed, expect: [{ type: between, column: water, min: 0, max: 9 }] }',
      '---',
      '{ apiVersion: refit.dev/v1, kind: Model, name: height, task: binary-classification, dataset: beds, label: { sql: tall }, features: [water], training: { trainer: sklearn } }',
    ].join('\n'),
  );
  return at;
}
const csv = async (name: string, rows: readonly string[]): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, ['bed,water,tall', ...rows].join('\n'));
  return path;
};

describe('refit data check', () => {
  it(
    'lets real data pass, and tells the rows of each part',
    async () => {
      const ended = await check('examples/flight-delays', 'examples/flight-delays/data/flights-2013-01.parquet');
      expect(ended.stderr).toMatch(/flight-delays: \d+ train, \d+ validation and \d+ test rows/);
      expect(ended.stderr).toMatch(/\d+ rows of flights pass/);
      expect(ended.code).toBe(0);
    },
    TIMEOUT_MS,
  );

  it(
    'ends with 1 where ingestion rejects, and tells why in JSON',
    async () => {
      const ended = await check(await project(), await csv('dry.csv', ['a,1,true', 'b,-3,false']), '--json');
      expect(ended.code).toBe(1);
      expect(JSON.parse(ended.stdout)).toMatchObject({
        dataset: 'beds',
        rejected: true,
        failures: [{ check: 'between', column: 'water', examples: ['-3 (bed b)'] }],
        models: [],
      });
    },
    TIMEOUT_MS,
  );

  it(
    'reads other datasets by their own documents, as ingestion does',
    async () => {
      const at = join(folder, 'own-documents');
      await mkdir(at, { recursive: true });
      await writeFile(
        join(at, 'refit.yaml'),
        [
          '{ apiVersion: refit.dev/v1, kind: Dataset, name: rides, id: ride, time: start, csv: { delimiter: "," }, columns: { zip: string } }',
          '---',
          '{ apiVersion: refit.dev/v1, kind: Dataset, name: weather, time: seen, csv: { delimiter: ";", decimal: "," }, columns: { zip: string, note: ignored } }',
          '---',
          '{ apiVersion: refit.dev/v1, kind: Model, name: length, task: regression, dataset: rides, label: { sql: minutes }, features: [weather_temp, distance], ' +
            'joins: [{ dataset: weather, keys: { zip: zip }, columns: [temp], max_age: 2h }], training: { trainer: sklearn } }',
        ].join('\n'),
      );
      const time = (index: number): string => new Date(Date.UTC(2024, 0, 1) + index * 600_000).toISOString();
      const rows = Array.from({ length: 100 }, (_, index) => index);
      const [rides, weather] = [join(folder, 'own-rides.csv'), join(folder, 'own-weather.csv')];
      await writeFile(
        rides,
        [
          'ride,zip,start,distance,minutes',
          ...rows.map((index) => `r${index},00501,${time(index)},${(index * 37) % 91},${(index * 7_919) % 101}`),
        ].join('\n'),
      );
      await writeFile(
        weather,
        ['zip;seen;temp', ...rows.map((index) => `00501;${time(index)};${index % 17},5`)].join('\n'),
      );
      const ended = await check(at, rides, '--dataset', 'rides', '--other', `weather=${weather}`, '--json');
      expect(ended.stderr).toBe('');
      expect(JSON.parse(ended.stdout)).toMatchObject({ rejected: false, models: [{ model: 'length', failures: [] }] });
    },
    TIMEOUT_MS,
  );

  it(
    'joins the files of other datasets, and says which are missing',
    async () => {
      const at = join(folder, 'joined');
      await mkdir(at, { recursive: true });
      await writeFile(
        join(at, 'refit.yaml'),
        [
          '{ apiVersion: refit.dev/v1, kind: Dataset, name: rides, id: ride, time: start }',
          '---',
          '{ apiVersion: refit.dev/v1, kind: Dataset, name: weather, time: seen }',
          '---',
          '{ apiVersion: refit.dev/v1, kind: Model, name: length, task: regression, dataset: rides, label: { sql: minutes }, features: [weather_temp, distance], ' +
            'joins: [{ dataset: weather, keys: { place: station }, columns: [temp], max_age: 2h }], training: { trainer: sklearn } }',
        ].join('\n'),
      );
      const hour = (index: number): string => new Date(Date.UTC(2024, 0, 1) + index * 3_600_000).toISOString();
      const rides = join(folder, 'rides.csv');
      const weather = join(folder, 'weather.csv');
      const rows = Array.from(
        { length: 200 },
        (_, row) => `r${row},${hour(row)},A,${(row * 37) % 101},${(row * 13) % 17}`,
      );
      await writeFile(rides, ['ride,start,place,minutes,distance', ...rows].join('\n'));
      // Nothing is known of the last hours.
      await writeFile(
        weather,
        ['station,seen,temp', ...Array.from({ length: 150 }, (_, row) => `A,${hour(row)},${(row * 7) % 30}`)].join(
          '\n',
        ),
      );
      const alone = await check(at, rides, '--dataset', 'rides');
      expect(alone.stdout).toMatch(/length .*block .*join .*dataset weather, which the model joins, has no data here/);
      expect(alone.code).toBe(1);
      const both = await check(at, rides, '--dataset', 'rides', '--other', `weather=${weather}`, '--json');
      expect(both.code, both.stderr + both.stdout).toBe(0);
      const found = JSON.parse(both.stdout) as {
        readonly models: readonly {
          readonly failures: readonly { readonly check: string; readonly detail: string }[];
        }[];
      };
      expect(found.models[0]?.failures).toContainEqual(
        expect.objectContaining({
          check: 'join_without_match',
          detail: expect.stringContaining('48 of 200 rows (24.0 %) find no row of weather'),
        }),
      );
    },
    TIMEOUT_MS,
  );

  it(
    'ends with 1 where a run would reject',
    async () => {
      const rows = Array.from({ length: 200 }, (_, row) => `b${row},${row % 7},true`);
      const ended = await check(await project(), await csv('same.csv', rows));
      expect(ended.stdout).toMatch(/height .*block .*one_class/);
      expect(ended.code).toBe(1);
    },
    TIMEOUT_MS,
  );

  it(
    'ends with 2 for a file that is not there',
    async () => {
      const ended = await check(await project(), 'gone.csv');
      expect(ended).toMatchObject({ code: 2, stdout: '' });
      expect(ended.stderr).toMatch(/gone\.csv is not a file/);
    },
    TIMEOUT_MS,
  );
});
