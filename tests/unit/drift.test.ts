/** The verdict of a sweep by example: drift alone is suspected; a loss, or drift that stays, is confirmed. */
import { describe, expect, it } from 'vitest';
import { judgeSweep, type SweepFacts } from '../../src/domain/drift.ts';

const feature = (name: string, score: number) => ({ name, score, drifted: score >= 0.1 });
const facts = (change: Partial<SweepFacts> = {}): SweepFacts => ({
  ...{ rows: 1_000, minRows: 500, share: 0.5, metric: 'roc_auc', lowerIsBetter: false, labelled: 0, minLabels: 300 },
  ...{ performance: null, reference: 0.7, maxDrop: 0.05, window: { startMs: 20, endMs: 30 }, earlier: [] },
  features: [feature('wind', 0.4), feature('rain', 0.05)],
  confirm: { windows: 2, of: 3 },
  ...change,
});
const earlier = (startMs: number, drifted = true) => ({ startMs, endMs: startMs + 10, drifted });

describe('judgeSweep', () => {
  const cases: [string, Partial<SweepFacts>, string | null][] = [
    ['too few rows give no verdict', { rows: 499 }, null],
    ['too few rows give none even with a loss', { rows: 0, labelled: 300, performance: 0.1 }, null],
    ['drift alone is suspected', {}, 'suspected'],
    ['less than the share is stable', { share: 0.6 }, 'stable'],
    ['no drifted feature is stable, whatever the share', { share: 0, features: [feature('rain', 0)] }, 'stable'],
    ['no features are stable', { share: 0, features: [] }, 'stable'],
    ['a loss is confirmed, drifted or not', { features: [], labelled: 300, performance: 0.64 }, 'confirmed'],
    [
      'exactly the allowed loss is none',
      { labelled: 300, performance: 0.65, reference: 0.7, maxDrop: 0.7 - 0.65 },
      'suspected',
    ],
    ['a loss on too few outcomes does not count', { labelled: 299, performance: 0.1 }, 'suspected'],
    ['of a metric where lower is better', { lowerIsBetter: true, labelled: 300, performance: 0.8 }, 'confirmed'],
    ['lower is better and lower', { lowerIsBetter: true, labelled: 300, performance: 0.1 }, 'suspected'],
    ['drift that stays is confirmed', { earlier: [earlier(10)] }, 'confirmed'],
    ['not by a window that overlaps', { earlier: [earlier(15)] }, 'suspected'],
    ['not by one too long ago', { earlier: [earlier(10, false), earlier(0, false), earlier(-10)] }, 'suspected'],
    ['not where outcomes show no loss', { earlier: [earlier(10)], labelled: 300, performance: 0.7 }, 'suspected'],
  ];
  it.each(cases)('%s', (_what, change, verdict) => {
    expect(judgeSweep(facts(change)).verdict).toBe(verdict);
  });
  it('says what it rests on', () => {
    expect(judgeSweep(facts()).reason).toBe('1 of 2 features drifted (wind 0.40)');
    expect(judgeSweep(facts({ labelled: 300, performance: 0.6 }))).toMatchObject({
      concept: true,
      reason: expect.stringContaining('roc_auc lost 0.1000, at most 0.05; roc_auc 0.6000 on 300 known outcomes'),
    });
    expect(judgeSweep(facts({ labelled: 300 }))).toMatchObject({
      verdict: 'suspected',
      reason: '1 of 2 features drifted (wind 0.40); roc_auc is undefined on 300 known outcomes',
    });
  });
});
