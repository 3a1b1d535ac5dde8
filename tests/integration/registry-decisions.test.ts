/** Decisions bound to what they decide on, and what the registry tells others about them. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SweepRecord } from '../../src/ports/registry/monitoring.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { BACKENDS, type BackendRegistry, freshOn } from '../support/registry-backends.ts';
import { at, decide, digestOf, policy, project, waitingCandidate } from '../support/registry-fixtures.ts';

describe.each(BACKENDS)('on %s', (backend) => {
  let opened: BackendRegistry;
  let registry: Registry;

  beforeEach(async () => {
    opened = await freshOn(backend);
    registry = opened.registry;
    await registry.apply(project(['m', 'n']));
  });
  afterEach(() => opened.close());

  const lifecycle = async () => (await registry.outbox(1_000)).map((row) => ({ ...row, event: JSON.parse(row.event) }));
  const typesOf = async (): Promise<string[]> => (await lifecycle()).map((row) => row.event.type);
  const actions = async (chain: string) => (await registry.audit(chain, 1_000)).map((row) => row.action);

  describe('a decision', () => {
    it('is bound to its bundle, judged once for a request id, and audited also when refused', async () => {
      const version = await waitingCandidate(registry, 'm', 'k', 2);
      expect((await registry.openApprovals()).map((one) => one.run)).toEqual([version.run]);
      const wrong = await decide(registry, version, 'ana', 'r0', { bundleDigest: digestOf('other') });
      expect(wrong.verdict.status).toBe('refused');
      const first = await decide(registry, version, 'ana', 'r1');
      expect(first.verdict).toMatchObject({ status: 'accepted', settles: null });
      expect((await decide(registry, version, 'ana', 'r1')).verdict).toEqual(first.verdict);
      expect((await decide(registry, version, 'ben', 'r1')).verdict).toMatchObject({
        status: 'refused',
        reason: expect.stringMatching(/request id r1 was used for another decision/),
      });
      expect((await decide(registry, version, 'ana', 'r2')).verdict).toMatchObject({
        reason: expect.stringMatching(/has decided/),
      });
      expect((await decide(registry, version, 'ben', 'r3')).verdict).toMatchObject({ settles: 'approved' });
      expect((await decide(registry, version, 'ben', 'r4')).verdict).toMatchObject({
        reason: expect.stringMatching(/decided already: approved/),
      });
      expect(await registry.approval(version.run)).toMatchObject({ outcome: 'approved', required: 2 });
      expect(await registry.openApprovals()).toEqual([]);
      const audited = (await actions('m')).filter((action) => action.startsWith('approval.'));
      const [requested, refused, decided] = ['approval.requested', 'approval.refused', 'approval.decided'];
      expect(audited).toEqual([requested, refused, decided, refused, refused, decided, refused]);
      expect((await typesOf()).filter((type) => type.includes('approval.decided'))).toHaveLength(2);
    });

    it('follows the policies of its moment', async () => {
      const version = await waitingCandidate(registry, 'm', 'k');
      await registry.apply({ ...project([]), policies: [policy(['ben'])] });
      expect((await decide(registry, version, 'ana', 'r1')).verdict).toMatchObject({
        reason: expect.stringMatching(/ana is not an approver/),
      });
      expect((await decide(registry, version, 'ben', 'r2')).verdict).toMatchObject({ settles: 'approved' });
    });

    it('on a run that nobody knows is refused', async () => {
      const version = await waitingCandidate(registry, 'm', 'k');
      const answer = await decide(registry, { ...version, run: 'm-000099' }, 'ana', 'r');
      expect(answer).toEqual({
        verdict: { status: 'refused', reason: 'there is no run m-000099' },
        approval: undefined,
      });
      expect(await actions('m')).toContain('approval.refused');
    });
  });

  describe('the outbox', () => {
    it('holds whole CloudEvents with stable ids and the audit head, in order, until they are published', async () => {
      await waitingCandidate(registry, 'm', 'k');
      const alert = {
        model: 'm',
        type: 'alert.raised',
        id: 'alert:1',
        data: { alert: 'no metrics' },
        at: at(9),
      } as const;
      await registry.emit(alert);
      await registry.emit(alert);
      const rows = await lifecycle();
      expect(rows.map((row) => row.event.id)).toEqual([
        'run.started:m-000001',
        'version.registered:m:1',
        'approval.requested:m-000001',
        'alert:1',
      ]);
      const { head } = await registry.verifyAudit('m');
      expect(rows.at(-1)).toMatchObject({
        topic: 'lifecycle',
        key: 'm',
        event: {
          specversion: '1.0',
          source: 'refit/m',
          type: 'dev.refit.alert.raised.v1',
          subject: 'm',
          time: at(9),
          data: { auditHead: head },
        },
      });
      await registry.outboxPublished(
        rows.slice(0, 3).map((row) => row.sequence),
        at(10),
      );
      expect((await lifecycle()).map((row) => row.event.id)).toEqual(['alert:1']);
    });

    it('tells a drift once, and whether the data or the performance confirmed it', async () => {
      const feature = { name: 'x', test: 'js', score: 0.3, threshold: 0.1, drifted: true };
      const sweep = (end: number, change: Partial<SweepRecord>): SweepRecord => ({
        ...{
          model: 'm',
          windowStart: at(end - 1),
          windowEnd: at(end),
          version: 1,
          rows: 9,
          labelled: 0,
          verdict: 'stable',
          reason: '',
        },
        ...{ features: [feature], performance: null, at: at(end) },
        ...change,
      });
      const performance = { metric: 'rmse', value: 2, reference: 1, rows: 9 };
      for (const one of [
        sweep(1, {}),
        sweep(2, { verdict: 'suspected' }),
        sweep(3, { verdict: 'confirmed', performance }),
        sweep(2, {}),
      ]) {
        await registry.recordSweep(one);
      }
      const drift = (await lifecycle()).filter((row) => row.topic === 'drift').map((row) => row.event);
      expect(drift.map((one) => [one.id, one.source, one.data.kind, one.data.verdict])).toEqual([
        [`sweep:m:${at(2)}`, 'refit/sweep/m', 'data', 'suspected'],
        [`sweep:m:${at(3)}`, 'refit/sweep/m', 'concept', 'confirmed'],
      ]);
      expect((await registry.sweeps('m', 2)).map((one) => one.verdict)).toEqual(['confirmed', 'suspected']);
    });
  });
});
