/** Gates, steps and sweeps for any input: what is missing or undecided never promotes, and more evidence never helps a bad model. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gateSchema } from '../../src/contracts/documents.ts';
import type { Evaluation } from '../../src/contracts/evaluation.ts';
import { LATENCY_BUCKETS_MS, type ReplicaReport } from '../../src/contracts/plan.ts';
import { judgeSweep } from '../../src/domain/drift.ts';
import { judgeGate, overall } from '../../src/domain/gates.ts';
import { judgeStep } from '../../src/domain/rollout.ts';
import { driftWindows } from '../support/policy-state.ts';

const check = <T>(arbitrary: fc.Arbitrary<T>, body: (value: T) => void): void =>
  fc.assert(
    fc.property(arbitrary, (value) => {
      body(value);
    }),
    { numRuns: 2_000 },
  );

const score = fc.double({ min: -2, max: 2 });
const gates = fc
  .oneof(
    fc.record({
      type: fc.constantFrom('minimum', 'maximum'),
      metric: fc.constantFrom('roc_auc', 'rmse'),
      value: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    fc.record({
      type: fc.constant('champion'),
      require: fc.constantFrom('better', 'not_worse'),
      margin: fc.double({ min: 0, max: 0.1, noNaN: true }),
      min_rows: fc.constantFrom(1, 500),
    }),
    fc.record({
      type: fc.constant('slice'),
      slice: fc.constantFrom('a', 'b'),
      metric: fc.constant('roc_auc'),
      value: fc.double({ min: 0, max: 1, noNaN: true }),
      min_rows: fc.constantFrom(1, 100),
    }),
  )
  .map((document) => gateSchema.parse(document));
const evaluations: fc.Arbitrary<Evaluation> = fc.record({
  rows: fc.nat(1_000),
  metric: fc.constant('roc_auc' as const),
  metrics: fc.record({ roc_auc: score, rmse: score }, { requiredKeys: [] }),
  slices: fc.array(
    fc.record({
      slice: fc.constantFrom('a', 'b'),
      value: fc.constantFrom('x', 'y'),
      rows: fc.nat(200),
      score: fc.option(score),
    }),
    { maxLength: 4 },
  ),
});
const comparisons = fc
  .record({ difference: score, low: score, high: score, rows: fc.nat(1_000) })
  .map(({ difference, low, high, rows }) => ({
    ...{ champion: 0.5, metric: 'roc_auc' as const, challenger: 0.5, championVersion: 1, difference, rows },
    interval: { low, high, confidence: 0.95 },
  }));

describe('a gate', () => {
  it('passes only on numbers that were measured', () => {
    check(fc.tuple(gates, evaluations, comparisons, fc.boolean()), ([gate, plain, comparison, hasChampion]) => {
      const evaluation = { ...plain, comparison };
      if (judgeGate(gate, evaluation, hasChampion).status !== 'passed') return;
      if (gate.type === 'minimum') expect(evaluation.metrics[gate.metric]).toBeGreaterThanOrEqual(gate.value);
      if (gate.type === 'maximum') expect(evaluation.metrics[gate.metric]).toBeLessThanOrEqual(gate.value);
      if (gate.type === 'champion') {
        expect(comparison.rows).toBeGreaterThanOrEqual(gate.min_rows);
        expect(comparison.interval.low).toBeGreaterThanOrEqual(gate.require === 'better' ? gate.margin : -gate.margin);
      }
      if (gate.type === 'slice')
        expect(
          evaluation.slices.some(
            (one) =>
              one.slice === gate.slice && one.rows >= gate.min_rows && one.score !== null && one.score >= gate.value,
          ),
        ).toBe(true);
    });
  });

  it('without anything measured never passes', () => {
    const empty: Evaluation = { rows: 0, metric: 'roc_auc', metrics: {}, slices: [] };
    check(gates, (gate) => expect(judgeGate(gate, empty, true).status).toBe('inconclusive'));
  });

  it('overall passes exactly when none failed and none is inconclusive', () => {
    const results = fc.array(
      fc.record({
        gate: fc.string(),
        status: fc.constantFrom('passed', 'failed', 'inconclusive', 'not_applicable'),
        detail: fc.string(),
      }),
      { maxLength: 6 },
    );
    check(results, (all) => {
      const bad = all.some((one) => one.status === 'failed' || one.status === 'inconclusive');
      expect(overall(all).status === 'passed').toBe(!bad);
    });
  });
});

const buckets = fc.array(fc.nat(50), {
  minLength: LATENCY_BUCKETS_MS.length + 1,
  maxLength: LATENCY_BUCKETS_MS.length + 1,
});
const replicaCounts = (version: number, role: 'champion' | 'canary') =>
  buckets.chain((latencyBuckets) => {
    const requests = latencyBuckets.reduce((a, b) => a + b, 0);
    return fc.record({
      version: fc.constant(version),
      role: fc.constant(role),
      requests: fc.constant(requests),
      errors: fc.nat(requests),
      latencyBuckets: fc.constant(latencyBuckets),
    });
  });
const reports: fc.Arbitrary<ReplicaReport> = fc.record({
  replica: fc.string(),
  model: fc.constant('m'),
  deployment: fc.constantFrom(1, 2),
  revision: fc.constantFrom(1, 2),
  counts: fc.tuple(replicaCounts(1, 'champion'), replicaCounts(2, 'canary')),
  droppedLogs: fc.constantFrom(0, 0, 0, 1),
  failures: fc.constantFrom([], [], [{ version: 2, reason: 'broken' }]),
});
const request = {
  ...{ model: 'm', deployment: 2, revision: 2, championVersion: 1, challengerVersion: 2, patienceMs: 1_000 },
  step: { type: 'canary', weight: 0.1, holdMs: 100, minRequests: 50 },
  analysis: { maxErrorRateIncrease: 0.5, maxLatencyP95Ratio: 3 },
} as const;

describe('a step', () => {
  it('passes only when every live server has the plan, the hold is over, and enough requests were told in full', () => {
    check(fc.tuple(fc.array(reports, { maxLength: 3 }), fc.option(fc.nat(2_000))), ([live, heldMs]) => {
      const judged = judgeStep(request, live, heldMs);
      if (judged.state === 'waiting' || judged.verdict !== 'passed') return;
      expect(live.length).toBeGreaterThan(0);
      expect(
        live.every(
          (one) => one.deployment === 2 && one.revision === 2 && one.droppedLogs === 0 && one.failures.length === 0,
        ),
      ).toBe(true);
      expect(heldMs).toBeGreaterThanOrEqual(100);
      expect(
        live
          .flatMap((one) => one.counts)
          .filter((one) => one.version === 2)
          .reduce((sum, one) => sum + one.requests, 0),
      ).toBeGreaterThanOrEqual(50);
    });
  });

  it('does not wait for ever once all have the plan', () => {
    const ready = reports.map((report) => ({ ...report, deployment: 2, revision: 2 }));
    check(fc.array(ready, { minLength: 1, maxLength: 3 }), (live) =>
      expect(judgeStep(request, live, 1_100).state).toBe('done'),
    );
  });
});

it('a sweep gives a verdict exactly when it has rows, and confirms only on a loss or on drift that stays', () => {
  const features = fc.array(
    fc.record({ name: fc.string(), score: fc.double({ min: 0, max: 1, noNaN: true }), drifted: fc.boolean() }),
    { maxLength: 5 },
  );
  const all = fc.record({
    rows: fc.nat(1_000),
    features,
    labelled: fc.nat(600),
    performance: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
    earlier: driftWindows,
  });
  check(all, (some) => {
    const { verdict } = judgeSweep({
      ...some,
      ...{
        minRows: 500,
        share: 0.2,
        metric: 'roc_auc',
        lowerIsBetter: false,
        minLabels: 300,
        reference: 0.7,
        maxDrop: 0.05,
      },
      ...{ window: { startMs: 100, endMs: 110 }, confirm: { windows: 2, of: 3 } },
    });
    expect(verdict === null).toBe(some.rows < 500);
    if (verdict !== 'confirmed') return;
    const lost = some.performance !== null && some.labelled >= 300 && 0.7 - some.performance > 0.05;
    const stays = some.features.some((one) => one.drifted) && some.earlier.some((one) => one.drifted);
    expect(lost || stays).toBe(true);
  });
});
