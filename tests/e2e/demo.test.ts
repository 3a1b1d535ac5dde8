/** The demo as a newcomer runs it: on free ports, it ends with 0 and a report that its independent checker confirmed. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { type Ended, quietPorts, ROOT, runNode, runRefit } from '../support/e2e-refit.ts';

const TIMEOUT_MS = 900_000;

const metric = z.object({ name: z.string(), value: z.number() });
const count = z.int().nonnegative();
const digest = z.string().regex(/^[0-9a-f]{64}$/);
/** What `report.json` promises to whoever reads it. */
const reportSchema = z.object({
  ok: z.boolean(),
  seconds: z.number().positive(),
  setupSeconds: z.number().nonnegative(),
  steps: z.array(z.object({ name: z.string().min(1), seconds: z.number().nonnegative() })).min(5),
  events: z.object({
    published: count,
    acted_on: count,
    coalesced: count,
    duplicate: count,
    refused: count,
    ignored: count,
    dead_lettered: count,
  }),
  runs: z.array(
    z.object({
      run: z.string(),
      trigger: z.enum(['data', 'drift', 'schedule', 'definition', 'manual']),
      eventIds: z.array(z.string()),
      outcome: z.enum([
        'approved',
        'rejected',
        'expired',
        'superseded',
        'data_rejected',
        'gate_failed',
        'inconclusive',
        'failed',
        'cancelled',
      ]),
      metric: metric.nullable(),
      snapshot: digest.nullable(),
      seconds: z.number().positive(),
    }),
  ),
  versions: z.array(
    z.object({
      version: z.int().positive(),
      bundleDigest: digest,
      metric,
      approvedBy: z.array(z.string()),
      via: z.array(z.enum(['signal', 'update'])),
      role: z.enum(['candidate', 'challenger', 'champion', 'archived', 'rejected']),
    }),
  ),
  predictions: z.object({ sent: count, failed: count, byVersion: z.record(z.string(), count) }),
  verdicts: z.array(
    z.object({
      windowEnd: z.iso.datetime(),
      verdict: z.enum(['stable', 'suspected', 'confirmed']),
      features: z.array(z.string()),
    }),
  ),
  rollbacks: z.array(z.object({ from: z.int(), to: z.int(), reason: z.string().min(1) })),
  kills: z.array(z.object({ part: z.string(), at: z.iso.datetime() })),
  gain: z.object({ metric: z.string(), value: z.number() }),
  temporalUi: z.url(),
});

describe('the demo', () => {
  let ended: Ended;
  let report: z.infer<typeof reportSchema>;
  const tooLong = new AbortController();
  afterAll(async () => {
    tooLong.abort();
    // It stops its stack itself, but not where it was cut off: what stays up would slow the tests after it down.
    await runRefit(['down'], { cwd: ROOT, env: { REFIT_HOME: join(ROOT, '.refit/demo') } });
  }, 180_000);
  beforeAll(async () => {
    const [temporal, ui, kafka, gateway, serve] = (await quietPorts(5)).map(String);
    const env = {
      REFIT_TEMPORAL_PORT: temporal,
      REFIT_TEMPORAL_UI_PORT: ui,
      REFIT_KAFKA_PORT: kafka,
      REFIT_GATEWAY_PORT: gateway,
      REFIT_SERVE_PORT: serve,
      REFIT_PYTHON: inject('pythonPath'),
    };
    const script = join(ROOT, 'dist/examples/flight-delays/demo/main.js');
    ended = await runNode([script], { cwd: ROOT, env }, tooLong.signal);
    const path = join(ROOT, '.refit/demo/report.json');
    // Its own words first: a report that is not confirmed need not have the shape that is checked here.
    if (ended.code !== 0 || !existsSync(path))
      throw new Error(`the demo exited with ${ended.code}: ${ended.stderr.slice(-4_000)}`);
    report = reportSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  }, TIMEOUT_MS);

  it('exits 0, confirmed by its checker, and ends with what retraining gained', () => {
    expect(ended.code, ended.stderr.slice(-4_000)).toBe(0);
    expect(report.ok).toBe(true);
    expect(ended.stderr).not.toMatch(/^not confirmed: /m);
    expect(ended.stdout.trim().split('\n').at(-1)).toMatch(/^Retraining gained -?\d/);
  });

  it('accounts for every event, with at least 3 runs that events started', () => {
    const { published, ...fates } = report.events;
    expect(Object.values(fates).reduce((sum, value) => sum + value, 0)).toBe(published);
    expect(published).toBeGreaterThan(1_000);
    for (const fate of ['acted_on', 'coalesced', 'duplicate', 'refused', 'dead_lettered'] as const)
      expect(fates[fate], fate).toBeGreaterThan(0);
    expect(report.runs.filter((run) => run.eventIds.length > 0).length).toBeGreaterThanOrEqual(3);
  });

  it('promotes two versions, one approved by signal and one by update, and says no at least once', () => {
    const promoted = report.versions.filter((one) => one.role === 'champion' || one.version === 1);
    expect(promoted).toHaveLength(2);
    expect(promoted.flatMap((one) => one.via).sort()).toEqual(['signal', 'update']);
    expect(report.runs.some((run) => run.outcome === 'gate_failed' || run.outcome === 'inconclusive')).toBe(true);
    expect(report.rollbacks.length).toBeGreaterThan(0);
    expect(report.gain).toMatchObject({ metric: 'roc_auc' });
    expect(report.gain.value).toBeGreaterThan(0);
  });

  it('suspects drift without retraining, confirms it with, and no caller sees a prediction fail', () => {
    const verdicts = report.verdicts.map((one) => one.verdict);
    expect(verdicts).toContain('suspected');
    expect(verdicts).toContain('confirmed');
    expect(report.runs.some((run) => run.trigger === 'drift' && run.outcome === 'approved')).toBe(true);
    expect(report.predictions).toMatchObject({ failed: 0 });
    expect(report.predictions.byVersion['1']).toBeGreaterThan(0);
    expect(report.predictions.byVersion['2']).toBeGreaterThan(0);
    expect(report.kills).toMatchObject([{ part: 'worker' }]);
  });
});
