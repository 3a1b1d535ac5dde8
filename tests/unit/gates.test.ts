/** Gates by example: a gate whose input is missing is inconclusive, never passed. */
import { describe, expect, it } from 'vitest';
import { type GateDocument, gateSchema } from '../../src/contracts/documents.ts';
import type { Comparison, Evaluation } from '../../src/contracts/evaluation.ts';
import { judgeGate, overall } from '../../src/domain/gates.ts';

const gate = (document: object): GateDocument => gateSchema.parse(document);
const evaluation = (change: Partial<Evaluation> = {}): Evaluation => ({
  rows: 1_000,
  metric: 'roc_auc',
  metrics: { roc_auc: 0.7, log_loss: 0.5 },
  slices: [],
  ...change,
});
const comparison = (change: Partial<Comparison> = {}): Comparison => ({
  ...{ champion: 0.7, rows: 1_000, metric: 'roc_auc', challenger: 0.72, championVersion: 1, difference: 0.02 },
  interval: { low: 0.01, high: 0.03, confidence: 0.95 },
  ...change,
});
const interval = (low: number, high: number) => ({ low, high, confidence: 0.95 });

describe('a bound', () => {
  it.each([
    ['minimum', 0.7, 'passed'],
    ['minimum', 0.7001, 'failed'],
    ['maximum', 0.7, 'passed'],
    ['maximum', 0.6999, 'failed'],
  ] as const)('%s %d of 0.7 is %s', (type, value, status) => {
    expect(judgeGate(gate({ type, metric: 'roc_auc', value }), evaluation(), false).status).toBe(status);
  });
  it.each([undefined, Number.NaN, Number.POSITIVE_INFINITY])('on %s is inconclusive', (value) => {
    const metrics = value === undefined ? {} : { f1: value };
    expect(judgeGate(gate({ type: 'minimum', metric: 'f1', value: 0 }), evaluation({ metrics }), false).status).toBe(
      'inconclusive',
    );
  });
});

describe('the champion', () => {
  const notWorse = gate({ type: 'champion', require: 'not_worse', margin: 0.005 });
  const better = gate({ type: 'champion', require: 'better', margin: 0.005 });
  it('does not apply before there is one', () => {
    expect(judgeGate(notWorse, evaluation(), false).status).toBe('not_applicable');
  });
  it.each([
    ['surely not worse', notWorse, comparison(), 'passed'],
    [
      'not worse by exactly the margin',
      notWorse,
      comparison({ difference: 0.01, interval: interval(-0.005, 0.03) }),
      'passed',
    ],
    ['perhaps worse', notWorse, comparison({ difference: 0.001, interval: interval(-0.006, 0.01) }), 'inconclusive'],
    ['surely worse', notWorse, comparison({ difference: -0.02, interval: interval(-0.03, -0.01) }), 'failed'],
    ['surely better', better, comparison(), 'passed'],
    [
      'better by exactly the margin is not more',
      better,
      comparison({ interval: interval(0.005, 0.03) }),
      'inconclusive',
    ],
    ['too few rows', notWorse, comparison({ rows: 499 }), 'inconclusive'],
    ['enough rows', notWorse, comparison({ rows: 500 }), 'passed'],
    ['no interval', notWorse, comparison({ interval: interval(Number.NaN, 1) }), 'inconclusive'],
  ] as const)('%s', (_what, document, compared, status) => {
    expect(judgeGate(document, evaluation({ comparison: compared }), true).status).toBe(status);
  });
  it('without a comparison is inconclusive', () => {
    expect(judgeGate(notWorse, evaluation(), true).status).toBe('inconclusive');
  });
});

describe('a slice', () => {
  const document = (metric: string, value: number) =>
    gate({ type: 'slice', slice: 'origin', metric, value, min_rows: 100 });
  const slice = (value: string, score: number | null, rows = 100, metrics = {}) => ({
    slice: 'origin',
    value,
    rows,
    score,
    metrics,
  });
  it.each([
    ['all good', [slice('EWR', 0.6), slice('JFK', 0.7)], 'passed'],
    ['one bad', [slice('EWR', 0.6), slice('JFK', 0.5)], 'failed'],
    ['the bad one too small to count', [slice('EWR', 0.6), slice('JFK', 0.5, 99)], 'passed'],
    ['none large enough', [slice('EWR', 0.6, 99)], 'inconclusive'],
    ['undefined on all', [slice('EWR', null)], 'inconclusive'],
    ['not a number', [slice('EWR', Number.NaN)], 'inconclusive'],
    ['of another column', [{ ...slice('EWR', 0.6), slice: 'carrier' }], 'inconclusive'],
  ] as const)('%s', (_what, slices, status) => {
    expect(judgeGate(document('roc_auc', 0.55), evaluation({ slices }), false).status).toBe(status);
  });
  it('is inconclusive where values that have enough rows were not measured', () => {
    const unlisted = (rows: number) => [{ slice: 'origin', values: 3, rows }];
    const slices = [slice('EWR', 0.6, 200)];
    const judged = (rows: number) =>
      judgeGate(document('roc_auc', 0.55), evaluation({ slices, unlisted: unlisted(rows) }), false);
    expect(judged(99)).toMatchObject({ status: 'passed' });
    expect(judged(100)).toMatchObject({
      status: 'inconclusive',
      detail: expect.stringContaining('3 more were not, of which the most frequent has 100 rows'),
    });
  });
  it('says on how many values the metric is undefined', () => {
    const slices = [slice('EWR', 0.6), slice('JFK', null)];
    expect(judgeGate(document('roc_auc', 0.55), evaluation({ slices }), false).detail).toBe(
      '1 values of origin at least 0.5500, undefined on 1',
    );
  });
  it('is measured by the metric that the gate names, also where another one decides', () => {
    const slices = [slice('EWR', 0.6, 100, { log_loss: 0.4 }), slice('JFK', 0.6, 100, { log_loss: 0.6 })];
    expect(judgeGate(document('log_loss', 0.65), evaluation({ slices }), false).status).toBe('passed');
    expect(judgeGate(document('log_loss', 0.55), evaluation({ slices }), false)).toMatchObject({
      status: 'failed',
      detail: expect.stringContaining('JFK 0.6000'),
    });
    expect(judgeGate(document('brier', 0.5), evaluation({ slices }), false).status).toBe('inconclusive');
  });
});

it('overall, a failure outweighs what is inconclusive, and that outweighs what passed', () => {
  const result = (status: 'passed' | 'failed' | 'inconclusive' | 'not_applicable') => ({
    gate: status,
    status,
    detail: 'why',
  });
  expect(overall([result('inconclusive'), result('failed'), result('passed')])).toEqual({
    status: 'failed',
    reason: 'failed: why',
  });
  expect(overall([result('passed'), result('inconclusive')])).toEqual({
    status: 'inconclusive',
    reason: 'inconclusive: why',
  });
  expect(overall([result('passed'), result('not_applicable')])).toEqual({ status: 'passed', reason: '1 gates passed' });
});
