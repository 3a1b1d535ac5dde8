/** `refit predict` against a real inference server: the rows of a file in, one JSON line each out. */
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runRefit } from '../support/e2e-refit.ts';
import { linearOnnx } from '../support/onnx-files.ts';
import { createWorld, entry, MODEL, type ServingWorld, until } from '../support/serving.ts';

let world: ServingWorld;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

const predict = (file: string, ...args: readonly string[]) =>
  runRefit(['predict', MODEL, file, ...args], { cwd: tmpdir(), env: {} });

it('answers row by row, in more than one request, with ids, whole numbers and times as they are', async () => {
  world.addVersion(3, {
    ...{ task: 'regression', classes: [], onnxBytes: linearOnnx('z', 1, 0) },
    sql: 'SELECT n % 1000 + hour(t) + coalesce(x, 0) AS z FROM source',
    source: [
      { name: 'n', type: 'int64' },
      { name: 't', type: 'timestamp' },
      { name: 'x', type: 'float64' },
    ],
  });
  world.plan(1, entry(3, 'champion', 1));
  const { url } = await world.start();
  const file = join(tmpdir(), `refit-predict-${process.pid}.csv`);
  const rows = Array.from(
    { length: 1_200 },
    (_, row) =>
      `r${row},${9_007_199_254_740_000n + BigInt(row)},2024-01-01T0${row % 7}:00:00Z,${row % 3 === 0 ? '' : row / 2}`,
  );
  await writeFile(file, ['row_id,n,t,x', ...rows].join('\n'));
  const ended = await predict(file, '--url', url);
  expect(ended.code, ended.stderr).toBe(0);
  const lines = ended.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { readonly id: string; readonly prediction: number });
  expect(lines).toHaveLength(1_200);
  lines.forEach(({ id, prediction }, row) => {
    expect(id).toBe(`r${row}`);
    const n = Number((9_007_199_254_740_000n + BigInt(row)) % 1000n);
    expect(prediction).toBeCloseTo(n + (row % 7) + (row % 3 === 0 ? 0 : row / 2), 3);
  });
  expect(lines[7]).toMatchObject({ row: 7, version: 3 });
}, 60_000);

it('sends texts as they stand in a CSV file, and an id that the features read once', async () => {
  world.addVersion(1, {
    ...{ task: 'regression', classes: [], onnxBytes: linearOnnx('z', 1, 0) },
    sql: "SELECT length(day) * 1000 + length(zip) * 100 + hour(t) + CASE WHEN row_id = '007' THEN 0.5 ELSE 0 END AS z FROM source",
    source: [
      { name: 'day', type: 'string' },
      { name: 'zip', type: 'string' },
      { name: 't', type: 'timestamp' },
      { name: 'row_id', type: 'string' },
    ],
  });
  world.plan(1, entry(1, 'champion', 1));
  const { url } = await world.start();
  const metadata = JSON.parse(await (await fetch(`${url}/v2/models/${MODEL}`)).text()) as {
    readonly inputs: readonly object[];
  };
  expect(metadata.inputs).toEqual([
    { name: 'day', datatype: 'BYTES', shape: [-1], parameters: { type: 'string' } },
    { name: 'zip', datatype: 'BYTES', shape: [-1], parameters: { type: 'string' } },
    { name: 't', datatype: 'BYTES', shape: [-1], parameters: { type: 'timestamp' } },
    { name: 'row_id', datatype: 'BYTES', shape: [-1], parameters: { type: 'string', id: true } },
  ]);
  const file = join(tmpdir(), `refit-predict-${process.pid}-texts.csv`);
  await writeFile(
    file,
    'day,zip,t,row_id\n2024-01-01,00501,2024-01-01 03:00:00,007\n2024-01-02,1,2024-01-01 04:00:00,8',
  );
  const ended = await predict(file, '--url', url);
  expect(ended.code, ended.stderr).toBe(0);
  expect(
    ended.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object),
  ).toMatchObject([
    { id: '007', prediction: 10_503.5 },
    { id: '8', prediction: 10_104 },
  ]);
  await until(() => world.published.length === 2, 'both are logged');
  expect(world.published.map(({ id, source }) => [id, source.zip])).toEqual([
    ['007', '00501'],
    ['8', '1'],
  ]);
}, 60_000);

it('says which columns do not fit, and that no server is there', async () => {
  world.addVersion(1);
  world.plan(1, entry(1, 'champion', 1));
  const { url } = await world.start();
  const file = join(tmpdir(), `refit-predict-${process.pid}-bad.csv`);
  await writeFile(file, 'x\na\nb');
  const bad = await predict(file, '--url', url);
  expect(bad).toMatchObject({ code: 2, stdout: '' });
  expect(bad.stderr).toMatch(/column x is string, the model takes float64 \(FP64\); column k \(BYTES\) is missing/);
  const away = await predict(file, '--url', 'http://127.0.0.1:1');
  expect(away.stderr).toMatch(/no inference server answers at .*; start one by refit serve, or name it by --url/);
  expect(away.stdout).toBe('');
}, 60_000);
