/** Nothing ships without its decision, at most one deployment for one, and a stale writer never overwrites a newer plan. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { promotionObstacle } from '../../src/domain/approval.ts';
import type { VersionRecord } from '../../src/ports/registry/versions.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { BACKENDS, type BackendRegistry, freshOn } from '../support/registry-backends.ts';
import {
  at,
  canaryPlan,
  decide,
  fullPlan,
  openRollout,
  policy,
  project,
  ship,
  waitingCandidate,
} from '../support/registry-fixtures.ts';

describe.each(BACKENDS)('on %s', (backend) => {
  let opened: BackendRegistry;
  let registry: Registry;
  let first: VersionRecord;
  let second: VersionRecord;
  let rollout: number;

  const note = { step: 'canary', detail: 'one in ten' };
  const write = async (...plan: Parameters<typeof canaryPlan>) =>
    (await registry.writePlan(canaryPlan(...plan), note, at(7))).status;
  const roles = async () => (await registry.versions('m')).map((version) => version.role);

  /** One champion, and an approved challenger whose rollout is open. */
  beforeEach(async () => {
    opened = await freshOn(backend);
    registry = opened.registry;
    await registry.apply(project());
    first = await waitingCandidate(registry, 'm', 'one');
    await ship(registry, first);
    second = await waitingCandidate(registry, 'm', 'two');
    await decide(registry, second, 'ana', 'yes');
    await registry.finishRun(second.run, 'approved', null, at(5));
    rollout = await openRollout(registry, second);
  });
  afterEach(() => opened.close());

  const rollBack = (toVersion: number, requestKey = 'back') =>
    registry.openDeployment({
      model: 'm',
      requestKey,
      kind: 'rollback',
      run: null,
      toVersion,
      actor: 'ana',
      reason: 'worse',
      at: at(8),
    });
  const promoteSecond = (revision: number) =>
    registry.promote(
      { model: 'm', deployment: rollout, plan: fullPlan('m', rollout, revision, 2) },
      (context) => promotionObstacle(context, second.bundleDigest),
      at(9),
    );

  describe('a deployment', () => {
    it('opens once for a decision', async () => {
      expect(await openRollout(registry, second)).toBe(rollout);
      expect(await registry.deployments('m', 10)).toHaveLength(2);
      expect(await roles()).toEqual(['champion', 'challenger']);
    });

    it('does not open without a decision', async () => {
      const third = await waitingCandidate(registry, 'm', 'three');
      await expect(openRollout(registry, third)).rejects.toThrow(/not approved/);
      await expect(rollBack(third.version)).rejects.toThrow(/never champion/);
      expect((await registry.version('m', 3))?.role).toBe('candidate');
    });

    it('keeps its first outcome, and archives a challenger that was rolled back', async () => {
      await registry.finishDeployment('m', rollout, 'rolled_back', 'too slow', at(9));
      expect(await registry.finishDeployment('m', rollout, 'aborted', 'late', at(10))).toMatchObject({
        outcome: 'rolled_back',
        outcomeReason: 'too slow',
      });
      expect(await roles()).toEqual(['champion', 'archived']);
      expect((await registry.outbox(100)).map((row) => JSON.parse(row.event).id)).toContain(
        `version.rolledback:m:${rollout}`,
      );
      expect(await promoteSecond(5)).toMatchObject({ status: 'refused' });
    });

    it('records each step once', async () => {
      const step = { step: 'shadow', status: 'passed', detail: '500 requests' };
      await registry.recordStep('m', rollout, step, at(8));
      await registry.recordStep('m', rollout, step, at(8));
      expect((await registry.deployment('m', rollout))?.steps).toEqual([{ ...step, at: at(8) }]);
    });
  });

  describe('the plan', () => {
    it('is written by compare-and-set', async () => {
      expect(await write('m', rollout, 1, 1, 2)).toBe('written');
      expect(await write('m', rollout, 1, 1, 2)).toBe('same');
      expect(await registry.writePlan(fullPlan('m', rollout, 1, 1), note, at(7))).toEqual({
        status: 'stale',
        current: canaryPlan('m', rollout, 1, 1, 2),
      });
      expect(await write('m', rollout, 3, 1, 2)).toBe('written');
      expect(await write('m', rollout, 2, 1, 2)).toBe('stale');
      expect(await write('m', 1, 99, 1, 2)).toBe('stale');
      expect((await registry.plan('m'))?.revision).toBe(3);
      expect(await registry.plans()).toHaveLength(1);
    });

    it('is closed to a deployment that is over', async () => {
      await registry.finishDeployment('m', rollout, 'aborted', 'by ana', at(8));
      expect(await write('m', rollout, 4, 1, 2)).toBe('stale');
    });

    it('is closed to a rollout once a rollback was opened, even before that wrote anything', async () => {
      const promotedAt = (await registry.champion('m'))?.promotedAt;
      expect(promotedAt).not.toBe(at(9));
      await write('m', rollout, 1, 1, 2);
      const { deployment } = await rollBack(1);
      expect(await write('m', rollout, 2, 1, 2)).toBe('stale');
      expect(await promoteSecond(2)).toMatchObject({ status: 'refused', reason: expect.stringMatching(/rollback/) });
      const plan = fullPlan('m', deployment, 1, 1);
      expect(await registry.promote({ model: 'm', deployment, plan }, () => 'not asked', at(9))).toEqual({
        status: 'promoted',
      });
      await registry.finishDeployment('m', rollout, 'superseded', 'rollback', at(10));
      expect(await registry.plan('m')).toEqual(plan);
      expect(await roles()).toEqual(['champion', 'archived']);
      expect(await registry.champion('m')).toMatchObject({ version: 1, promotedAt });
    });

    it('names only versions that are registered', async () => {
      await expect(registry.writePlan(canaryPlan('m', rollout, 1, 1, 7), note, at(7))).rejects.toThrow(/version 7/);
    });
  });

  describe('a promotion', () => {
    it('moves champion, plan and outcome at once, and is idempotent', async () => {
      await write('m', rollout, 1, 1, 2);
      expect(await promoteSecond(2)).toEqual({ status: 'promoted' });
      expect(await promoteSecond(2)).toEqual({ status: 'promoted' });
      expect(await roles()).toEqual(['archived', 'champion']);
      expect(await registry.champion('m')).toMatchObject({ version: 2, promotedAt: at(9) });
      expect((await registry.formerChampions('m')).map((version) => version.version)).toEqual([1]);
      expect(await registry.championBefore('m', 2)).toBe(1);
      expect(await registry.championBefore('m', 1)).toBeNull();
      expect(await registry.deployment('m', rollout)).toMatchObject({ outcome: 'promoted', fromVersion: 1 });
      expect(await registry.plan('m')).toEqual(fullPlan('m', rollout, 2, 2));
      const ids = (await registry.outbox(100)).map((row) => JSON.parse(row.event).id);
      expect(ids.filter((id) => id === `version.promoted:m:${rollout}`)).toHaveLength(1);
    });

    it('is refused, and changes nothing, when an approver was removed since', async () => {
      await registry.apply({ ...project([]), policies: [policy(['ben'])] });
      expect(await promoteSecond(2)).toMatchObject({
        status: 'refused',
        reason: expect.stringMatching(/0 of 1 approvals/),
      });
      expect(await roles()).toEqual(['champion', 'challenger']);
      expect((await registry.plan('m'))?.deployment).toBe(1);
      expect((await registry.audit('m', 100)).at(-1)).toMatchObject({ action: 'promotion.refused' });
    });

    it.each([
      ['of another deployment', () => fullPlan('m', 1, 9, 2), /is that of deployment 1/],
      ['for another version', () => fullPlan('m', rollout, 9, 1), /does not give all traffic/],
      ['with a part of the traffic only', () => canaryPlan('m', rollout, 9, 2, 1), /does not give all traffic/],
      ['that is not newer', () => fullPlan('m', rollout, 1, 2), /is not newer/],
    ])('is refused with a plan %s', async (_name, plan, reason) => {
      await write('m', rollout, 1, 1, 2);
      const answer = await registry.promote({ model: 'm', deployment: rollout, plan: plan() }, () => null, at(9));
      expect(answer).toMatchObject({ status: 'refused', reason: expect.stringMatching(reason) });
      expect(await roles()).toEqual(['champion', 'challenger']);
    });

    it('goes on after a crash between the plan and the promotion', async () => {
      await registry.writePlan(fullPlan('m', rollout, 2, 2), note, at(8));
      expect(await promoteSecond(2)).toEqual({ status: 'promoted' });
    });
  });

  describe('reports and files', () => {
    it('keeps the newest report of each replica', async () => {
      const report = { replica: 'r', model: 'm', deployment: 1, revision: 1, counts: [], droppedLogs: 0, failures: [] };
      await registry.reportReplica({ ...report, revision: 2 }, at(20));
      await registry.reportReplica(report, at(19));
      expect(await registry.replicas('m', at(20))).toEqual([{ ...report, revision: 2, at: at(20) }]);
      expect(await registry.replicas('m', at(21))).toEqual([]);
    });

    it('makes a file of predictions visible by compare-and-set on the offset', async () => {
      const file = {
        ...{
          topic: 'refit.predictions',
          partition: 0,
          startOffset: '0',
          nextOffset: '10',
          digest: 'a',
          rows: 9,
          models: ['m'],
        },
        ...{ minTime: '2026-01-01T00:00:00Z', maxTime: '2026-01-01T01:00:00.5Z' },
      };
      expect(await registry.sinkPosition(file.topic, 0)).toBe('0');
      expect(await registry.commitSinkFile(file)).toBe('committed');
      expect(await registry.commitSinkFile(file)).toBe('committed');
      expect(await registry.commitSinkFile({ ...file, digest: 'b' })).toBe('conflict');
      expect(await registry.commitSinkFile({ ...file, startOffset: '10', nextOffset: '12', rows: 0 })).toBe(
        'committed',
      );
      expect(await registry.sinkPosition(file.topic, 0)).toBe('12');
      expect(await registry.sinkFiles('m', '2026-01-01T01:00:00Z', '2026-01-02T00:00:00Z')).toEqual([file]);
      expect(await registry.sinkFiles('m', '2025-01-01T00:00:00Z', '2026-01-01T00:00:00Z')).toEqual([]);
      expect(await registry.sinkFiles('n', '2025-01-01T00:00:00Z', '2027-01-01T00:00:00Z')).toEqual([]);
    });
  });
});
