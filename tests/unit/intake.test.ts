/** What the gateway takes as an event, and the reason it gives for what it does not. */
import { describe, expect, it } from 'vitest';
import { EVENT_TYPES, MAX_EVENT_BYTES } from '../../src/contracts/events.ts';
import { attemptOf, type Intake, intakeRecord } from '../../src/gateway/intake.ts';

type Topic = Parameters<typeof intakeRecord>[0]['topic'];
type Headers = Parameters<typeof intakeRecord>[0]['headers'];
const take = (value: string | Buffer | null, topic: Topic = 'data', headers: Headers = {}): Intake =>
  intakeRecord({ topic, headers, value: typeof value === 'string' ? Buffer.from(value) : value });
const reason = (intake: Intake): string => ('malformed' in intake ? intake.malformed.reason : 'taken');
const taken = (intake: Intake) => {
  if ('malformed' in intake) throw new Error(`${intake.malformed.reason}: ${intake.malformed.detail}`);
  return intake.event;
};

const arrived = { dataset: 'flights', uris: ['file:///data/january.parquet'] };
const envelope = (change: object = {}) => ({
  specversion: '1.0',
  id: 'e1',
  source: '/test',
  type: EVENT_TYPES.dataArrived,
  data: arrived,
  ...change,
});
const text = (change: object = {}): string => JSON.stringify(envelope(change));
const alert = { model: 'm', kind: 'data', window: { start: '2026-01-01T00:00:00Z', end: '2026-01-02T00:00:00Z' } };
const binary = {
  ce_specversion: '1.0',
  ce_id: 'e1',
  ce_source: '/test',
  ce_type: EVENT_TYPES.dataArrived,
  'content-type': 'application/json',
};

describe('an event', () => {
  it('in structured mode is taken with its target', () => {
    expect(taken(take(text({ time: '2026-01-01T00:00:00Z', subject: 's' })))).toMatchObject({
      ...{ source: '/test', id: 'e1', subject: 's', time: '2026-01-01T00:00:00Z' },
      target: { kind: 'dataset', name: 'flights' },
    });
    expect(taken(take(text({ type: EVENT_TYPES.driftDetected, data: alert }), 'drift')).target).toEqual({
      kind: 'model',
      name: 'm',
    });
  });

  it('whose identity has a U+0000 is none: stored, it could be taken for another', () => {
    for (const change of [{ id: 'a\0' }, { source: '\0/test' }]) expect(take(text(change))).toHaveProperty('malformed');
  });

  it('in binary mode is the same event', () => {
    const event = taken(take(JSON.stringify(arrived), 'data', binary));
    expect(event.digest).toBe(taken(take(text())).digest);
    expect(event).toMatchObject({ source: '/test', id: 'e1', target: { name: 'flights' } });
  });

  it('has the digest of its type, subject and data, whatever the order of keys, and of nothing else', () => {
    const { digest } = taken(take(text()));
    const reordered = JSON.stringify({
      data: { uris: arrived.uris, dataset: 'flights' },
      type: EVENT_TYPES.dataArrived,
      source: '/test',
      id: 'e1',
      specversion: '1.0',
    });
    expect(taken(take(reordered)).digest).toBe(digest);
    expect(taken(take(text({ id: 'e2', source: '/other', time: '2026-01-01T00:00:00Z', extension: 'x' }))).digest).toBe(
      digest,
    );
    for (const change of [{ subject: 's' }, { data: { ...arrived, rows: 1 } }, { data: { ...arrived, unknown: 1 } }]) {
      expect(taken(take(text(change))).digest).not.toBe(digest);
    }
  });

  it('of labels carries them, with the time of the event where they have none', () => {
    const labels = [
      { id: 'a', label: true },
      { id: 'b', label: 'x', time: '2026-02-01T00:00:00Z' },
    ];
    const event = taken(
      take(
        text({ type: EVENT_TYPES.labelsArrived, time: '2026-01-01T00:00:00Z', data: { model: 'm', labels } }),
        'labels',
      ),
    );
    expect(event.labels).toEqual([
      { id: 'a', label: 'true', time: '2026-01-01T00:00:00Z' },
      { id: 'b', label: '"x"', time: '2026-02-01T00:00:00Z' },
    ]);
    const timeless = take(text({ type: EVENT_TYPES.labelsArrived, data: { model: 'm', labels } }), 'labels');
    expect(taken(timeless).labels).toEqual([
      { id: 'a', label: 'true' },
      { id: 'b', label: '"x"', time: '2026-02-01T00:00:00Z' },
    ]);
  });

  it('of exactly the largest size is taken, one byte more is not', () => {
    const sized = (bytes: number): string =>
      text({ padding: 'x'.repeat(bytes - Buffer.byteLength(text({ padding: '' }))) });
    expect(Buffer.byteLength(sized(MAX_EVENT_BYTES))).toBe(MAX_EVENT_BYTES);
    expect(reason(take(sized(MAX_EVENT_BYTES)))).toBe('taken');
    expect(reason(take(sized(MAX_EVENT_BYTES + 1)))).toBe('oversized');
  });

  it('in binary mode may have data of the largest size: its attributes do not count', () => {
    const empty = JSON.stringify({ ...arrived, padding: '' });
    const sized = (bytes: number): string =>
      JSON.stringify({ ...arrived, padding: 'x'.repeat(bytes - Buffer.byteLength(empty)) });
    expect(reason(take(sized(MAX_EVENT_BYTES), 'data', binary))).toBe('taken');
    expect(reason(take(sized(MAX_EVENT_BYTES + 1), 'data', binary))).toBe('oversized');
  });

  it('is taken with any content type that is JSON in UTF-8, or none', () => {
    for (const type of [
      undefined,
      'application/json',
      'Application/CloudEvents+JSON; charset="UTF-8"',
      'application/x+json',
    ])
      expect(reason(take(text(), 'data', type === undefined ? {} : { 'content-type': type })), type).toBe('taken');
    expect(reason(take(text(), 'data', { ...binary, 'content-type': 'application/cloudevents+json' }))).toBe('taken');
  });

  it('may be nested 32 deep, not deeper', () => {
    const nested = (depth: number): string => {
      const inner = `${'['.repeat(depth)}${']'.repeat(depth)}`;
      return text().replace(/}$/, `,"extra":${inner}}`);
    };
    // The event's own object is one level, and what holds nothing is none.
    expect(reason(take(nested(32)))).toBe('taken');
    expect(reason(take(nested(34)))).toBe('json');
    expect(reason(take(nested(100_000)))).toBe('json');
  });

  it('with __proto__ or constructor as keys changes no object', () => {
    const evil = text().replace(
      '"dataset"',
      '"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"dataset"',
    );
    expect(reason(take(evil))).toBe('taken');
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
    expect(taken(take(evil)).digest).not.toBe(taken(take(text())).digest);
  });
});

describe('what is no event', () => {
  it.each<[string, Intake, string]>([
    ['a tombstone', take(null), 'tombstone'],
    ['nothing', take(''), 'json'],
    ['bytes that are no UTF-8', take(Buffer.from([0x7b, 0xff, 0x7d])), 'encoding'],
    ['half a JSON', take(text().slice(0, -1)), 'json'],
    ['a number too large for JSON', take(text().replace('"uris"', '"rows":1e999,"uris"')), 'data'],
    ['a number too large in what is not read', take(text({ extra: 0 }).replace('"extra":0', '"extra":1e999')), 'json'],
    ['a list', take('[]'), 'envelope'],
    ['null', take('null'), 'envelope'],
    ['another version', take(text({ specversion: '0.3' })), 'envelope'],
    ['no id', take(text({ id: '' })), 'envelope'],
    ['a source with white space', take(text({ source: 'a b' })), 'envelope'],
    ['a time that is none', take(text({ time: 'yesterday' })), 'envelope'],
    ['an unknown type', take(text({ type: 'other' })), 'type'],
    ['data without a file', take(text({ data: { dataset: 'flights', uris: [] } })), 'data'],
    ['a name with a slash', take(text({ data: { ...arrived, dataset: '../flights' } })), 'data'],
    ['no data', take(text({ data: undefined })), 'envelope'],
    ['an event on the topic of another', take(text(), 'drift'), 'topic'],
    ['binary mode without JSON', take('text', 'data', binary), 'json'],
    ['binary mode in Latin-1', take(Buffer.from('{"dataset":"\xe9"}', 'latin1'), 'data', binary), 'encoding'],
    [
      'a header that is no UTF-8',
      intakeRecord({
        ...{ topic: 'data', value: Buffer.from(JSON.stringify(arrived)), headers: { ...binary, ce_id: '\ufffd' } },
        illegibleHeaders: ['ce_id'],
      }),
      'encoding',
    ],
    ['a batch', take(`[${text()}]`, 'data', { 'content-type': 'application/cloudevents-batch+json' }), 'content_type'],
    [
      'structured mode in Avro',
      take(text(), 'data', { 'content-type': 'application/cloudevents+avro' }),
      'content_type',
    ],
    ['binary mode as text', take(text(), 'data', { ...binary, 'content-type': 'text/plain' }), 'content_type'],
    ['another charset', take(text(), 'data', { 'content-type': 'application/json; charset=utf-16' }), 'content_type'],
    ['NUL in a text', take(text({ data: { ...arrived, partition: 'a\0b' } })), 'json'],
    ['half of a surrogate pair', take(text({ data: { ...arrived, partition: '\ud800' } })), 'json'],
    ['a line break in an id', take(text({ id: 'a\nb' })), 'envelope'],
    [
      'binary mode without an id',
      take(JSON.stringify(arrived), 'data', {
        ce_specversion: '1.0',
        ce_source: '/test',
        ce_type: EVENT_TYPES.dataArrived,
      }),
      'envelope',
    ],
  ])('%s is refused by name', (_what, intake, expected) => {
    expect(reason(intake)).toBe(expected);
  });

  it('says whose event it was to be, where source and id can be read', () => {
    const identity = { source: '/test', id: 'e1' };
    const { ce_id: _, ...withoutId } = binary;
    for (const [intake, expected] of [
      [take(text({ data: { ...arrived, uris: [] } })), identity],
      [take(text({ type: 'other' })), identity],
      [take(text(), 'drift'), identity],
      [take('no json', 'data', binary), identity],
      [take(null, 'data', binary), identity],
      [take('no json', 'data', withoutId), undefined],
      [take(text({ source: 'a b' })), undefined],
      [take(text({ id: 7 })), undefined],
      [take(text().slice(1)), undefined],
    ] as const)
      expect('malformed' in intake && intake.malformed.identity, JSON.stringify(intake)).toEqual(expected);
  });

  it('names all types that are taken for one that is not', () => {
    const intake = take(text({ type: EVENT_TYPES.predictionLogged }));
    expect('malformed' in intake && intake.malformed.detail).toBe(
      'unknown type dev.refit.prediction.logged.v1; known are dev.refit.data.arrived.v1, dev.refit.labels.arrived.v1, dev.refit.drift.detected.v1',
    );
  });

  it('says which field is wrong, shortly', () => {
    const intake = take(text({ id: 1, source: undefined }));
    expect('malformed' in intake && intake.malformed.detail).toMatch(/id: .*; source: /);
    const long = take(text({ type: 'x'.repeat(256) }));
    expect('malformed' in long && long.malformed.detail.length).toBeLessThanOrEqual(500);
  });
});

describe('an attempt', () => {
  it('is told by both headers, and by none that cannot be read', () => {
    expect(attemptOf({ 'refit-attempt': '2', 'refit-retry-of': 'data/3/9007199254740993' })).toEqual({
      attempt: 2,
      retryOf: { topic: 'data', partition: 3, offset: '9007199254740993' },
    });
    for (const headers of [
      {},
      { 'refit-attempt': '2' },
      { 'refit-attempt': '1', 'refit-retry-of': 'data/3/1' },
      { 'refit-attempt': 'x', 'refit-retry-of': 'data/3/1' },
      { 'refit-attempt': '2', 'refit-retry-of': 'data/-3/1' },
      { 'refit-attempt': '2', 'refit-retry-of': 'other/3/1' },
    ])
      expect(attemptOf(headers), JSON.stringify(headers)).toEqual({});
  });
});
