/** What the gateway takes as an event, and the reason it gives for what it does not. */
import { describe, expect, it } from 'vitest';
import { EVENT_TYPES, MAX_EVENT_BYTES } from '../../src/contracts/events.ts';
import { type Intake, intakeRecord } from '../../src/gateway/intake.ts';

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
  });

  it('of exactly the largest size is taken, one byte more is not', () => {
    const sized = (bytes: number): string =>
      text({ padding: 'x'.repeat(bytes - Buffer.byteLength(text({ padding: '' }))) });
    expect(Buffer.byteLength(sized(MAX_EVENT_BYTES))).toBe(MAX_EVENT_BYTES);
    expect(reason(take(sized(MAX_EVENT_BYTES)))).toBe('taken');
    expect(reason(take(sized(MAX_EVENT_BYTES + 1)))).toBe('oversized');
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

  it('says which field is wrong, shortly', () => {
    const intake = take(text({ id: 1, source: undefined }));
    expect('malformed' in intake && intake.malformed.detail).toMatch(/id: .*; source: /);
    const long = take(text({ type: 'x'.repeat(256) }));
    expect('malformed' in long && long.malformed.detail.length).toBeLessThanOrEqual(500);
  });
});
