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
