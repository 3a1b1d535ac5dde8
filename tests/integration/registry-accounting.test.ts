/** Accounting in full: when what was published, as which attempt, what became of dead letters, what stands behind a run, and pages of all that. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventKey } from '../../src/domain/ids.ts';
import { statusOf } from '../../src/gateway/status.ts';
import type { Incoming } from '../../src/ports/registry/events.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { BACKENDS, type BackendRegistry, freshOn } from '../support/registry-backends.ts';
import { at, delivery, event, malformed, openRun, origin, project } from '../support/registry-fixtures.ts';

describe.each(BACKENDS)('on %s', (backend) => {
  let opened: BackendRegistry;
  let registry: Registry;

  beforeEach(async () => {
    opened = await freshOn(backend);
    registry = opened.registry;
    await registry.apply(project(['m', 'n']));
  });
  afterEach(() => opened.close());

  const key = (id: string): string => eventKey('test', id);
  const many = (count: number, from = 0): string[] =>
    Array.from({ length: count }, (_one, index) => `e${from + index}`);
  const receiveDrift = (ids: readonly string[], from = 0) =>
    registry.receive(ids.map((id, index) => delivery(from + index, event('drift', id, 'm'))));

  const again = (offset: number, of: Incoming, attempt: number): Incoming => ({
    ...of,
    origin: origin(offset),
    at: at(5),
    publishedAt: at(4),
    attempt,
    retryOf: origin(1),
  });

  it('what happens to a run carries the cause, the correlation and the trace of the event that opened it', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const opener = event('drift', 'a', 'm');
    const body = JSON.stringify({ ...JSON.parse(opener.body), correlationid: 'order-7', traceparent });
    await registry.receive([delivery(1, { ...opener, body }), delivery(2, event('drift', 'b', 'm'))]);
    const { run } = await openRun(registry, 'm', 'r', [key('a'), key('b')]);
    await openRun(registry, 'n', 'by hand', [], 'olga');
    await registry.finishRun(run, 'failed', 'x', at(4));
    const told = (await registry.outbox(100)).map((row) => JSON.parse(row.event));
    const of = (name: string) => told.filter(({ data }) => data.run === name);
    expect(of(run).map(({ type }) => type)).toEqual(['dev.refit.run.started.v1', 'dev.refit.run.finished.v1']);
    for (const one of of(run)) expect(one).toMatchObject({ causationid: 'a', correlationid: 'order-7', traceparent });
    for (const one of of('n-000001')) expect(one).not.toHaveProperty('causationid');
    expect(of('n-000001')).toHaveLength(1);
  });

  it('the status counts all events that a model holds, however many, and says what the last one waits for', async () => {
    const ids = many(1_200);
    await receiveDrift(ids);
    const waits = (waitsFor: string) => ({ fate: 'held', waitsFor, reason: `waits for ${waitsFor}` }) as const;
    await registry.setFates('m', [{ key: key('e0'), fate: 'refused', reason: 'late' }], at(2));
    await registry.setFates(
      'm',
      ids.slice(1, -1).map((id) => ({ key: key(id), ...waits('run') })),
      at(2),
    );
    await registry.setFates('m', [{ key: key('e1199'), ...waits('rollout') }], at(3));
    const held = await Promise.all(
      (await registry.models()).map(async (record) => (await statusOf(registry, record, new Date())).held),
    );
    expect(held).toEqual([
      { events: 1_199, waitsFor: 'rollout', reason: 'waits for rollout' },
      { events: 0, waitsFor: null, reason: null },
    ]);
  });

  it('many deliveries are each counted once, and others have their turn meanwhile', async () => {
    const ids = many(5_000);
    await receiveDrift(ids);
    await registry.receive([
      ...many(2_000).map((id, index) => delivery(5_000 + index, event('drift', id, 'm'))),
      ...Array.from({ length: 1_001 }, (_, index) => malformed(7_000 + index)),
    ]);
    await registry.setFates(
      'm',
      ids.slice(0, 4_321).map((id) => ({ key: key(id), fate: 'refused' })),
      at(2),
    );
    let turns = 0;
    let isCounting = true;
    const turn = (): void => {
      turns += 1;
      if (isCounting) setImmediate(turn);
    };
    setImmediate(turn);
    const { published, counts } = await registry.deliveryCounts();
    isCounting = false;
    expect(published).toBe(8_001);
    expect(counts).toMatchObject({ refused: 4_321, received: 679, duplicate: 2_000, dead_lettered: 1_001 });
    expect(turns).toBeGreaterThanOrEqual(4);
  });

  it('a notification is one delivery, however often it is read', async () => {
    const noted = (offset: number, fate: 'acted_on' | 'ignored'): Incoming => ({
      ...{ origin: { ...origin(offset), topic: 'notifications' }, at: at(2), publishedAt: at(1) },
      noted: { fate, reason: 'why' },
    });
    const batch = [noted(1, 'acted_on'), noted(2, 'ignored')];
    for (const _time of [1, 2])
      expect(await registry.receive(batch)).toEqual([
        { action: 'done', fate: 'acted_on', reason: 'why' },
        { action: 'done', fate: 'ignored', reason: 'why' },
      ]);
    expect(await registry.deliveryCounts()).toMatchObject({ counts: { acted_on: 1, ignored: 1 } });
  });

  describe('dead letters', () => {
    const broken: Incoming = {
      ...{ origin: origin(1), at: at(2), publishedAt: at(1) },
      malformed: { reason: 'data', detail: 'uris is missing', identity: { source: 'test', id: 'a' } },
    };

    it('say when they were published, as what, and which deliveries mended them', async () => {
      await registry.receive([broken, malformed(2)]);
      const mended = delivery(0, event('drift', 'a', 'm'));
      expect(await registry.receive([again(3, broken, 2)])).toMatchObject([{ action: 'dead_letter' }]);
      expect(await registry.receive([again(4, mended, 3)])).toMatchObject([{ action: 'signal', fate: null }]);
      expect(await registry.receive([again(5, mended, 3)])).toMatchObject([{ action: 'signal', fate: 'duplicate' }]);
      expect(await registry.deadLetter(origin(1))).toEqual({
        ...{ origin: origin(1), reason: 'data', detail: 'uris is missing', at: at(2), publishedAt: at(1), attempt: 1 },
        identity: { source: 'test', id: 'a' },
        retries: [
          { origin: origin(3), fate: 'dead_lettered', at: at(5) },
          { origin: origin(4), fate: null, at: at(5) },
          { origin: origin(5), fate: 'duplicate', at: at(5) },
        ],
      });
      expect(await registry.deadLetter(origin(3))).toMatchObject({ attempt: 2, retries: [] });
      expect(await registry.deadLetter(origin(2))).toMatchObject({ identity: null, attempt: 1, retries: [] });
      expect(await registry.deadLetter(origin(4))).toBeUndefined();
      expect(await registry.event(key('a'))).toMatchObject({
        publishedAt: at(4),
        deliveries: [
          { origin: origin(4), fate: null, publishedAt: at(4), attempt: 3, retryOf: origin(1) },
          { origin: origin(5), fate: 'duplicate', attempt: 3 },
        ],
      });
    });

    it('come in pages, newest first, also those of one moment', async () => {
      const offsets = [8, 9, 10, 11, 100];
      await registry.receive([...offsets.map(malformed), { ...broken, origin: origin(7) }]);
      const seen: string[] = [];
      let page = await registry.deadLetters(2);
      for (; page.length > 0; page = await registry.deadLetters(2, page.at(-1)?.origin))
        seen.push(...page.map((one) => one.origin.offset));
      expect(seen).toEqual(['7', '100', '11', '10', '9', '8']);
      expect(await registry.deadLetters(2, origin(12))).toEqual([]);
    });
  });

  describe('events', () => {
    it('are found by run, type and time of receipt', async () => {
      await receiveDrift(['a', 'b']);
      await registry.receive([{ ...delivery(3, event('data', 'c', 'd')), at: at(9) }]);
      const { run } = await openRun(registry, 'm', 'k', [key('b')]);
      const ids = async (filter: object) => (await registry.events({ limit: 10, ...filter })).map((one) => one.id);
      expect(await ids({ run })).toEqual(['b']);
      expect(await ids({ run: 'm-000009' })).toEqual([]);
      expect(await ids({ type: event('drift', 'a', 'm').type })).toEqual(['b', 'a']);
      expect(await ids({ since: at(9) })).toEqual(['c']);
      expect(await ids({ type: event('drift', 'a', 'm').type, before: key('b') })).toEqual(['a']);
      expect(await registry.event(key('a'))).toMatchObject({ publishedAt: at(0), receivedAt: at(1) });
    });

    it('that are not settled come in pages in the order of their arrival', async () => {
      await receiveDrift(['c', 'a', 'b']);
      await receiveDrift(['d'], 10);
      expect(await registry.unsettled('m', 2)).toEqual([key('c'), key('a')]);
      await registry.setFates('m', [{ key: key('a'), fate: 'refused' }], at(2));
      expect(await registry.unsettled('m', 2, key('a'))).toEqual([key('b'), key('d')]);
      expect(await registry.unsettled('m', 2, key('d'))).toEqual([]);
      await expect(registry.unsettled('m', 2, 'test nobody')).rejects.toThrow(/test nobody is not in the registry/);
    });
  });

  describe('the events behind a run', () => {
    it('are all counted and named, also those that join it later; lists show the first', async () => {
      await receiveDrift(many(30));
      const { run } = await openRun(registry, 'm', 'k', [key('e29'), ...many(10).map(key)]);
      await registry.setFates(
        'm',
        many(19, 10).map((id) => ({ key: key(id), fate: 'coalesced', run })),
        at(3),
      );
      const all = [key('e29'), ...many(29).map(key)];
      expect(await registry.run(run)).toMatchObject({ eventCount: 30, eventKeys: all });
      const [listed] = await registry.runs({ model: 'm', limit: 5 });
      expect(listed).toMatchObject({ eventCount: 30, eventKeys: all.slice(0, 20) });
      expect(await registry.openRuns('m')).toEqual([listed]);
      expect(await registry.runEvents(run, 1)).toEqual(all.slice(0, 1));
      expect(await registry.runEvents(run, 20, key('e29'))).toEqual(all.slice(1, 21));
      expect(await registry.runEvents(run, 20, key('e19'))).toEqual(all.slice(21));
      expect(await registry.runEvents(run, 20, key('e28'))).toEqual([]);
      await expect(registry.runEvents(run, 20, 'test nobody')).rejects.toThrow(/does not stand behind m-000001/);
    });

    it('are none for a run that a person asked for', async () => {
      expect(await openRun(registry, 'm', 'k')).toMatchObject({ eventCount: 0, eventKeys: [] });
    });
  });

  describe('labels', () => {
    it('count as new since a time when they are stored, or say something else', async () => {
      const labels = (offset: number, id: string, label: string, minute: number): Incoming => ({
        ...delivery(offset, { ...event('labels', id, 'm'), labels: [{ id: 'row', label, time: at(minute) }] }),
        at: at(minute),
      });
      await registry.receive([labels(1, 'a', '1', 10)]);
      expect([await registry.labelsSince('m', at(9)), await registry.labelsSince('m', at(10))]).toEqual([1, 0]);
      await registry.receive([labels(2, 'b', '1', 12)]);
      expect(await registry.labelsSince('m', at(10))).toBe(0);
      await registry.receive([labels(3, 'c', '0', 13)]);
      expect([await registry.labelsSince('m', at(10)), await registry.labelCount('m')]).toEqual([1, 1]);
      expect(await registry.labelsSince('n', at(0))).toBe(0);
    });
  });
});
