/** Retention: what is old and settled goes, what something stands on stays, and the chains say what went. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventKey } from '../../src/domain/ids.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { BACKENDS, type BackendRegistry, freshOn } from '../support/registry-backends.ts';
import { at, delivery, digestOf, event, openRun, project } from '../support/registry-fixtures.ts';

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
  const left = async () => (await registry.events({ limit: 100 })).map((one) => one.id).sort();

  describe('events', () => {
    it('go once they are settled, old, and nothing stands on them', async () => {
      await registry.receive([
        ...['open', 'refused', 'late', 'running', 'done', 'doubled'].map((id, offset) =>
          delivery(offset, event('drift', id, 'm')),
        ),
        ...['made', 'unchanged'].map((id, offset) => delivery(10 + offset, event('data', id, 'd'))),
        delivery(20, event('labels', 'labels', 'm')),
      ]);
      await registry.setFates(
        'm',
        [
          { key: key('refused'), fate: 'refused' },
          { key: key('doubled'), fate: 'refused' },
        ],
        at(2),
      );
      await registry.setFates('m', [{ key: key('late'), fate: 'refused' }], at(50));
      await registry.receive([{ ...delivery(30, event('drift', 'doubled', 'm')), at: at(50) }]);
      await openRun(registry, 'm', 'k', [key('running')]);
      const { run } = await openRun(registry, 'm', 'l', [key('done')]);
      await registry.finishRun(run, 'failed', null, at(3));
      await registry.setFates(
        '',
        [
          { key: key('made'), fate: 'refused' },
          { key: key('unchanged'), fate: 'refused' },
        ],
        at(3),
      );
      await registry.commitDatasetVersion({
        ...{
          dataset: 'd',
          version: 1,
          manifestDigest: digestOf(1),
          eventKey: key('made'),
          corrects: null,
          newRows: 1,
          createdAt: at(3),
        },
        manifest: { dataset: 'd', version: 1, rows: 1, partitions: [] } as never,
      });

      expect(await registry.pruneEvents(at(1), 100, at(60))).toBe(0);
      expect(await registry.pruneEvents(at(40), 1, at(60))).toBe(1);
      expect(await registry.pruneEvents(at(40), 100, at(60))).toBe(3);
      expect(await registry.pruneEvents(at(40), 100, at(60))).toBe(0);
      expect(await left()).toEqual(['doubled', 'late', 'made', 'open', 'running']);
      expect(await registry.event(key('refused'))).toBeUndefined();
      // Six deliveries are left: that of each event, and the second of `doubled`.
      expect((await registry.deliveryCounts()).published).toBe(6);
      expect(await registry.run(run)).toMatchObject({ eventCount: 1, eventKeys: [key('done')] });
      expect(await registry.labelCount('m')).toBe(1);

      const rows = (await registry.audit('m', 100)).filter((row) => row.action === 'events.pruned');
      expect(rows.map((row) => row.body)).toMatchObject([
        { before: at(40), events: { count: 1, first: [{ event: key('refused') }] } },
        { events: { count: 2, first: [{ event: key('done') }, { event: key('labels') }] } },
      ]);
      expect((await registry.audit('dataset/d', 100)).at(-1)).toMatchObject({
        action: 'events.pruned',
        body: { events: { count: 1, first: [{ event: key('unchanged') }] } },
      });
      expect(await registry.verifyAudit('m')).toMatchObject({ ok: true });
    });

    it('that were deleted are new when they come again, after all that came before', async () => {
      await registry.receive([delivery(1, event('drift', 'a', 'm')), delivery(2, event('drift', 'b', 'm'))]);
      await registry.setFates(
        'm',
        [
          { key: key('a'), fate: 'refused' },
          { key: key('b'), fate: 'refused' },
        ],
        at(2),
      );
      expect(await registry.pruneEvents(at(3), 10, at(4))).toBe(2);
      expect(
        await registry.receive([delivery(1, event('drift', 'c', 'm')), delivery(2, event('drift', 'a', 'm'))]),
      ).toMatchObject([
        { action: 'signal', fate: null },
        { action: 'signal', fate: null },
      ]);
      expect(await registry.unsettled('m', 10)).toEqual([key('c'), key('a')]);
    });
  });

  it('an event that opened a run and was deleted opens another when it comes again', async () => {
    await registry.receive([delivery(1, event('drift', 'a', 'm'))]);
    const request = `event:${key('a')}`;
    const { run } = await openRun(registry, 'm', request, [key('a')]);
    await registry.finishRun(run, 'failed', null, at(3));
    expect(await registry.pruneEvents(at(9), 10, at(9))).toBe(1);
    await registry.receive([delivery(2, event('drift', 'a', 'm'))]);
    const again = await openRun(registry, 'm', request, [key('a')]);
    expect(again.run).not.toBe(run);
    expect((await registry.fates('m', [key('a')]))[key('a')]).toMatchObject({ fate: 'acted_on', run: again.run });
    expect(await registry.unsettled('m', 10)).toEqual([]);
  });

  it('the outbox loses only what was published before', async () => {
    for (const id of ['a', 'b', 'c'])
      await registry.emit({ model: 'm', type: 'alert.raised', id, data: {}, at: at(1) });
    const rows = await registry.outbox(10);
    await registry.outboxPublished([rows[0]?.sequence ?? 0], at(2));
    await registry.outboxPublished([rows[1]?.sequence ?? 0], at(5));
    expect(await registry.pruneOutbox(at(2), 10)).toBe(0);
    expect(await registry.pruneOutbox(at(9), 1)).toBe(1);
    expect(await registry.pruneOutbox(at(9), 10)).toBe(1);
    expect(await registry.outbox(10)).toHaveLength(1);
    expect(await registry.verifyAudit('m')).toMatchObject({ ok: true });
  });
});
