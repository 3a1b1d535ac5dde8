/** The registry's facts about definitions, events and runs, guarantee by guarantee. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { datasetSchema } from '../../src/contracts/documents.ts';
import { eventKey } from '../../src/domain/ids.ts';
import type { Incoming } from '../../src/ports/registry/events.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { BACKENDS, type BackendRegistry, freshOn } from '../support/registry-backends.ts';
import {
  at,
  delivery,
  digestOf,
  event,
  malformed,
  openRun,
  origin,
  project,
  waitingCandidate,
} from '../support/registry-fixtures.ts';

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
  const fatesOf = async (id: string) =>
    (await registry.event(key(id)))?.fates.map(({ model, fate, run }) => [model, fate, run]);
  const actions = async (chain: string) => (await registry.audit(chain, 1_000)).map((row) => row.action);

  describe('apply', () => {
    it('is idempotent, and numbers what changed', async () => {
      expect((await registry.apply(project(['m', 'n']))).map((change) => change.status)).toEqual(
        Array(4).fill('unchanged'),
      );
      const next = project(['m']);
      const changes = await registry.apply({
        ...next,
        models: next.models.map((one) => ({ ...one, definitionDigest: digestOf('v2') })),
      });
      expect(changes.map((change) => change.status)).toEqual(['unchanged', 'changed', 'unchanged']);
      expect(await registry.model('m')).toMatchObject({ revision: 2, definitionDigest: digestOf('v2'), actor: 'olga' });
      const [first] = project(['m']).models;
      expect(await registry.definition('m', first?.definitionDigest ?? '')).toMatchObject({ revision: 1 });
      expect(await registry.modelsOfDataset('d')).toEqual(['m', 'n']);
      expect(await actions('m')).toEqual(['definition.applied', 'definition.applied']);
      expect(await actions('policy/production')).toEqual(['policy.applied']);
    });
  });

  describe('every event is accounted for', () => {
    it('the same delivery read again is the same delivery', async () => {
      const batch = [delivery(1, event('drift', 'a', 'm')), malformed(2), delivery(3, event('drift', 'b', 'unknown'))];
      const first = await registry.receive(batch);
      expect(first.map(({ action, fate }) => [action, fate])).toEqual([
        ['signal', null],
        ['dead_letter', 'dead_lettered'],
        ['done', 'ignored'],
      ]);
      expect(await registry.receive(batch)).toEqual(first);
      await registry.setFates('m', [{ key: key('a'), fate: 'refused', reason: 'trigger off' }], at(2));
      expect((await registry.receive(batch)).map((receipt) => receipt.action)).toEqual(['done', 'dead_letter', 'done']);
      expect((await registry.deliveryCounts()).published).toBe(3);
      expect(await registry.deadLetters(10)).toMatchObject([
        { reason: 'not JSON', detail: 'unexpected end', origin: { offset: '2' } },
      ]);
    });

    it('another delivery of a known id is a duplicate, and is signalled while its event is open', async () => {
      const open = [delivery(1, event('drift', 'a', 'm')), delivery(2, event('drift', 'a', 'm'))];
      expect((await registry.receive(open)).map(({ action, fate }) => [action, fate])).toEqual([
        ['signal', null],
        ['signal', 'duplicate'],
      ]);
      await openRun(registry, 'm', 'k', [key('a')]);
      expect(await registry.receive([delivery(3, event('drift', 'a', 'm'))])).toMatchObject([
        { action: 'done', fate: 'duplicate' },
      ]);
      expect((await registry.deliveryCounts()).counts).toMatchObject({ acted_on: 1, duplicate: 2 });
    });

    it('an event that came before its dataset or model was applied is taken in once it comes again', async () => {
      const early = [
        delivery(1, event('data', 'a', 'late-d')),
        delivery(2, event('drift', 'b', 'late-m')),
        delivery(3, { ...event('labels', 'c', 'late-m'), labels: [{ id: 'row', label: '1' }] }),
      ];
      const again = early.map((one, index) => ({ ...one, origin: origin(4 + index), at: at(6), publishedAt: at(5) }));
      const receipts = async (batch: readonly Incoming[]) =>
        (await registry.receive(batch)).map(({ action, fate }) => [action, fate]);
      expect(await receipts(early)).toEqual(early.map(() => ['done', 'ignored']));
      expect(await receipts(early.map((one, index) => ({ ...one, origin: origin(10 + index) })))).toEqual(
        early.map(() => ['done', 'duplicate']),
      );
      const applied = project(['late-m']);
      await registry.apply({ ...applied, datasets: [datasetSchema.parse({ ...applied.datasets[0], name: 'late-d' })] });
      // The same record, read again: what it was stays, also once its event is taken in.
      expect(await receipts(early)).toEqual(early.map(() => ['done', 'ignored']));
      const taken = [
        ['signal', null],
        ['signal', null],
        ['done', null],
      ];
      expect(await receipts(again)).toEqual(taken);
      expect(await receipts(again)).toEqual(taken);
      expect(await receipts(early)).toEqual(early.map(() => ['done', 'ignored']));
      expect(await receipts(again.map((one, index) => ({ ...one, origin: origin(20 + index) })))).toEqual([
        ['signal', 'duplicate'],
        ['signal', 'duplicate'],
        ['done', 'duplicate'],
      ]);
      expect(await Promise.all(['a', 'b', 'c'].map(fatesOf))).toEqual([
        [['', 'received', null]],
        [['late-m', 'received', null]],
        [['late-m', 'acted_on', null]],
      ]);
      expect(await registry.event(key('a'))).toMatchObject({ settled: false, receivedAt: at(6), publishedAt: at(5) });
      expect(await registry.labels('late-m', '', 10)).toEqual([{ id: 'row', label: '1', time: at(5) }]);
      // A dataset that has passed it on to nobody has taken it in: that is no reason to take it in again.
      expect(await registry.subscribe(key('a'), [], at(7))).toEqual([]);
      expect(await receipts([{ ...early[0], origin: origin(30) } as Incoming])).toEqual([['done', 'duplicate']]);
      expect(await actions('dataset/late-d')).toEqual(['dataset.applied', 'event.taken_in', 'event.delivered']);
      expect((await registry.deliveryCounts()).counts).toMatchObject({
        ...{ ignored: 4, duplicate: 7, received: 1, acted_on: 1 },
      });
      for (const chain of ['late-m', 'dataset/late-d']) expect((await registry.verifyAudit(chain)).problem).toBeNull();
    });

    it('another body under the same id is refused and audited', async () => {
      await registry.receive([delivery(1, event('drift', 'a', 'm', 'one'))]);
      expect(await registry.receive([delivery(2, event('drift', 'a', 'm', 'two'))])).toMatchObject([
        { action: 'done', fate: 'refused' },
      ]);
      expect(await fatesOf('a')).toEqual([['m', 'received', null]]);
      const row = (await registry.audit('m', 10)).at(-1);
      expect(row).toMatchObject({ action: 'event.refused', body: { event: 'test a', origin: { offset: '2' } } });
    });

    it('an offset that a new topic uses again is another delivery', async () => {
      await registry.receive([delivery(1, event('drift', 'a', 'm'))]);
      expect(await registry.receive([delivery(1, event('drift', 'b', 'm'))])).toMatchObject([
        { action: 'signal', fate: null },
      ]);
      expect((await registry.deliveryCounts()).published).toBe(2);
      expect(await registry.unsettled('m', 10)).toEqual([key('a'), key('b')]);
    });

    it('an event of the data goes to the models that take it at that time', async () => {
      await registry.receive([
        delivery(1, event('data', 'a', 'd')),
        delivery(2, event('data', 'b', 'd')),
        delivery(3, event('data', 'c', 'd')),
      ]);
      expect(await registry.subscribe(key('a'), ['n', 'm'], at(2))).toEqual(['m', 'n']);
      expect(await registry.subscribe(key('a'), ['m'], at(3))).toEqual(['m', 'n']);
      expect(await fatesOf('a')).toEqual([
        ['m', 'received', null],
        ['n', 'received', null],
      ]);
      await registry.setFates('m', [{ key: key('a'), fate: 'refused' }], at(4));
      expect((await registry.event(key('a')))?.settled).toBe(false);
      await registry.setFates('m', [{ key: key('a'), fate: 'held' }], at(4));
      await openRun(registry, 'm', 'k', [key('a')]);
      const { run } = await openRun(registry, 'n', 'k', [key('a')]);
      expect((await registry.event(key('a')))?.settled).toBe(true);
      expect(await fatesOf('a')).toEqual([
        ['m', 'refused', null],
        ['n', 'acted_on', run],
      ]);
      expect(await registry.subscribe(key('b'), [], at(4))).toEqual([]);
      expect(await fatesOf('b')).toEqual([['', 'ignored', null]]);
      await registry.setFates('', [{ key: key('c'), fate: 'refused', reason: 'unchanged' }], at(5));
      expect(await registry.subscribe(key('c'), ['m'], at(6))).toEqual([]);
      expect((await registry.deliveryCounts()).counts).toMatchObject({ acted_on: 1, ignored: 1, refused: 1 });
      expect(await actions('dataset/d')).toEqual([
        'dataset.applied',
        'event.delivered',
        'event.delivered',
        'events.refused',
      ]);
    });

    it('a settled fate never changes; a held one names what it waits for', async () => {
      await registry.receive([delivery(1, event('drift', 'a', 'm'))]);
      await registry.setFates('m', [{ key: key('a'), fate: 'held', waitsFor: 'cooldown' }], at(2));
      expect(await registry.fates('m', [key('a'), key('?')])).toMatchObject({
        [key('a')]: { fate: 'held', waitsFor: 'cooldown' },
      });
      expect(await registry.events({ fate: 'held', model: 'm', limit: 5 })).toHaveLength(1);
      await registry.setFates('m', [{ key: key('a'), fate: 'refused', reason: 'off' }], at(3));
      await registry.setFates('m', [{ key: key('a'), fate: 'acted_on', run: 'm-000009' }], at(4));
      await registry.setFates('n', [{ key: key('a'), fate: 'held' }], at(4));
      expect(await fatesOf('a')).toEqual([['m', 'refused', null]]);
      expect(await registry.unsettled('m', 10)).toEqual([]);
    });

    it('labels are stored with their event, and the newest outcome counts', async () => {
      const labels = (id: string, label: string, time: string) => ({
        ...event('labels', id, 'm', id),
        labels: [{ id: 'row', label, time }],
      });
      const receipts = await registry.receive([
        delivery(1, labels('a', '1', '2026-01-01T12:00:00+02:00')),
        delivery(2, labels('b', '2', '2026-01-01T11:00:00Z')),
        delivery(3, labels('c', '3', '2026-01-01T10:30:00Z')),
      ]);
      expect(receipts.map((receipt) => receipt.action)).toEqual(['done', 'done', 'done']);
      expect(await registry.labels('m', '', 10)).toEqual([{ id: 'row', label: '2', time: '2026-01-01T11:00:00.000Z' }]);
      expect(await fatesOf('a')).toEqual([['m', 'acted_on', null]]);
      expect(await registry.labelCount('m')).toBe(1);
    });

    it('a label without any time is from when it was published, so a correction counts', async () => {
      const labels = (offset: number, label: string, publishedAt: string | null, time?: string) => ({
        ...delivery(offset, {
          ...event('labels', `timeless-${offset}`, 'm', offset),
          labels: [{ id: 'row', label, ...(time === undefined ? {} : { time }) }],
        }),
        publishedAt,
      });
      await registry.receive([labels(1, '0', at(5), at(4))]);
      await registry.receive([labels(2, '1', at(6))]);
      expect(await registry.labels('m', '', 10)).toEqual([{ id: 'row', label: '1', time: at(6) }]);
      await registry.receive([labels(3, '2', at(5))]);
      expect(await registry.labels('m', '', 10)).toEqual([{ id: 'row', label: '1', time: at(6) }]);
      // Nobody knows when that was published: it counts from when it is taken in.
      await registry.receive([{ ...labels(4, '3', null), at: at(9) }]);
      expect(await registry.labels('m', '', 10)).toEqual([{ id: 'row', label: '3', time: at(9) }]);
    });

    it('pages through events, newest first', async () => {
      await registry.receive(['a', 'b', 'c'].map((id, offset) => delivery(offset, event('drift', id, 'm'))));
      const [first, second] = await registry.events({ limit: 2 });
      expect([first?.id, second?.id]).toEqual(['c', 'b']);
      expect((await registry.events({ model: 'm', limit: 2, before: second?.key ?? '' })).map((one) => one.id)).toEqual(
        ['a'],
      );
      expect(await registry.events({ model: 'n', limit: 2 })).toEqual([]);
      expect((await registry.eventsById('b')).map((one) => one.key)).toEqual([key('b')]);
    });
  });

  describe('a run', () => {
    it('opens once for a request, and settles its events in the same step', async () => {
      await registry.receive(['a', 'b', 'c'].map((id, offset) => delivery(offset, event('drift', id, 'm'))));
      await registry.setFates('m', [{ key: key('a'), fate: 'refused' }], at(1));
      const first = await openRun(registry, 'm', 'k', [key('a'), key('b'), key('c'), key('never received')]);
      expect(first).toMatchObject({ run: 'm-000001', number: 1, stage: 'snapshot', outcome: null });
      expect(await openRun(registry, 'm', 'k', [key('c')])).toEqual(first);
      expect((await openRun(registry, 'm', 'other')).number).toBe(2);
      expect((await openRun(registry, 'n', 'k')).run).toBe('n-000001');
      expect([await fatesOf('a'), await fatesOf('b'), await fatesOf('c')]).toEqual([
        [['m', 'refused', null]],
        [['m', 'acted_on', 'm-000001']],
        [['m', 'coalesced', 'm-000001']],
      ]);
      expect(await registry.runsSince('m', at(2))).toBe(2);
    });

    it('keeps its first outcome, and what it says after that is not taken', async () => {
      const { run } = await openRun(registry, 'm', 'k');
      await registry.updateRun(run, { stage: 'train', snapshot: digestOf(1) }, at(3));
      await registry.updateRun(run, { stage: 'train', snapshot: digestOf(1) }, at(3));
      await registry.finishRun(run, 'cancelled', 'by olga', at(4));
      expect(await registry.finishRun(run, 'failed', 'late', at(5))).toMatchObject({
        outcome: 'cancelled',
        outcomeReason: 'by olga',
      });
      await registry.updateRun(run, { stage: 'evaluate' }, at(6));
      expect(await registry.run(run)).toMatchObject({ stage: 'train', snapshot: digestOf(1), finishedAt: at(4) });
      expect(await registry.openRuns('m')).toEqual([]);
      expect((await actions('m')).slice(1)).toEqual(['run.opened', 'run.updated', 'run.finished']);
    });

    it.each([
      ['rejected', 'rejected'],
      ['expired', 'rejected'],
      ['cancelled', 'rejected'],
      ['superseded', 'archived'],
      ['approved', 'candidate'],
    ] as const)('that ends %s leaves its candidate %s, also one that registers too late', async (outcome, role) => {
      const candidate = await waitingCandidate(registry, 'm', 'k');
      await registry.finishRun(candidate.run, outcome, null, at(6));
      expect(await registry.version('m', 1)).toMatchObject({ role });
      const { run } = await openRun(registry, 'm', 'late');
      await registry.finishRun(run, outcome, null, at(6));
      const { version: _version, role: _role, promotedAt: _promotedAt, ...input } = candidate;
      expect((await registry.registerVersion({ ...input, run })).role).toBe(role);
      expect(await registry.openApprovals()).toEqual([]);
    });
  });
});
