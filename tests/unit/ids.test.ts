/** Ids and canonical JSON are stored for years: whoever changes one of these texts orphans what is stored under it. */
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/domain/canonical.ts';
import * as ids from '../../src/domain/ids.ts';

describe('ids', () => {
  it('are frozen', () => {
    expect(ids.eventKey('s3://bucket/a', 'id with space')).toBe('s3://bucket/a id with space');
    expect(ids.runId('flight-delays', 12)).toBe('flight-delays-000012');
    expect(ids.runId('m', 1_234_567)).toBe('m-1234567');
    expect(ids.datasetWorkflowId('flights')).toBe('dataset/flights');
    expect(ids.lifecycleWorkflowId('m')).toBe('lifecycle/m');
    expect(ids.runWorkflowId('m', 'm-000001')).toBe('run/m/m-000001');
    expect(ids.rolloutWorkflowId('m', 3)).toBe('rollout/m/3');
    expect(ids.batchWorkflowId('m', 3)).toBe('batch/m/3');
    expect(ids.sweepWorkflowId('m')).toBe('sweep/m');
    expect(ids.sweepScheduleId('m')).toBe('sweep/m');
    expect(ids.retrainScheduleId('m')).toBe('retrain/m');
    expect(ids.rolloutRequestKey('m-000001')).toBe('rollout:m-000001');
    expect(ids.rollbackRequestKey('m', 'r1')).toBe('rollback:m:r1');
  });

  it('an event key parses into what it was made of', () => {
    expect(ids.parseEventKey(ids.eventKey('urn:x', 'a b  c'))).toEqual({ source: 'urn:x', id: 'a b  c' });
  });
});

describe('canonicalJson', () => {
  it('is frozen', () => {
    const value = { b: [1, 1.5, -0, 1e21, 'é\n', undefined], a: { z: null, y: true }, gone: undefined, Ä: 1, Z: 2 };
    expect(canonicalJson(value)).toBe('{"Z":2,"a":{"y":true,"z":null},"b":[1,1.5,0,1e+21,"é\\n",null],"Ä":1}');
  });

  it('does not depend on the order of keys', () => {
    expect(canonicalJson({ a: 1, b: 2 })).toBe(canonicalJson({ b: 2, a: 1 }));
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, undefined, () => 1, 1n])('refuses %s', (value) => {
    expect(() => canonicalJson(value)).toThrow(TypeError);
  });
});
