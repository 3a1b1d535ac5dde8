/** Guarantee 5, nothing ships without its decision: how long a run waits, who may end the wait, and what ends it otherwise. */
import { describe, expect, it } from 'vitest';
import { eventually } from '../support/workflow-loop.ts';
import { finished, keepsReports, startedRun } from '../support/workflow-run.ts';
import { inSkippedTime } from '../support/workflow-time.ts';

const server = inSkippedTime(keepsReports);

describe('a run waits for its decision', () => {
  it('for 30 days, with a reminder each day, and is then approved', async () => {
    const { loop, skip } = server();
    const { run, result } = await startedRun(loop, 'patient', { approval: { expires: '60d' } });
    const approval = await loop.waiting(run);
    await skip('721h');
    expect(await loop.runStatus(run)).toMatchObject({ stage: 'decide', outcome: null, version: 1 });
    expect(loop.behaviours.told('patient', 'approval.reminder').length).toBe(30);
    expect(await loop.decide(approval, 'ana')).toMatchObject({ status: 'accepted', settles: 'approved' });
    expect(await result()).toMatchObject({ outcome: 'approved' });
    expect(finished).toContainEqual({ run, outcome: 'approved', version: 1 });
  });

  it('not longer than the definition says', async () => {
    const { loop } = server();
    const { run, result } = await startedRun(loop, 'expiring', { approval: { expires: '3d', remind: '1d' } });
    const approval = await loop.waiting(run);
    expect(await result()).toMatchObject({ outcome: 'expired' });
    expect(loop.behaviours.told('expiring', 'approval.reminder').length).toBe(2);
    const version = await loop.registry.version('expiring', approval.version);
    expect(version?.role).toBe('rejected');
  });

  it('without reminders where the definition gives no time between them', async () => {
    const { loop } = server();
    const { run, result } = await startedRun(loop, 'unreminded', { approval: { expires: '3d', remind: '0s' } });
    await loop.waiting(run);
    expect(await result()).toMatchObject({ outcome: 'expired' });
    expect(loop.behaviours.told('unreminded', 'approval.reminder')).toEqual([]);
  });

  it('and a rejection ends it', async () => {
    const { loop } = server();
    const { run, result } = await startedRun(loop, 'rejected');
    const approval = await loop.waiting(run);
    expect(await loop.decide(approval, 'ben', { decision: 'reject' })).toMatchObject({ settles: 'rejected' });
    expect(await result()).toMatchObject({ outcome: 'rejected', reason: 'rejected by ben' });
  });
});

describe('by signal', () => {
  it('approves', async () => {
    const { loop } = server();
    const { run, result } = await startedRun(loop, 'signalled');
    const { bundleDigest } = await loop.waiting(run);
    await loop.runHandle(run).signal('approve', { requestId: 's1', actor: 'ana', bundleDigest });
    expect(await result()).toMatchObject({ outcome: 'approved' });
    expect((await loop.registry.approval(run))?.decisions).toMatchObject([
      { actor: 'ana', via: 'signal', status: 'accepted' },
    ]);
  });

  it('counts when it came before the run was there', async () => {
    const { loop } = server();
    loop.behaviours.set('early', { training: 'waits' });
    const { run, result } = await startedRun(loop, 'early');
    await eventually('it trains', async () => loop.behaviours.isTraining('early'));
    await loop.runHandle(run).signal('reject', { requestId: 's1', actor: 'ana', bundleDigest: 'unknown' });
    loop.behaviours.release('early');
    const approval = await loop.waiting(run);
    const refusal = await eventually(
      'the early signal is judged',
      async () => (await loop.registry.approval(run))?.decisions[0],
    );
    expect(refusal).toMatchObject({ status: 'refused', via: 'signal' });
    await loop.decide(approval, 'ana');
    expect(await result()).toMatchObject({ outcome: 'approved' });
  });

  it.each([
    ['nothing at all', undefined],
    ['a text', 'approved!'],
    ['no names', {}],
    ['other types', { requestId: 1, actor: ['ana'], bundleDigest: null }],
  ])('with %s is refused, and the run still waits', async (what, message) => {
    const { loop } = server();
    const model = `odd-${what.replaceAll(' ', '-')}`;
    const { run, result } = await startedRun(loop, model);
    const approval = await loop.waiting(run);
    await loop.runHandle(run).signal('approve', message);
    const refused = await eventually('the refusal', async () => (await loop.registry.approval(run))?.decisions[0]);
    expect(refused).toMatchObject({ status: 'refused', via: 'signal' });
    expect((await loop.runStatus(run)).outcome).toBeNull();
    await loop.decide(approval, 'ana');
    expect(await result()).toMatchObject({ outcome: 'approved' });
  });
});

describe('a decision is refused and the run still waits', () => {
  it('when the actor is not entitled, asked for the run, means another digest, or has decided already', async () => {
    const { loop } = server();
    const { run, result } = await startedRun(
      loop,
      'strict',
      { approval: { required: 2 } },
      { approvers: ['ana', 'ben', 'olga'], requester: 'olga' },
    );
    const approval = await loop.waiting(run);
    expect(await loop.decide(approval, 'eve')).toMatchObject({
      status: 'refused',
      reason: expect.stringContaining('not an approver'),
    });
    expect(await loop.decide(approval, 'olga')).toMatchObject({
      status: 'refused',
      reason: expect.stringContaining('asked for'),
    });
    expect(await loop.decide(approval, 'ana', { bundleDigest: 'f'.repeat(64), requestId: 'other' })).toMatchObject({
      status: 'refused',
      reason: expect.stringContaining('bundle'),
    });
    expect(await loop.decide(approval, 'ana')).toMatchObject({ status: 'accepted', settles: null });
    expect(await loop.decide(approval, 'ana', { requestId: 'again' })).toMatchObject({
      status: 'refused',
      reason: expect.stringContaining('already'),
    });
    expect((await loop.runStatus(run)).outcome).toBeNull();
    expect(await loop.decide(approval, 'ben')).toMatchObject({ status: 'accepted', settles: 'approved' });
    expect(await result()).toMatchObject({ outcome: 'approved' });
    const refused = (await loop.registry.audit('strict', 100)).filter((row) => row.action === 'approval.refused');
    expect(refused.map((row) => row.actor).sort()).toEqual(['ana', 'ana', 'eve', 'olga']);
  });

  it('and the same request again gets the same answer, but does not count twice', async () => {
    const { loop } = server();
    const { run } = await startedRun(loop, 'repeated', { approval: { required: 2 } });
    const approval = await loop.waiting(run);
    const first = await loop.decide(approval, 'ana');
    expect(await loop.decide(approval, 'ana')).toEqual(first);
    expect((await loop.runStatus(run)).outcome).toBeNull();
  });

  it('when an approver is removed before the quorum: that approval no longer counts', async () => {
    const { loop } = server();
    const { run, result } = await startedRun(
      loop,
      'removed',
      { approval: { required: 2 } },
      { approvers: ['ana', 'ben', 'eve'] },
    );
    const approval = await loop.waiting(run);
    expect(await loop.decide(approval, 'eve')).toMatchObject({ status: 'accepted' });
    const record = await loop.registry.model('removed');
    if (!record) throw new Error('not registered');
    await loop.apply(record.document, { approvers: ['ana', 'ben'], tell: false });
    expect(await loop.decide(approval, 'ana')).toMatchObject({ status: 'accepted', settles: null });
    expect((await loop.runStatus(run)).outcome).toBeNull();
    expect(await loop.decide(approval, 'ben')).toMatchObject({ settles: 'approved' });
    expect(await result()).toMatchObject({ outcome: 'approved' });
  });

  it('before there is anything to decide on, and after the end', async () => {
    const { loop } = server();
    loop.behaviours.set('untimely', { training: 'waits' });
    const { run, result } = await startedRun(loop, 'untimely');
    await eventually('it trains', async () => loop.behaviours.isTraining('untimely'));
    const message = { requestId: 'early', actor: 'ana', bundleDigest: 'a', decision: 'approve', reason: null } as const;
    expect(await loop.updates.decide('untimely', run, message)).toMatchObject({
      status: 'refused',
      reason: expect.stringContaining('does not wait'),
    });
    loop.behaviours.release('untimely');
    const approval = await loop.waiting(run);
    await loop.decide(approval, 'ana', { decision: 'reject' });
    expect(await result()).toMatchObject({ outcome: 'rejected' });
    await expect(loop.decide(approval, 'ben')).rejects.toThrow(/its workflow has ended/);
    expect((await loop.registry.approval(run))?.outcome).toBe('rejected');
  });

  it('when the message is none: the update itself is rejected and nothing is recorded', async () => {
    const { loop } = server();
    const { run } = await startedRun(loop, 'validated');
    const approval = await loop.waiting(run);
    await expect(loop.decide(approval, '')).rejects.toThrow(/actor/);
    expect((await loop.registry.approval(run))?.decisions).toEqual([]);
  });
});
