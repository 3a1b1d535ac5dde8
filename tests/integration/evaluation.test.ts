/** The evaluation of a run against a real registry and real files: whatever the data holds, the run ends with an answer that the registry takes. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEvaluateActivities } from '../../activities/evaluate.ts';
import type { Ports } from '../../activities/ports.ts';
import { withSession } from '../../src/adapters/duckdb/session.ts';
import { createEvaluator } from '../../src/adapters/evaluation.ts';
import { createScorer } from '../../src/adapters/onnx/scorer.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import type { SnapshotManifest } from '../../src/contracts/data.ts';
import { modelSchema } from '../../src/contracts/documents.ts';
import type { EvaluateResult } from '../../src/contracts/messages.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { linearOnnx } from '../support/onnx-files.ts';
import { BACKENDS, freshOn } from '../support/registry-backends.ts';
import { digestOf, project } from '../support/registry-fixtures.ts';

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
}

/** A run of a model that predicts x, up to its evaluation. */
async function evaluating(registry: Registry, { test, change = {} }: Case) {
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
  const opened = await registry.openRun({
    ...{ model: MODEL, requestKey: 'one', trigger: 'manual', eventKeys: [], requester: null, reason: null },
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

describe.each(BACKENDS)('an evaluation (registry on %s)', (backend) => {
  const onFresh = async (work: (registry: Registry) => Promise<void>): Promise<void> => {
    const opened = await freshOn(backend);
    try {
      await work(opened.registry);
    } finally {
      await opened.close();
    }
  };

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
    }));
});
