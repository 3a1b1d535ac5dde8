/** A run alone: its outcomes, and what stops it. Whatever happens it ends with an outcome in the registry and one report. */
import { describe, expect, it } from 'vitest';
import { judgeDecision } from '../../src/domain/approval.ts';
import { runWorkflowId } from '../../src/domain/ids.ts';
import type { Behaviour } from '../support/workflow-behaviour.ts';
import { eventually } from '../support/workflow-loop.ts';
import { finished, keepsReports, startedRun, startRunWorkflow } from '../support/workflow-run.ts';
import { inSkippedTime } from '../support/workflow-time.ts';

const server = inSkippedTime(keepsReports);

describe('a run that cannot become a candidate', () => {
  it.each<[string, Partial<Behaviour>, string, RegExp]>([
    ['bad-data', { data: 'one class' }, 'data_rejected', /one class in column y/],
    [
      'late-data',
      { data: 'changes' },
      'data_rejected',
      /^data rejected: join in column temp: column temp is float64 by now$/,
    ],
    ['bad-metric', { rmse: 3 }, 'gate_failed', /rmse 3\.0000, at most 2/],
    ['no-metric', { rmse: undefined }, 'inconclusive', /undefined on 10 held-out rows/],
    ['bad-trainer', { training: 'fails' }, 'failed', /^the trainer exited with 1$/],
  ])('%s ends with its outcome, its reason, no version and one report', async (model, behaviour, outcome, reason) => {
    const { loop } = server();
    loop.behaviours.set(model, behaviour);
    const { run, result } = await startedRun(loop, model);
    expect(await result()).toMatchObject({ outcome, reason: expect.stringMatching(reason) });
    expect(await loop.registry.run(run)).toMatchObject({ outcome, version: null });
    expect(await loop.registry.versions(model)).toEqual([]);
    expect(finished.filter((one) => one.run === run)).toEqual([{ run, outcome, version: null }]);
  });
});

it('what its trainer wrote last stays in the registry, for it may be values of rows', async () => {
  const { loop } = server();
  loop.behaviours.set('talkative', { training: 'fails' });
  const { run, result } = await startedRun(loop, 'talkative');
  await result();
  const said = 'no luck with ana@example.com';
  expect(await loop.registry.run(run)).toMatchObject({
    outcomeReason: `the trainer exited with 1; its last lines:\n${said}`,
  });
  const history = await loop.client.workflow.getHandle(runWorkflowId('talkative', run)).fetchHistory();
  const told = {
    audit: await loop.registry.audit('talkative', 100),
    events: (await loop.registry.outbox(1_000)).map(({ event }) => event),
    notifications: loop.behaviours.notifications,
    // Payloads are base64 there.
    history: JSON.stringify(history).replace(/"data":"([^"]*)"/g, (_, data: string) =>
      Buffer.from(data, 'base64').toString(),
    ),
  };
  for (const [where, what] of Object.entries(told)) {
    expect(JSON.stringify(what), where).toContain('the trainer exited with 1');
    expect(JSON.stringify(what), where).not.toContain('ana@example.com');
  }
});

describe('cancel', () => {
  it('during training stops the trainer and ends the run', async () => {
    const { loop } = server();
    loop.behaviours.set('cancelled', { training: 'waits' });
    const { run, result } = await startedRun(loop, 'cancelled');
    await eventually('it trains', async () => loop.behaviours.isTraining('cancelled'));
    expect(await loop.updates.cancel('cancelled', run, { actor: 'olga', reason: 'a mistake' })).toMatchObject({
      status: 'cancelled',
    });
    expect(await result()).toMatchObject({ outcome: 'cancelled', reason: 'cancelled by olga: a mistake' });
    await eventually('the trainer is told', async () => loop.behaviours.stopped.includes('cancelled'));
    expect(await loop.registry.run(run)).toMatchObject({ outcome: 'cancelled', stage: 'train' });
  });

  it('of the workflow in Temporal has the same end', async () => {
    const { loop } = server();
    const { run, result } = await startedRun(loop, 'cancelled-outside');
    await loop.waiting(run);
    await loop.runHandle(run).cancel();
    expect(await result()).toMatchObject({ outcome: 'cancelled' });
    expect(await loop.registry.run(run)).toMatchObject({ outcome: 'cancelled' });
  });

  it('while it waits for a decision withdraws the candidate', async () => {
    const { loop } = server();
    const { run, result } = await startedRun(loop, 'withdrawn');
    const approval = await loop.waiting(run);
    await loop.updates.cancel('withdrawn', run, { actor: 'olga', reason: null });
    expect(await result()).toMatchObject({ outcome: 'cancelled' });
    expect(await loop.registry.version('withdrawn', approval.version)).toMatchObject({ role: 'rejected' });
  });
});

it('that is started again after Temporal lost it ends as it was decided', async () => {
  const { loop } = server();
  const { run, input } = await startedRun(loop, 'restored');
  const { bundleDigest } = await loop.waiting(run);
  await loop.runHandle(run).terminate('lost');
  const decision = { requestId: 'r1', actor: 'ana', decision: 'approve' as const, bundleDigest, reason: null };
  const { verdict } = await loop.registry.recordDecision(
    run,
    { ...decision, via: 'update' },
    (context) => judgeDecision(context, { ...decision, via: 'update' }),
    new Date(await loop.options.nowMs()).toISOString(),
  );
  expect(verdict).toMatchObject({ status: 'accepted', settles: 'approved' });
  const again = await startRunWorkflow(loop, input);
  expect(await again()).toEqual({
    outcome: 'approved',
    reason: 'approved by ana before the workflow was started again',
  });
  expect(await loop.registry.run(run)).toMatchObject({ outcome: 'approved' });
});

describe('supersede', () => {
  it('ends a run that waits for a decision; its version is archived', async () => {
    const { loop } = server();
    const { run, result } = await startedRun(loop, 'outdone');
    const approval = await loop.waiting(run);
    await loop.runHandle(run).signal('supersede', { reason: 'a newer run' });
    expect(await result()).toEqual({ outcome: 'superseded', reason: 'a newer run' });
    expect(await loop.registry.version('outdone', approval.version)).toMatchObject({ role: 'archived' });
  });

  it('is not lost when it comes before the run waits, and does not cut its work short', async () => {
    const { loop } = server();
    loop.behaviours.set('outdone-early', { training: 'waits' });
    const { run, result } = await startedRun(loop, 'outdone-early');
    await eventually('it trains', async () => loop.behaviours.isTraining('outdone-early'));
    await loop.runHandle(run).signal('supersede', { reason: 'a newer run' });
    expect((await loop.runStatus(run)).outcome).toBeNull();
    loop.behaviours.release('outdone-early');
    expect(await result()).toMatchObject({ outcome: 'superseded' });
    expect(await loop.registry.run(run)).toMatchObject({ version: 1 });
  });

  it('does not undo a decision that was told as accepted', async () => {
    const { loop } = server();
    for (const round of [1, 2, 3, 4, 5]) {
      const model = `contended-${round}`;
      const { run, result } = await startedRun(loop, model);
      const approval = await loop.waiting(run);
      const decision = loop.decide(approval, 'ana').catch(() => ({ status: 'refused' as const }));
      await loop.runHandle(run).signal('supersede', { reason: 'a newer run' });
      const answer = await decision;
      expect(await result()).toMatchObject({ outcome: answer.status === 'accepted' ? 'approved' : 'superseded' });
    }
  });
});

it('a run whose outcome was given from outside keeps it', async () => {
  const { loop } = server();
  loop.behaviours.set('given-up', { training: 'waits' });
  const { run, result } = await startedRun(loop, 'given-up');
  await eventually('it trains', async () => loop.behaviours.isTraining('given-up'));
  await loop.registry.finishRun(run, 'failed', 'taken for lost', new Date(0).toISOString());
  await loop.updates.cancel('given-up', run, { actor: 'olga', reason: null });
  expect(await result()).toEqual({ outcome: 'failed', reason: 'taken for lost' });
  expect(finished).toContainEqual({ run, outcome: 'failed', version: null });
});
