/** A repeated run names what came out otherwise. */
import { describe, expect, it } from 'vitest';
import { type Repeatable, repetitionDifferences } from '../../src/domain/repetition.ts';

const run: Repeatable = {
  definitionDigest: 'd1',
  datasetVersion: 3,
  snapshot: 's1',
  training: { onnx: 'o1', environment: { python: '3.11', lightgbm: '4.7.0' } },
  metric: { name: 'roc_auc', value: 0.7 },
};

describe('a repetition', () => {
  it('that came out the same has no difference, nor has one that has not come so far', () => {
    expect(repetitionDifferences(run, run)).toEqual([]);
    expect(repetitionDifferences(run, { ...run, datasetVersion: null, snapshot: null, training: null })).toEqual([]);
    expect(repetitionDifferences(run, { ...run, training: null, metric: null })).toEqual([]);
  });
  it('names each input that was other, before what follows from it', () => {
    const now: Repeatable = {
      definitionDigest: 'd1',
      datasetVersion: 3,
      snapshot: 's2',
      training: { onnx: 'o2', environment: { python: '3.11', lightgbm: '4.8.0', onnx: '1' } },
      metric: { name: 'roc_auc', value: 0.71 },
    };
    expect(repetitionDifferences(run, now)).toEqual([
      'snapshot: s1, now s2',
      'environment: lightgbm 4.7.0, now 4.8.0',
      'environment: onnx missing, now 1',
      'ONNX file: o1, now o2',
      'roc_auc: 0.7, now 0.71',
    ]);
  });
  it('of a run that failed before its training says that there was nothing to compare with', () => {
    const failed: Repeatable = { ...run, datasetVersion: null, snapshot: null, training: null, metric: null };
    expect(repetitionDifferences(failed, run)).toEqual([
      'snapshot: none was made, now s1',
      'ONNX file: none was made, now o1',
    ]);
  });
});
