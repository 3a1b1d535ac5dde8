/** The trainers that come with Refit: the contract, parity with the ONNX file, the same bytes again, and clear ends. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setupContext } from '../../src/local/setup/index.ts';
import { ensurePython, TRAINERS_FOLDER } from '../../src/local/setup/python.ts';
import { parseSettings } from '../../src/settings.ts';
import { type FeatureType, query, runTrainer, score, type TrainerSpec } from '../support/trainer.ts';

const TIMEOUT_MS = 240_000;
const FEATURES: readonly { readonly name: string; readonly type: FeatureType }[] = [
  { name: 'distance', type: 'float64' },
  { name: 'hour of day', type: 'int64' },
  { name: 'carrier', type: 'string' },
  { name: 'holiday', type: 'bool' },
  { name: 'seats', type: 'float64' },
  { name: 'always_known', type: 'float64' },
];
const TENSORS: Readonly<Record<FeatureType, string>> = {
  float64: 'float32',
  int64: 'int64',
  string: 'string',
  bool: 'bool',
};
const TASKS = {
  'binary-classification': { classes: ['false', 'true'], label: '(signal > 0.9)::BIGINT' },
  'multiclass-classification': {
    classes: ['low', 'middle', 'high'],
    label: 'case when signal < 0.6 then 0 when signal < 1.1 then 1 else 2 end',
  },
  regression: { classes: [], label: 'signal * 100' },
} as const;
type Task = keyof typeof TASKS;

let folder: string;
let python: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-trainer-'));
  const context = setupContext((line) => process.stderr.write(`${line}\n`));
  python = (await ensurePython(parseSettings({}, folder), context)).path;
  for (const task of Object.keys(TASKS) as Task[]) {
    await writeRows(task, 'train', 1, 4_000);
    await writeRows(task, 'validation', 2, 500);
  }
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Nulls in numbers and strings, a value that only float64 holds, and in validation carriers that training never saw. */
async function writeRows(task: Task, part: string, salt: number, count: number): Promise<void> {
  const unseen = part === 'validation' ? "when i % 17 = 0 then 'ZZ'" : '';
  await query(`
    copy (
      with base as (
        select i, hash(i * 31 + ${salt}) % 100000 / 100000.0 as a, hash(i * 37 + ${salt}) % 100000 / 100000.0 as b,
          hash(i * 41 + ${salt}) % 23 as c from range(${count}) t(i)
      ), made as (
        select *, a * 0.8 + b * 0.4 + (c % 5) * 0.1 + sin(c) * 0.1 as signal from base
      )
      select case when i % 11 = 0 then null else a * 1234.56789 end as distance,
        cast(floor(b * 24) as bigint) as "hour of day",
        case ${unseen} when i % 13 = 0 then null else 'C' || c end as carrier,
        i % 7 = 0 as holiday,
        case when i % 3 = 0 then null else cast(c * 10 as double) end as seats,
        b - 0.5 as always_known,
        ${TASKS[task].label} as __label, i as __id, i % 5 as __fold
      from made order by i
    ) to '${join(folder, `${task}-${part}.parquet`)}' (format parquet)`);
}

function specOf(task: Task, name: string, params: Record<string, unknown> = {}): TrainerSpec {
  return {
    task,
    label: '__label',
    columns: [
      ...FEATURES.map((feature) => ({ ...feature, role: 'feature' as const })),
      { name: '__label', type: task === 'regression' ? 'float64' : 'string', role: 'label' },
    ],
    classes: TASKS[task].classes,
    train: join(folder, `${task}-train.parquet`),
    validation: join(folder, `${task}-validation.parquet`),
    params,
    seed: 7,
    threads: 2,
    output: join(folder, `${task}-${name}`),
    checkpoint: join(folder, `${task}-${name}`, 'checkpoint'),
  };
}

const command = (module: string) => ({ python, module: `refit_trainers.${module}`, trainersFolder: TRAINERS_FOLDER });
const digest = async (path: string) =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

interface Case {
  readonly module: string;
  readonly task: Task;
  readonly params: Record<string, unknown>;
}
const CASES: readonly Case[] = (Object.keys(TASKS) as Task[]).flatMap((task) => [
  { module: 'lightgbm', task, params: { num_leaves: 15, n_estimators: 40 } },
  { module: 'sklearn', task, params: { estimator: 'linear' } },
  { module: 'sklearn', task, params: { estimator: 'hist_gradient_boosting', max_iter: 30 } },
]);
const nameOf = ({ module, params }: Case) => `${module}-${String(params.estimator ?? 'boosting')}`;

describe.each(CASES)('$module $task $params', (one) => {
  it(
    'keeps the contract, agrees with its ONNX file, and gives the same bytes again',
    async () => {
      const spec = specOf(one.task, nameOf(one), one.params);
      const ended = await runTrainer(command(one.module), spec);
      expect(ended, ended.stderr).toMatchObject({ code: 0 });

      const session = await InferenceSession.create(join(spec.output, 'model.onnx'), { logSeverityLevel: 3 });
      const isRegression = one.task === 'regression';
      expect([...session.inputNames].sort()).toEqual(FEATURES.map((feature) => feature.name).sort());
      expect(session.outputNames).toEqual([isRegression ? 'prediction' : 'probabilities']);
      for (const input of session.inputMetadata) {
        const type = FEATURES.find((feature) => feature.name === input.name)?.type;
        expect(input).toMatchObject({ isTensor: true, type: type && TENSORS[type], shape: ['N', 1] });
      }
      const width = isRegression ? 1 : spec.classes.length;
      expect(session.outputMetadata[0]).toMatchObject({ isTensor: true, type: 'float32', shape: ['N', width] });

      const rows = await query(`select * from '${spec.validation}'`);
      const predictions = await query(`select * from '${join(spec.output, 'predictions.parquet')}'`);
      const columns = isRegression ? ['prediction'] : spec.classes.map((_, index) => `p${index}`);
      expect(Object.keys(predictions[0] ?? {})).toEqual(columns);
      const scored = await score(session, FEATURES, rows);
      const expected = predictions.flatMap((row) => columns.map((column) => Number(row[column])));
      expect(scored).toHaveLength(expected.length);
      const scale = isRegression ? 100 : 1;
      const worst = Math.max(
        ...expected.map((value, index) => Math.abs(value - (scored[index] ?? Number.NaN)) / scale),
      );
      expect(worst).toBeLessThan(1e-5);
      // One row alone answers as it does among others.
      const single = await score(session, FEATURES, rows.slice(0, 1));
      expect([...single]).toEqual([...scored.slice(0, width)]);
      await session.release();

      const lines = (await readFile(join(spec.output, 'metrics.jsonl'), 'utf8')).trim().split('\n');
      const metric = JSON.parse(lines.at(-1) ?? '') as { step: number; name: string; value: number };
      expect(metric).toEqual({ step: expect.any(Number), name: expect.any(String), value: expect.any(Number) });

      const again = { ...spec, output: `${spec.output}-again` };
      expect(await runTrainer(command(one.module), again)).toMatchObject({ code: 0 });
      for (const file of ['model.onnx', 'predictions.parquet', 'metrics.jsonl']) {
        expect(await digest(join(again.output, file)), file).toBe(await digest(join(spec.output, file)));
      }
    },
    TIMEOUT_MS,
  );
});

describe('learns', () => {
  it('far better than a guess', async () => {
    const metrics = await readFile(join(folder, 'binary-classification-lightgbm-boosting', 'metrics.jsonl'), 'utf8');
    const values = metrics
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { name: string; value: number });
    expect(values.filter((line) => line.name === 'roc_auc').at(-1)?.value).toBeGreaterThan(0.9);
  });
});

describe('cross-validation', () => {
  const metricsOf = async (spec: TrainerSpec): Promise<ReadonlyMap<string, number>> => {
    const lines = (await readFile(join(spec.output, 'metrics.jsonl'), 'utf8')).trim().split('\n');
    return new Map(
      lines.map((line) => JSON.parse(line) as { name: string; value: number }).map(({ name, value }) => [name, value]),
    );
  };

  it.each([
    { module: 'lightgbm', task: 'binary-classification', names: ['log_loss', 'roc_auc'] },
    { module: 'sklearn', task: 'regression', names: ['rmse', 'mae'] },
  ] as const)(
    '$module reports means and deviations for a $task, and the same model as without',
    async ({ module, task, names }) => {
      const spec = { ...specOf(task, `folds-${module}`, module === 'lightgbm' ? { n_estimators: 20 } : {}), folds: 5 };
      const ended = await runTrainer(command(module), spec);
      expect(ended, ended.stderr).toMatchObject({ code: 0 });
      const metrics = await metricsOf(spec);
      expect([...metrics.keys()].filter((name) => name.startsWith('cv_')).sort()).toEqual(
        names.flatMap((name) => [`cv_${name}_mean`, `cv_${name}_std`]).sort(),
      );
      const [first] = names;
      // Five models of four fifths of the rows are about as good as the one of all.
      const [mean, own] = [metrics.get(`cv_${first}_mean`) ?? 0, metrics.get(first) ?? 0];
      expect(Math.abs(mean - own) / own).toBeLessThan(0.25);
      expect(metrics.get(`cv_${first}_std`)).toBeGreaterThan(0);
      const { folds, ...without } = spec;
      expect(folds).toBe(5);
      const plain = { ...without, output: `${spec.output}-plain` };
      expect(await runTrainer(command(module), plain)).toMatchObject({ code: 0 });
      expect(await digest(join(plain.output, 'model.onnx'))).toBe(await digest(join(spec.output, 'model.onnx')));
    },
    TIMEOUT_MS,
  );

  it(
    'that finds its rows in one fold says so',
    async () => {
      const spec = { ...specOf('regression', 'one-fold'), folds: 3 };
      const train = join(folder, 'one-fold.parquet');
      await query(`copy (select * replace (0 as __fold) from '${spec.train}') to '${train}' (format parquet)`);
      const ended = await runTrainer(command('sklearn'), { ...spec, train, validation: train });
      expect(ended.code).toBe(2);
      expect(ended.stderr).toMatch(/the rows are in 0 of them/);
    },
    TIMEOUT_MS,
  );
});

describe('clear ends', () => {
  const spec = (name: string, change: Partial<TrainerSpec>): TrainerSpec => ({
    ...specOf('binary-classification', name),
    ...change,
  });
  const lastLine = (text: string) => text.trim().split('\n').at(-1);

  it.each([
    ['an unknown task', { task: 'ranking' as never }, /spec\.task is 'ranking'/],
    ['a missing file', { train: '/nonexistent.parquet' }, /nonexistent\.parquet cannot be read/],
    [
      'a class without a name',
      { task: 'multiclass-classification' as never, classes: ['false'] },
      /must have at least two classes/,
    ],
    ['a refused parameter', { params: { boosting: 'rf' } }, /params\.boosting is 'rf'/],
    ['a parameter that Refit sets', { params: { seed: 3 } }, /params\.seed is set by Refit/],
    [
      'nulls where there cannot be any',
      { columns: [{ name: 'distance', type: 'int64', role: 'feature' as const }] },
      /feature 'distance' is int64 but has nulls/,
    ],
  ])(
    '%s: exit 2, one last line, no model',
    async (name, change, message) => {
      const made = spec(`bad-${name.replaceAll(' ', '-')}`, change);
      const ended = await runTrainer(command('lightgbm'), made);
      expect(ended.code).toBe(2);
      expect(lastLine(ended.stderr)).toMatch(message);
      expect(existsSync(join(made.output, 'model.onnx'))).toBe(false);
    },
    TIMEOUT_MS,
  );

  it(
    'one class in training: exit 2',
    async () => {
      const train = join(folder, 'one-class.parquet');
      const source = specOf('binary-classification', 'x').train;
      await query(`copy (select * replace (true as __label) from '${source}') to '${train}' (format parquet)`);
      const ended = await runTrainer(command('lightgbm'), spec('one-class', { train }));
      expect(ended.code).toBe(2);
      expect(lastLine(ended.stderr)).toMatch(/has only one class/);
    },
    TIMEOUT_MS,
  );

  it(
    'SIGTERM stops it now, and leaves no model',
    async () => {
      const long = spec('stopped', { params: { n_estimators: 1_000_000, num_leaves: 255 } });
      // A million trees take hours.
      const trains = () => existsSync(join(long.output, 'metrics.jsonl'));
      const ended = await runTrainer(command('lightgbm'), long, trains);
      expect(ended.signal).toBe('SIGTERM');
      expect(existsSync(join(long.output, 'model.onnx'))).toBe(false);
    },
    TIMEOUT_MS,
  );
});
