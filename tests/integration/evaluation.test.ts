/** The evaluation of a run against a real registry and real files: whatever the data holds, the run ends with an answer that the registry takes. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEvaluateActivities } from '../../activities/evaluate.ts';
import type { Ports } from '../../activities/ports.ts';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { withSession } from '../../src/adapters/duckdb/session.ts';
import { createEvaluator } from '../../src/adapters/evaluation.ts';
import { createScorer } from '../../src/adapters/onnx/scorer.ts';
import { schedules } from '../../src/adapters/schedule.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import type { BundleManifest } from '../../src/contracts/bundle.ts';
import type { SnapshotManifest } from '../../src/contracts/data.ts';
import { modelSchema } from '../../src/contracts/documents.ts';
import type { EvaluateResult } from '../../src/contracts/messages.ts';
import type { Task } from '../../src/contracts/values.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import { knownOf } from '../../src/gateway/apply.ts';
import type { Registry } from '../../src/ports/registry.ts';
import type { ArtifactStore } from '../../src/ports/store.ts';
import { checkProject } from '../../src/project/check.ts';
import { linearOnnx, logarithmOnnx, logisticOnnx } from '../support/onnx-files.ts';
import { BACKENDS, type Backend, freshOn } from '../support/registry-backends.ts';
import { at, digestOf, openRun, project, ship } from '../support/registry-fixtures.ts';

const MODEL = 'm';
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-evaluation-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Case {
  /** SQL of 200 rows with `x`, `__label` and the slices, of which the test part is made. */
  readonly test: string;
  /** Keys of the Model document. */
  readonly change?: object;
  /** The ONNX file of a version that serves already, of which the features are those of the challenger. */
  readonly champion?: { readonly onnx: Uint8Array; readonly task?: Task };
}

/** A run of a model that predicts x, up to its evaluation. */
async function evaluating(registry: Registry, { test, change = {}, champion }: Case) {
  const store = await openStore(`file://${join(folder, 'artifacts')}`);
  const stored = async (select: string): Promise<string> => {
    const path = join(await mkdtemp(join(folder, 'part-')), 'part.parquet');
    await withSession({ folders: [folder] }, (session) =>
      session.run(`COPY (${select}) TO '${path}' (FORMAT parquet)`),
    );
    return (await store.putFile(path)).digest;
  };
  const base = project([MODEL]);
  const [model] = base.models;
  const document = modelSchema.parse({ ...JSON.parse(canonicalJson(model?.document)), ...change });
  const definitionDigest = digestOf(document);
  await registry.apply({ ...base, models: [{ document, definitionDigest }] });
  const validation = await stored('SELECT i::DOUBLE AS x, i::DOUBLE AS __label FROM range(20) t(i)');
  const testPart = await stored(`SELECT 'id' || x AS __id, NULL::TIMESTAMP AS __time, * FROM (${test})`);
  const part = (digest: string) => ({ digest, rows: 20 });
  const snapshot = {
    ...{ model: MODEL, dataset: 'd', datasetVersion: 1, classes: [], features: [{ name: 'x', type: 'float64' }] },
    parts: { train: part(validation), validation: part(validation), test: part(testPart) },
    testSource: testPart,
  } as unknown as SnapshotManifest;
  const onnx = join(await mkdtemp(join(folder, 'onnx-')), 'model.onnx');
  await writeFile(onnx, linearOnnx('x', 1, 0));
  if (champion !== undefined)
    await serving(registry, store, champion, await stored("SELECT 'seen' AS __id, NULL::TIMESTAMP AS __time"));
  const opened = await registry.openRun({
    ...{ model: MODEL, requestKey: 'run', trigger: 'manual', eventKeys: [], requester: null, reason: null },
    ...{ definitionDigest, at: new Date().toISOString() },
  });
  if (opened.status !== 'opened') throw new Error(opened.reason);
  const { run } = opened.run;
  const request = {
    ...{ model: MODEL, run, definitionDigest, onnx: (await store.putFile(onnx)).digest },
    snapshot: await store.putBytes(Buffer.from(canonicalJson(snapshot))),
    predictions: await stored('SELECT i::DOUBLE AS prediction FROM range(20) t(i)'),
  };
  const ports = { registry, store, evaluator: createEvaluator(createScorer), surroundings: { now: () => new Date() } };
  const { evaluateRun } = createEvaluateActivities(ports as unknown as Ports);
  const evaluate = () =>
    new MockActivityEnvironment().run<[typeof request], EvaluateResult, typeof evaluateRun>(evaluateRun, request);
  return { run, request, evaluate };
}

/** Version 1, promoted; `seen` is what it was trained on. */
async function serving(
  registry: Registry,
  store: ArtifactStore,
  { onnx, task = 'regression' }: NonNullable<Case['champion']>,
  seen: string,
): Promise<void> {
  const { run } = await openRun(registry, MODEL, 'champion');
  const bundle = {
    ...{ model: MODEL, task, classes: task === 'regression' ? [] : ['false', 'true'], labelSql: 'y', idColumn: 'id' },
    ...{ onnx: await store.putBytes(onnx), featuresSql: await store.putBytes(Buffer.from('SELECT x FROM source')) },
    ...{ features: [{ name: 'x', type: 'float64' }], source: [{ name: 'x', type: 'float64' }] },
  } satisfies BundleManifest;
  const snapshot = { parts: { train: { digest: seen, rows: 1 }, validation: { digest: seen, rows: 1 } } };
  const version = await registry.registerVersion({
    ...{ model: MODEL, run, bundleDigest: await store.putBytes(Buffer.from(canonicalJson(bundle))), source: [] },
    snapshot: await store.putBytes(Buffer.from(canonicalJson(snapshot))),
    metric: { name: 'rmse', value: 1 },
    evaluation: { rows: 10, metric: 'rmse', metrics: { rmse: 1 }, slices: [] },
    createdAt: at(3),
  });
  await registry.requestApproval({
    ...{ run, model: MODEL, version: version.version, bundleDigest: version.bundleDigest, required: 1 },
    ...{ requestedAt: at(4), expiresAt: at(1_000) },
  });
  await ship(registry, version);
}

async function onFresh(work: (registry: Registry) => Promise<void>, backend: Backend = 'sqlite'): Promise<void> {
  const opened = await freshOn(backend);
  try {
    await work(opened.registry);
  } finally {
    await opened.close();
  }
}

describe.each(BACKENDS)('an evaluation (registry on %s)', (backend) => {
  it('is inconclusive where a label makes the metric larger than a number can be', () =>
    onFresh(async (registry) => {
      const { run, evaluate } = await evaluating(registry, {
        test: 'SELECT i::DOUBLE AS x, CASE i WHEN 7 THEN 1.7976931348623157e308 ELSE i END AS __label FROM range(200) t(i)',
        change: { gates: [{ type: 'maximum', metric: 'rmse', value: 5 }] },
      });
      const first = await evaluate();
      expect(first).toMatchObject({ status: 'inconclusive', metric: null });
      expect(first.reason).toBe('rmse: rmse is undefined on 200 held-out rows');
      const stored = await registry.run(run);
      expect(stored).toMatchObject({ metric: null, stage: 'register', evaluation: { rows: 200 } });
      expect(stored?.gates.map(({ gate, status }) => `${gate} ${status}`)).toEqual([
        ...['parity passed', 'rmse inconclusive', 'maximum rmse inconclusive'],
      ]);
      // Asked again, after a crash, it answers from the registry.
      expect(await evaluate()).toEqual(first);
    }, backend));
});

it('a definition of another task than the one in force is warned of, for its versions cannot be compared', () =>
  onFresh(async (registry) => {
    await registry.apply(project([MODEL]));
    const problemsOf = async (task: Task): Promise<readonly string[]> => {
      const model = `kind: Model\nname: ${MODEL}\ntask: ${task}\ndataset: d\nlabel: { sql: y }\nfeatures: [x]\ntraining: { trainer: sklearn }\n`;
      const files = new Map([['model.yaml', Buffer.from(`apiVersion: refit.dev/v1\n${model}`)]]);
      const { problems } = await checkProject(files, await knownOf({ registry }), createDataEngine(), schedules);
      return problems.map(({ severity, line, message }) => `${severity} in line ${line}: ${message}`);
    };
    const told = expect.stringMatching(/^warning in line 4: task: m is registered for regression: /);
    expect(await problemsOf('binary-classification')).toContainEqual(told);
    expect(await problemsOf('regression')).not.toContainEqual(told);
  }));

describe('an evaluation', () => {
  const NO_COMPARISON: readonly (readonly [string, NonNullable<Case['champion']>, string])[] = [
    ['answers NaN for one row', { onnx: logarithmOnnx('x') }, 'the champion (version 1) answers NaN for row 3'],
    [
      'was of another task',
      { onnx: logisticOnnx({ x: 1 }, 0), task: 'binary-classification' },
      'the champion (version 1) is a model of binary-classification, the definition is of regression',
    ],
    [
      'can no longer be loaded',
      { onnx: Buffer.from('no model any more') },
      'the champion (version 1): model.onnx is cut off or no ONNX file',
    ],
  ];
  for (const [what, champion, why] of NO_COMPARISON) {
    it(`judges a challenger by the other gates where the champion ${what}`, () =>
      onFresh(async (registry) => {
        const test = 'SELECT CASE i WHEN 3 THEN -5 ELSE i END::DOUBLE AS x, x AS __label FROM range(200) t(i)';
        const { run, evaluate } = await evaluating(registry, {
          ...{ test, champion },
          change: { gates: [{ type: 'maximum', metric: 'rmse', value: 5 }] },
        });
        expect(await evaluate()).toMatchObject({ status: 'passed', metric: { name: 'rmse', value: 0 } });
        expect((await registry.run(run))?.evaluation?.notCompared).toContain(why);
      }));
  }

  it('is inconclusive by the gate that needs the champion, and says what is wrong with that one', () =>
    onFresh(async (registry) => {
      const { evaluate } = await evaluating(registry, {
        test: 'SELECT (i - 5)::DOUBLE AS x, x AS __label FROM range(600) t(i)',
        champion: { onnx: logarithmOnnx('x') },
        change: { gates: [{ type: 'champion', require: 'not_worse', margin: 0 }] },
      });
      expect(await evaluate()).toMatchObject({
        status: 'inconclusive',
        reason: 'champion (not_worse): not compared: the champion (version 1) answers NaN for row 0',
      });
    }));

  /** 250 stores of 20 rows each, of which the one called `wrong` is far off. */
  const stores = (wrong: number): string =>
    `SELECT (i % 250)::DOUBLE AS x, x + CASE i % 250 WHEN ${wrong} THEN 9 ELSE 0 END AS __label, printf('store %03d', i % 250) AS __slice_store FROM range(5000) t(i)`;
  const gate = { type: 'slice', slice: 'store', metric: 'rmse', value: 5, min_rows: 20 };

  it('judges every value of a slice that has enough rows, not only those that are listed', () =>
    onFresh(async (registry) => {
      const change = { evaluation: { slices: ['store'] }, gates: [gate] };
      const { run, evaluate } = await evaluating(registry, { test: stores(140), change });
      expect(await evaluate()).toMatchObject({
        status: 'failed',
        reason: 'slice store: rmse above 5.0000: store 140 9.0000 (20 rows)',
      });
      const evaluation = (await registry.run(run))?.evaluation;
      expect(evaluation?.slices).toHaveLength(100);
      expect(evaluation?.unlisted).toEqual([{ slice: 'store', values: 150, rows: 20 }]);
    }));

  it('is inconclusive where a slice has more values than are judged', () =>
    onFresh(async (registry) => {
      const test = 'SELECT i::DOUBLE AS x, x AS __label, i AS __slice_store FROM range(10001) t(i)';
      const change = { evaluation: { slices: ['store'] }, gates: [{ ...gate, min_rows: 1 }] };
      const { evaluate } = await evaluating(registry, { test, change });
      expect(await evaluate()).toMatchObject({
        status: 'inconclusive',
        reason: expect.stringContaining('10000 values of store were measured, 1 more were not'),
      });
    }));
});
