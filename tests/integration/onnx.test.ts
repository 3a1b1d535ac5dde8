/** ONNX files: what is scored, and what never becomes a candidate; the evaluation and its parity gate on top. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withSession } from '../../src/adapters/duckdb/session.ts';
import { createEvaluator } from '../../src/adapters/evaluation.ts';
import { createScorer } from '../../src/adapters/onnx/scorer.ts';
import type { FeatureColumn } from '../../src/contracts/data.ts';
import type { Task } from '../../src/contracts/values.ts';
import type { EvaluationRequest } from '../../src/ports/data.ts';
import { linearOnnx, logarithmOnnx, logisticOnnx, onnxBytes } from '../support/onnx-files.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-onnx-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let files = 0;
async function fileOf(bytes: Uint8Array): Promise<string> {
  files += 1;
  const path = join(folder, `${files}.onnx`);
  await writeFile(path, bytes);
  return path;
}

const numbers = (...names: string[]): FeatureColumn[] => names.map((name) => ({ name, type: 'float64' }));
async function load(bytes: Uint8Array, features: readonly FeatureColumn[], task: Task = 'binary-classification') {
  return createScorer({
    path: await fileOf(bytes),
    features,
    classes: task === 'regression' ? [] : ['false', 'true'],
    task,
    threads: 1,
  });
}
const sigmoid = (value: number): number => 1 / (1 + Math.exp(-value));

describe('scoring', () => {
  it('answers row-major probabilities', async () => {
    const scorer = await load(logisticOnnx({ a: 2, b: -1 }, 0.5), numbers('a', 'b', 'unused'));
    const { width, values } = await scorer.score({ a: [1, 0], b: [0, 3], unused: [9, 9] }, 2);
    expect(width).toBe(2);
    [1 - sigmoid(2.5), sigmoid(2.5), 1 - sigmoid(-2.5), sigmoid(-2.5)].forEach((expected, index) => {
      expect(values[index]).toBeCloseTo(expected, 6);
    });
    await scorer.close();
  });

  it('gives null to numbers as NaN', async () => {
    const scorer = await load(logisticOnnx({ a: 1 }, 0), numbers('a'));
    expect((await scorer.score({ a: [null, 1] }, 2)).values[0]).toBeNaN();
  });

  it('scores big inputs in chunks', async () => {
    const scorer = await load(linearOnnx('a', 2, 1), numbers('a'), 'regression');
    const rows = 45_001;
    const { width, values } = await scorer.score({ a: Array.from({ length: rows }, (_, row) => row % 1_000) }, rows);
    expect(width).toBe(1);
    expect(values.every((value, row) => value === (row % 1_000) * 2 + 1)).toBe(true);
  });

  it('feeds texts, bools and whole numbers in their own types', async () => {
    const bytes = onnxBytes({
      inputs: [
        { name: 's', type: 'string', shape: [null, 1] },
        { name: 'b', type: 'bool', shape: [null, 1] },
        { name: 'i', type: 'int64', shape: [null, 1] },
        { name: 'd', type: 'float64', shape: [null, 1] },
      ],
      outputs: [{ name: 'prediction', type: 'float64', shape: [null, 1] }],
      operations: [
        { op: 'Cast', inputs: ['s'], output: 'sd', ints: { to: 11 } },
        { op: 'Cast', inputs: ['b'], output: 'bd', ints: { to: 11 } },
        { op: 'Cast', inputs: ['i'], output: 'id', ints: { to: 11 } },
        { op: 'Add', inputs: ['sd', 'bd'], output: 'sb' },
        { op: 'Add', inputs: ['id', 'd'], output: 'idd' },
        { op: 'Add', inputs: ['sb', 'idd'], output: 'prediction' },
      ],
    });
    const features: FeatureColumn[] = [
      { name: 's', type: 'string' },
      { name: 'b', type: 'bool' },
      { name: 'i', type: 'int64' },
      { name: 'd', type: 'float64' },
    ];
    // The probe's empty text is no number, which the runtime answers with an error: a wrong file to us.
    await expect(load(bytes, features, 'regression')).rejects.toThrow('model.onnx fails on a plain row');
  });
});

describe('never becomes a candidate', () => {
  const external = onnxBytes({
    inputs: [{ name: 'a', type: 'float32', shape: [null, 1] }],
    outputs: [{ name: 'prediction', type: 'float32', shape: [null, 1] }],
    constants: [{ name: 'w', shape: [1], values: [], external: '../../../etc/hostname' }],
    operations: [{ op: 'Mul', inputs: ['a', 'w'], output: 'prediction' }],
  });
  const good = linearOnnx('a', 2, 1);
  const refused: readonly (readonly [string, Uint8Array, readonly FeatureColumn[], Task, string])[] = [
    ['external data', external, numbers('a'), 'regression', 'keeps weights in another file'],
    ['empty', new Uint8Array(0), numbers('a'), 'regression', 'empty'],
    ['truncated', good.slice(0, good.length - 20), numbers('a'), 'regression', 'cut off'],
    ['garbage', Buffer.from('this is not a model at all'), numbers('a'), 'regression', 'no ONNX file'],
    ['input that is no feature', good, numbers('b'), 'regression', 'asks for input a, which is no feature'],
    ['input of another type', good, [{ name: 'a', type: 'string' }], 'regression', 'takes input a as float32'],
    ['output missing', good, numbers('a'), 'binary-classification', 'has no output probabilities'],
    [
      'unknown operator',
      onnxBytes({
        inputs: [{ name: 'a', type: 'float32', shape: [null, 1] }],
        outputs: [{ name: 'prediction', type: 'float32', shape: [null, 1] }],
        operations: [{ op: 'Mine', inputs: ['a'], output: 'prediction', domain: 'my.own' }],
      }),
      numbers('a'),
      'regression',
      'cannot be loaded',
    ],
    [
      'wrong width',
      onnxBytes({
        inputs: [{ name: 'a', type: 'float32', shape: [null, 1] }],
        outputs: [{ name: 'probabilities', type: 'float32', shape: [null, 1] }],
        operations: [{ op: 'Sigmoid', inputs: ['a'], output: 'probabilities' }],
      }),
      numbers('a'),
      'binary-classification',
      '[2, 2] is needed',
    ],
    [
      'NaN for a plain row',
      onnxBytes({
        inputs: [{ name: 'a', type: 'float32', shape: [null, 1] }],
        outputs: [{ name: 'prediction', type: 'float32', shape: [null, 1] }],
        operations: [{ op: 'Div', inputs: ['a', 'a'], output: 'prediction' }],
      }),
      numbers('a'),
      'regression',
      'NaN',
    ],
    [
      'probabilities beyond 1',
      onnxBytes({
        inputs: [{ name: 'a', type: 'float32', shape: [null, 1] }],
        outputs: [{ name: 'probabilities', type: 'float32', shape: [null, 2] }],
        constants: [{ name: 'two', shape: [1, 2], values: [2, 3] }],
        operations: [{ op: 'Add', inputs: ['a', 'two'], output: 'probabilities' }],
      }),
      numbers('a'),
      'binary-classification',
      'answers 2 in probabilities',
    ],
  ];
  for (const [name, bytes, features, task, message] of refused) {
    it(name, () =>
      expect(load(bytes, features, task)).rejects.toMatchObject({
        name: 'ModelProblem',
        message: expect.stringContaining(message),
      }),
    );
  }
});

describe('evaluation', () => {
  const writeParquet = (name: string, query: string): Promise<string> =>
    withSession({ folders: [folder] }, async (session) => {
      const path = join(folder, `${name}.parquet`);
      await session.run(`COPY (${query}) TO '${path}' (FORMAT parquet)`);
      return path;
    });

  async function request(change: Partial<EvaluationRequest> = {}): Promise<EvaluationRequest> {
    const rows = (from: number, to: number): string =>
      `SELECT 'id' || i AS __id, TIMESTAMP '2024-01-01' + to_hours(i) AS __time, (i % 17)::DOUBLE AS a, ((i % 17) + (i * 7919) % 13 > 14)::BIGINT AS __label, CASE WHEN i % 3 = 0 THEN 'x' ELSE 'y' END AS __slice_kind FROM range(${from}, ${to}) t(i)`;
    return {
      task: 'binary-classification',
      metric: 'roc_auc',
      slices: ['kind'],
      classes: ['false', 'true'],
      features: numbers('a'),
      onnx: await fileOf(logisticOnnx({ a: 1 }, -9)),
      test: await writeParquet('test', rows(2_000, 4_000)),
      testSource: await writeParquet('test_source', 'SELECT (i % 17)::BIGINT AS raw FROM range(2000, 4000) t(i)'),
      validation: await writeParquet('validation', rows(1_500, 2_000)),
      predictions: await writeParquet(
        'predictions',
        'SELECT 1 - p AS p0, p AS p1 FROM (SELECT 1 / (1 + exp(-((i % 17) - 9))) AS p FROM range(1500, 2000) t(i))',
      ),
      champion: null,
      confidence: 0.95,
      seed: 7,
      ...change,
    };
  }

  const champion = async (trained: string): Promise<NonNullable<EvaluationRequest['champion']>> => ({
    version: 3,
    task: 'binary-classification',
    onnx: await fileOf(logisticOnnx({ half: -0.01 }, 0)),
    featuresSql: 'SELECT raw / 2 AS half FROM source',
    source: [{ name: 'raw', type: 'int64' }],
    features: numbers('half'),
    classes: ['false', 'true'],
    trainedOn: [await writeParquet('trained', trained)],
  });
  const evaluator = createEvaluator(createScorer);

  it('gives metrics, slices and parity of the file itself', async () => {
    const { evaluation, parity, comparison } = await evaluator.evaluate(await request());
    expect(evaluation.rows).toBe(2_000);
    expect(evaluation.metrics.roc_auc).toBeGreaterThan(0.8);
    expect(Object.keys(evaluation.metrics).sort()).toEqual([
      'accuracy',
      'brier',
      'f1',
      'log_loss',
      'precision',
      'recall',
      'roc_auc',
    ]);
    expect(evaluation.slices.map(({ value }) => value)).toEqual(['y', 'x']);
    expect(evaluation.slices.reduce((sum, { rows }) => sum + rows, 0)).toBe(2_000);
    expect(parity).toBeLessThan(1e-6);
    expect(comparison).toBeNull();
  });

  it('names the largest difference to the trainer', async () => {
    const predictions = await writeParquet(
      'off',
      'SELECT 0.5 AS p0, CASE WHEN i = 1507 THEN 0.9 ELSE 0.5 END AS p1 FROM range(1500, 2000) t(i)',
    );
    await expect(evaluator.evaluate(await request({ predictions }))).rejects.toMatchObject({
      name: 'ModelProblem',
      message: expect.stringContaining('largest difference'),
    });
  });

  it('refuses predictions for other rows or without the columns', async () => {
    const short = await writeParquet('short', 'SELECT 0.5 AS p0, 0.5 AS p1 FROM range(10)');
    await expect(evaluator.evaluate(await request({ predictions: short }))).rejects.toThrow(
      'has 10 rows, the validation part 500',
    );
    const other = await writeParquet('other', 'SELECT 0.5 AS p FROM range(500)');
    await expect(evaluator.evaluate(await request({ predictions: other }))).rejects.toThrow(
      'columns p0, p1 are needed',
    );
  });

  it('compares with the champion on rows that it was not trained on', async () => {
    const trained = "SELECT 'id' || i AS __id, TIMESTAMP '2024-01-01' AS __time FROM range(2000, 2500) t(i)";
    const { evaluation, comparison } = await evaluator.evaluate(await request({ champion: await champion(trained) }));
    expect(evaluation.seenByChampion).toBe(500);
    expect(comparison).toMatchObject({ rows: 1_500, championVersion: 3, metric: 'roc_auc' });
    expect(comparison?.champion).toBeLessThan(0.2);
    expect(comparison?.interval.low).toBeGreaterThan(0.5);
    expect(comparison?.difference).toBeCloseTo((comparison?.challenger ?? 0) - (comparison?.champion ?? 0), 12);
  });

  it('compares with a champion from before a column was widened', async () => {
    const trained = "SELECT 'id' || i AS __id, NULL::TIMESTAMP AS __time FROM range(2000, 2500) t(i)";
    const testSource = await writeParquet('widened', 'SELECT (i % 17) + 0.25 AS raw FROM range(2000, 4000) t(i)');
    const { comparison } = await evaluator.evaluate(await request({ testSource, champion: await champion(trained) }));
    expect(comparison).toMatchObject({ rows: 1_500, championVersion: 3 });
  });

  it('goes by time where rows have no id', async () => {
    const trained = "SELECT NULL::VARCHAR AS __id, TIMESTAMP '2024-01-01' + to_hours(2999) AS __time";
    const { evaluation } = await evaluator.evaluate(await request({ champion: await champion(trained) }));
    expect(evaluation.comparison?.rows).toBe(1_000);
  });

  it('says why there is no comparison', async () => {
    const all = "SELECT 'id' || i AS __id, NULL::TIMESTAMP AS __time FROM range(0, 5000) t(i)";
    expect(
      (await evaluator.evaluate(await request({ champion: await champion(all) }))).evaluation.notCompared,
    ).toContain('trained on all 2000 test rows');
    const none = 'SELECT NULL::VARCHAR AS __id, NULL::TIMESTAMP AS __time FROM range(5)';
    expect(
      (await evaluator.evaluate(await request({ champion: await champion(none) }))).evaluation.notCompared,
    ).toContain('cannot be told');
  });

  it('refuses a file that answers NaN for a test row', async () => {
    const predictions = await writeParquet('log', 'SELECT ln((i % 17) + 1) AS prediction FROM range(1500, 2000) t(i)');
    const test = await writeParquet(
      'negative',
      "SELECT 'id' || i AS __id, NULL::TIMESTAMP AS __time, (i - 5)::DOUBLE AS a, 1.0 AS __label FROM range(10) t(i)",
    );
    const change: Partial<EvaluationRequest> = {
      task: 'regression',
      metric: 'rmse',
      classes: [],
      slices: [],
      onnx: await fileOf(logarithmOnnx('a')),
      predictions,
      test,
    };
    await expect(evaluator.evaluate(await request(change))).rejects.toThrow('model.onnx answers NaN for row 0');
  });
});
