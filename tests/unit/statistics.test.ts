/** Metrics, bootstrap and drift distance against the values of scikit-learn and SciPy (tests/support/reference-statistics.py). */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { METRICS, TASKS } from '../../src/contracts/values.ts';
import { pairedBootstrap } from '../../src/domain/statistics/bootstrap.ts';
import { jensenShannon } from '../../src/domain/statistics/divergence.ts';
import { defaultMetric, metricDirection, metricValue } from '../../src/domain/statistics/metrics.ts';
import { seededRandom } from '../../src/domain/statistics/random.ts';
import type { Scored } from '../../src/domain/statistics/scored.ts';

const reference = z
  .object({
    metrics: z.array(
      z.object({
        name: z.string(),
        task: z.enum(TASKS),
        width: z.number(),
        truth: z.array(z.number()),
        values: z.array(z.number()),
        expected: z.partialRecord(z.enum(METRICS), z.number()),
      }),
    ),
    jensenShannon: z.array(
      z.object({ reference: z.array(z.number()), current: z.array(z.number()), expected: z.number() }),
    ),
  })
  .parse(JSON.parse(readFileSync(new URL('./fixtures/statistics.json', import.meta.url), 'utf8')));

const binary = (truth: readonly number[], positive: readonly number[]): Scored => ({
  task: 'binary-classification',
  truth: Float64Array.from(truth),
  width: 2,
  values: Float64Array.from(positive.flatMap((share) => [1 - share, share])),
});

describe('metrics equal scikit-learn', () => {
  for (const { name, task, width, truth, values, expected } of reference.metrics) {
    const scored: Scored = { task, width, truth: Float64Array.from(truth), values: Float64Array.from(values) };
    for (const metric of METRICS) {
      const value = expected[metric];
      if (value !== undefined)
        it(`${metric} of ${name}`, () => expect(metricValue(metric, scored)).toBeCloseTo(value, 10));
    }
  }

  it('are undefined rather than wrong', () => {
    expect(metricValue('roc_auc', binary([1, 1, 1], [0.1, 0.5, 0.9]))).toBeNull();
    expect(metricValue('log_loss', binary([], []))).toBeNull();
    expect(metricValue('f1', binary([], []))).toBeNull();
    expect(
      metricValue('r2', { task: 'regression', width: 1, truth: Float64Array.of(1), values: Float64Array.of(1) }),
    ).toBeNull();
    const beyond: Scored = {
      ...{ task: 'regression', width: 1 },
      ...{ truth: Float64Array.of(1e200, 1.7e308, -1.7e308), values: Float64Array.of(0, 0, 0) },
    };
    for (const metric of ['rmse', 'mae', 'r2'] as const) expect(metricValue(metric, beyond)).toBeNull();
    expect(() => metricValue('rmse', binary([1], [0.5]))).toThrow('rmse is not a metric of binary-classification');
  });

  it('know their direction and the default of each task', () => {
    expect(METRICS.filter((metric) => metricDirection(metric) === 'lower')).toEqual([
      'log_loss',
      'brier',
      'rmse',
      'mae',
    ]);
    expect(TASKS.map(defaultMetric)).toEqual(['roc_auc', 'log_loss', 'rmse']);
  });

  it('roc_auc is the share of ordered pairs', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 5 })), {
          minLength: 1,
          maxLength: 40,
        }),
        (rows) => {
          let pairs = 0;
          let ordered = 0;
          for (const [truth, score] of rows) {
            for (const [otherTruth, otherScore] of rows) {
              if (truth !== 1 || otherTruth !== 0) continue;
              pairs += 1;
              ordered += score > otherScore ? 1 : score === otherScore ? 0.5 : 0;
            }
          }
          const area = metricValue(
            'roc_auc',
            binary(
              rows.map(([truth]) => truth),
              rows.map(([, score]) => score / 5),
            ),
          );
          if (pairs === 0) expect(area).toBeNull();
          else expect(area).toBeCloseTo(ordered / pairs, 12);
        },
      ),
    );
  });
});

describe('paired bootstrap', () => {
  const random = seededRandom(3);
  const uniform = (): number => random.below(1_000_000) / 1_000_000;
  const rows = 30_000;
  const truth = Array.from({ length: rows }, () => (uniform() < 0.3 ? 1 : 0));
  const scores = (signal: number): number[] =>
    truth.map((one) => Math.min(1, Math.max(0, 0.3 + one * signal + (uniform() - 0.5) * 0.6)));
  const good = binary(truth, scores(0.2));
  const bad = binary(truth, scores(0.1));

  it('covers the difference and excludes 0 where one model is better', () => {
    const difference = (metricValue('roc_auc', good) ?? 0) - (metricValue('roc_auc', bad) ?? 0);
    const interval = pairedBootstrap('roc_auc', good, bad, { confidence: 0.95, seed: 7 });
    expect(interval?.low).toBeGreaterThan(0);
    expect(interval?.low).toBeLessThan(difference);
    expect(interval?.high).toBeGreaterThan(difference);
  });

  it('turns metrics where lower is better, so that positive is better', () => {
    const interval = pairedBootstrap('brier', good, bad, { confidence: 0.95, seed: 7, resamples: 100 });
    expect(interval?.low).toBeGreaterThan(0);
  });

  it('repeats for a seed, differs for another, and is 0 for equal models', () => {
    const options = { confidence: 0.9, seed: 11 };
    const first = pairedBootstrap('roc_auc', good, bad, options);
    expect(pairedBootstrap('roc_auc', good, bad, options)).toEqual(first);
    expect(pairedBootstrap('roc_auc', good, bad, { ...options, seed: 12 })).not.toEqual(first);
    expect(pairedBootstrap('roc_auc', good, good, options)).toEqual({ low: 0, high: 0, confidence: 0.9 });
  });

  it('has the width that theory gives for a mean', () => {
    const values = Array.from({ length: 5_000 }, uniform);
    const exact: Scored = {
      task: 'regression',
      width: 1,
      truth: new Float64Array(5_000),
      values: new Float64Array(5_000),
    };
    const interval = pairedBootstrap(
      'mae',
      exact,
      { ...exact, values: Float64Array.from(values) },
      { confidence: 0.95, seed: 1, resamples: 2_000 },
    );
    const width = 2 * 1.96 * Math.sqrt(1 / 12 / 5_000);
    expect((interval?.high ?? 0) - (interval?.low ?? 0)).toBeGreaterThan(width * 0.9);
    expect((interval?.high ?? 0) - (interval?.low ?? 0)).toBeLessThan(width * 1.1);
  });

  it('is null where the metric is undefined', () => {
    const oneClass = binary([1, 1], [0.5, 0.6]);
    expect(pairedBootstrap('roc_auc', oneClass, oneClass, { confidence: 0.95, seed: 1 })).toBeNull();
    expect(pairedBootstrap('roc_auc', binary([], []), binary([], []), { confidence: 0.95, seed: 1 })).toBeNull();
  });

  it('is null where differences are beyond a double', () => {
    const truth = Float64Array.from({ length: 20 }, (_, row) => (row === 3 ? 1e200 : row));
    const of = (values: Float64Array): Scored => ({ task: 'regression', width: 1, truth, values });
    const [exact, zero] = [of(truth), of(new Float64Array(20))];
    for (const metric of ['rmse', 'r2'] as const)
      expect(pairedBootstrap(metric, exact, zero, { confidence: 0.95, seed: 1 })).toBeNull();
  });
});

describe('Jensen-Shannon distance equals SciPy', () => {
  for (const [index, { reference: p, current: q, expected }] of reference.jensenShannon.entries()) {
    it(`case ${index}`, () => expect(jensenShannon(p, q)).toBeCloseTo(expected, 12));
  }
  it('is null without rows', () => expect(jensenShannon([0, 0], [1, 2])).toBeNull());
});
