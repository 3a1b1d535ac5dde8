/** What of a definition steers the workflows, and how a dataset grows. */
import { describe, expect, it } from 'vitest';
import { modelSchema } from '../../src/contracts/documents.ts';
import { lifecycleConfig, rolloutAnalysis, rolloutSteps, runSettings } from '../../src/domain/config.ts';
import { dataWindow, inWindow } from '../../src/domain/dataset.ts';

const MINUTE = 60_000;
const DAY = 1_440 * MINUTE;
const model = (change: object = {}) =>
  modelSchema.parse({
    apiVersion: 'refit.dev/v1',
    kind: 'Model',
    name: 'm',
    task: 'regression',
    dataset: 'd',
    label: { sql: 'y' },
    features: ['x'],
    training: { trainer: 'sklearn' },
    ...change,
  });

describe('a definition', () => {
  it('has the defaults of the reference', () => {
    expect(lifecycleConfig(model(), 'digest')).toEqual({
      ...{
        definitionDigest: 'digest',
        triggers: ['data', 'drift'],
        debounceMs: 2 * MINUTE,
        maxWaitMs: 30 * MINUTE,
        cooldownMs: 0,
        minNewRows: 0,
      },
      ...{ confirmDrift: { windows: 2, of: 3 }, runsPerDay: null, onNewer: 'supersede' },
      // Half an hour on two cores.
      ...{ minNewOutcomes: 0, cpuSecondsPerDay: null, reservedCpuSeconds: 3_600, schedule: null },
    });
    expect(runSettings(model())).toMatchObject({ approvalRequired: 1, remindMs: DAY, expiresMs: 7 * DAY });
    expect(rolloutAnalysis(model())).toEqual({ maxErrorRateIncrease: 0.01, maxLatencyP95Ratio: 1.5 });
  });
  it('gives its own values in milliseconds', () => {
    const own = model({
      retraining: { triggers: [], debounce: '1s', max_wait: '2m', cooldown: '3h', budget: { runs_per_day: 4 } },
      approval: { on_newer: 'hold', expires: '60d' },
    });
    expect(lifecycleConfig(own, 'digest')).toMatchObject({
      triggers: [],
      debounceMs: 1_000,
      maxWaitMs: 2 * MINUTE,
      cooldownMs: 180 * MINUTE,
      runsPerDay: 4,
      onNewer: 'hold',
    });
    expect(runSettings(own).expiresMs).toBe(60 * DAY);
  });
  it('lets training outlive its own limit, so that it can say why it was ended', () => {
    const limits = { time: '10m' };
    expect(runSettings(model({ training: { trainer: 'sklearn', limits } })).trainTimeoutMs).toBeGreaterThan(
      10 * MINUTE,
    );
  });
  it('has steps unless it is rolled out at once', () => {
    const steps = [
      { type: 'shadow', hold: '1m', min_requests: 5 },
      { type: 'canary', weight: 0.3 },
    ];
    expect(rolloutSteps(model({ rollout: { steps } }))).toEqual([
      { type: 'shadow', weight: 0, holdMs: MINUTE, minRequests: 5 },
      { type: 'canary', weight: 0.3, holdMs: 10 * MINUTE, minRequests: 100 },
    ]);
    expect(rolloutSteps(model({ rollout: { type: 'immediate', steps } }))).toEqual([]);
  });
});

describe('a dataset', () => {
  it('has a half-open window that ends just after its newest row', () => {
    const times = (minTime: string | null, maxTime: string | null) => ({ minTime, maxTime });
    const window = dataWindow([times('2020-01-01T00:00:00Z', '2026-01-31T00:00:00.000Z')], 30 * DAY);
    expect(window).toEqual({ start: '2026-01-01T00:00:00.001Z', end: '2026-01-31T00:00:00.001Z' });
    expect(dataWindow([times(null, null)], DAY)).toBeNull();
    expect(inWindow(times('2025-12-01T00:00:00Z', '2026-01-01T00:00:00.001Z'), window)).toBe(true);
    expect(inWindow(times('2025-12-01T00:00:00Z', '2026-01-01T00:00:00.000Z'), window)).toBe(false);
    expect(inWindow(times('2026-01-31T00:00:00.001Z', '2026-02-01T00:00:00Z'), window)).toBe(false);
    expect(inWindow(times('2026-01-31T00:00:00.000Z', '2026-02-01T00:00:00Z'), window)).toBe(true);
    expect(inWindow(times(null, null), window)).toBe(true);
    expect(inWindow(times('2026-01-02T00:00:00Z', '10000-01-01T00:00:00Z'), window)).toBe(true);
  });

  it('has all rows in a window without a length, also those before 1970', () => {
    const files = [
      { minTime: '1950-03-01T00:00:00Z', maxTime: '1960-01-01T00:00:00Z' },
      { minTime: '1961-01-01T00:00:00Z', maxTime: '1969-07-20T20:17:40.123456Z' },
    ];
    const window = dataWindow(files, null);
    expect(window).toEqual({ start: '1950-03-01T00:00:00.000Z', end: '1969-07-20T20:17:40.124Z' });
    expect(files.every((file) => inWindow(file, window))).toBe(true);
    const [young] = [{ minTime: '2020-01-01T00:00:00Z', maxTime: '2024-01-01T00:00:00Z' }];
    expect(dataWindow([young], null)?.start).toBe('1970-01-01T00:00:00.000Z');
    expect(() => dataWindow([{ minTime: null, maxTime: '10000-01-01T00:00:00Z' }], null)).toThrow(RangeError);
  });
});
