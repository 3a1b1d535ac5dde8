/** The judgement of a rollout's step by example. */
import { describe, expect, it } from 'vitest';
import type { WatchRequest } from '../../src/contracts/messages.ts';
import { LATENCY_BUCKETS_MS, type ReplicaReport, type ServingCounts } from '../../src/contracts/plan.ts';
import { histogramQuantile, judgeStep, onlyChampion, stepEntries, stepName } from '../../src/domain/rollout.ts';

const request = (change: Partial<WatchRequest> = {}): WatchRequest => ({
  ...{ model: 'm', deployment: 2, revision: 3, championVersion: 1, challengerVersion: 2, patienceMs: 1_000 },
  step: { type: 'canary', weight: 0.1, holdMs: 100, minRequests: 50 },
  analysis: { maxErrorRateIncrease: 0.01, maxLatencyP95Ratio: 1.5 },
  ...change,
});
/** All requests in the bucket that ends at `ms`. */
const counts = (version: number, role: ServingCounts['role'], requests: number, errors = 0, ms = 1): ServingCounts => ({
  ...{ version, role, requests, errors },
  latencyBuckets: [...LATENCY_BUCKETS_MS, Number.POSITIVE_INFINITY].map((bound) => (bound === ms ? requests : 0)),
});
const report = (change: Partial<ReplicaReport> = {}): ReplicaReport => ({
  ...{ replica: 'a', model: 'm', deployment: 2, revision: 3, droppedLogs: 0, failures: [] },
  counts: [counts(1, 'champion', 100), counts(2, 'canary', 100)],
  ...change,
});
const judge = (reports: readonly ReplicaReport[], heldMs: number | null = 100, change: Partial<WatchRequest> = {}) =>
  judgeStep(request(change), reports, heldMs);

describe('a step waits', () => {
  it.each([
    ['without a live server', [], 0, false],
    ['until every live server has the revision', [report(), report({ replica: 'b', revision: 2 })], null, false],
    ['until every live server has the deployment', [report({ deployment: 1 })], null, false],
    ['through its hold', [report()], 99, true],
    ['for requests', [report({ counts: [counts(1, 'champion', 100), counts(2, 'canary', 49)] })], 100, true],
    ['for requests of the champion', [report({ counts: [counts(2, 'canary', 100)] })], 100, true],
    ['on dropped logs', [report({ droppedLogs: 1 })], 100, true],
  ] as const)('%s', (_what, reports, heldMs, confirmed) => {
    expect(judge(reports, heldMs)).toMatchObject({ state: 'waiting', confirmed });
  });
});

describe('a step ends', () => {
  it('passed, with the counts of all servers together', () => {
    const half = [counts(1, 'champion', 50), counts(2, 'canary', 25)];
    expect(judge([report({ counts: half }), report({ replica: 'b', counts: half })])).toMatchObject({
      verdict: 'passed',
      detail: expect.stringContaining('50 requests of version 2, 100 of version 1'),
    });
  });
  it('failed at once by errors, before the hold is over', () => {
    expect(judge([report({ counts: [counts(1, 'champion', 100), counts(2, 'canary', 100, 2)] })], null)).toMatchObject({
      verdict: 'failed',
      detail: expect.stringContaining('error rate 0.020 against 0.000'),
    });
  });
  it('not by errors that the champion has as well', () => {
    expect(judge([report({ counts: [counts(1, 'champion', 100, 5), counts(2, 'canary', 100, 6)] })])).toMatchObject({
      verdict: 'passed',
    });
  });
  it('failed by latency', () => {
    expect(judge([report({ counts: [counts(1, 'champion', 100), counts(2, 'canary', 100, 0, 10)] })])).toMatchObject({
      verdict: 'failed',
      detail: expect.stringContaining('latency p95'),
    });
  });
  it('failed when a server cannot load the challenger', () => {
    expect(judge([report({ failures: [{ version: 2, reason: 'truncated' }] })], null)).toMatchObject({
      verdict: 'failed',
      detail: expect.stringContaining('truncated'),
    });
    expect(judge([report({ failures: [{ version: 1, reason: 'truncated' }] })])).toMatchObject({ verdict: 'passed' });
  });
  it('inconclusive when patience is over, and never passed', () => {
    const few = report({ counts: [counts(1, 'champion', 100), counts(2, 'canary', 49)] });
    expect(judge([few], 1_099)).toMatchObject({ state: 'waiting' });
    expect(judge([few], 1_100)).toMatchObject({
      verdict: 'inconclusive',
      detail: expect.stringContaining('50 are needed'),
    });
    expect(judge([report({ droppedLogs: 3 })], 1_100)).toMatchObject({
      verdict: 'inconclusive',
      detail: expect.stringContaining('3 predictions were dropped'),
    });
  });
});

it('plans give the challenger its share and the champion the rest', () => {
  const step = { type: 'canary', weight: 0.25, holdMs: 0, minRequests: 0 } as const;
  expect(stepEntries(step, 1, 2)).toEqual([
    { version: 1, role: 'champion', weight: 0.75 },
    { version: 2, role: 'canary', weight: 0.25 },
  ]);
  expect(stepEntries({ ...step, type: 'shadow', weight: 0 }, 1, 2)).toEqual([
    { version: 1, role: 'champion', weight: 1 },
    { version: 2, role: 'shadow', weight: 0 },
  ]);
  expect(onlyChampion(4)).toEqual([{ version: 4, role: 'champion', weight: 1 }]);
  expect([stepName(step), stepName({ ...step, type: 'shadow' })]).toEqual(['canary 25 %', 'shadow']);
});

it('a quantile lies within its bucket, is that of the first with counts, and null without any', () => {
  expect(histogramQuantile([0, 10], 0.5)).toBeCloseTo(0.375);
  expect(histogramQuantile([4], 1)).toBeCloseTo(0.25);
  expect(histogramQuantile([0, 0], 0.5)).toBeNull();
  expect(histogramQuantile(LATENCY_BUCKETS_MS.map(() => 0).concat(5), 0.95)).toBe(5_000);
});
