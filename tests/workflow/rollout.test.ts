/** Guarantees 3 and 4: one rollout at a time, its plans fenced; a challenger that fails leaves the champion serving. */
import { describe, expect, it, vi } from 'vitest';
import type { RolloutStatus } from '../../src/contracts/messages.ts';
import type { Behaviour } from '../support/workflow-behaviour.ts';
import { definition, eventually, type Loop } from '../support/workflow-loop.ts';
import { inSkippedTime } from '../support/workflow-time.ts';

const server = inSkippedTime();

const canary = { type: 'canary', weight: 0.1, hold: '0s', min_requests: 20 };
const steps = { steps: [{ type: 'shadow', hold: '0s', min_requests: 20 }, canary] };

const deployment = (loop: Loop, model: string, number: number) =>
  eventually(`deployment ${number} of ${model}`, () => loop.registry.deployment(model, number));
const finished = (loop: Loop, model: string, number: number) =>
  eventually(`deployment ${number} of ${model} ends`, async () => {
    const record = await loop.registry.deployment(model, number);
    return record?.outcome && record;
  });
/** Undefined before its workflow has started. */
const status = (loop: Loop, model: string, number: number): Promise<RolloutStatus | undefined> =>
  loop
    .rolloutHandle(model, number)
    .query<RolloutStatus>('status')
    .catch(() => undefined);
/** The challenger takes traffic, or stands in its shadow, and the servers say nothing yet. */
const inStep = (loop: Loop, model: string, number: number, step: string) =>
  eventually(`deployment ${number} of ${model} is in ${step}`, async () => {
    const plan = await loop.registry.plan(model);
    return plan?.deployment === number && (await status(loop, model, number))?.step === step && plan;
  });
const onlyChampion = (version: number) => [{ version, role: 'champion', weight: 1 }];

/** A model with version 1 as champion, and an approved version 2 whose rollout (deployment 2) begins. */
async function challenged(
  loop: Loop,
  model: string,
  challenger: Behaviour['challenger'],
  rollout: object = steps,
): Promise<void> {
  await loop.apply(definition(model, { rollout: { patience: '0s', ...rollout } }));
  await loop.ship(model, 'first');
  loop.behaviours.set(model, { challenger });
  await approve(loop, model, 2);
  await deployment(loop, model, 2);
}
async function approve(loop: Loop, model: string, number: number): Promise<void> {
  const answer = await loop.startRun(model, `r${number}`);
  expect(answer).toEqual({ status: 'started', run: `${model}-00000${number}` });
  await loop.decide(await loop.waiting(`${model}-00000${number}`), 'ana');
}

/** Promotions by one deployment wait until they are released, as they do for a registry that is away. */
async function whilePromotionWaits<T>(
  { registry }: Loop,
  deployment: number,
  work: (promotion: { readonly begins: () => Promise<true>; readonly release: () => void }) => Promise<T>,
): Promise<T> {
  const { promote } = registry;
  let promoting = false;
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const held = vi.spyOn(registry, 'promote').mockImplementation(async (...given) => {
    if (given[0].deployment === deployment) {
      promoting = true;
      await released;
    }
    return promote(...given);
  });
  try {
    return await work({ begins: () => eventually('it promotes', async () => promoting), release });
  } finally {
    release();
    held.mockRestore();
  }
}

describe('a rollout', () => {
  it('of the first version promotes it directly', async () => {
    const { loop } = server();
    await loop.apply(definition('first', { rollout: steps }));
    loop.behaviours.set('first', { challenger: 'absent' });
    await loop.ship('first', 'r1');
    expect((await loop.registry.plan('first'))?.entries).toEqual(onlyChampion(1));
  });

  it('goes through its steps and promotes', async () => {
    const { loop } = server();
    await challenged(loop, 'stepwise', 'healthy');
    expect(await finished(loop, 'stepwise', 2)).toMatchObject({ outcome: 'promoted', fromVersion: 1, toVersion: 2 });
    await loop.champion('stepwise', 2);
    const { steps: taken } = await deployment(loop, 'stepwise', 2);
    expect(taken.map((one) => `${one.step}: ${one.status}`)).toEqual(['shadow: passed', 'canary 10 %: passed']);
    expect(await loop.registry.plan('stepwise')).toMatchObject({
      deployment: 2,
      revision: 3,
      entries: onlyChampion(2),
    });
    expect((await loop.registry.versions('stepwise')).map((one) => `${one.version} ${one.role}`).sort()).toEqual([
      '1 archived',
      '2 champion',
    ]);
  });

  it('goes back to the champion when a step fails', async () => {
    const { loop } = server();
    await challenged(loop, 'failing', 'failing', { steps: [canary] });
    expect(await finished(loop, 'failing', 2)).toMatchObject({
      outcome: 'rolled_back',
      outcomeReason: expect.stringContaining('error rate 0.500'),
    });
    expect(await loop.registry.plan('failing')).toMatchObject({ deployment: 2, revision: 2, entries: onlyChampion(1) });
    expect((await loop.registry.champion('failing'))?.version).toBe(1);
    expect((await loop.registry.version('failing', 2))?.role).toBe('archived');
    await loop.champion('failing', 1);
  });

  it('pauses and tells when a step stays inconclusive, and goes on when it is resumed', async () => {
    const { loop } = server();
    await challenged(loop, 'quiet', 'silent', { steps: [canary] });
    await eventually('it is paused', async () => (await status(loop, 'quiet', 2))?.paused?.startsWith('inconclusive'));
    await eventually('it is told', async () =>
      loop.behaviours.told('quiet', 'alert.raised').some((text) => text.includes('inconclusive')),
    );
    expect((await loop.registry.deployment('quiet', 2))?.outcome).toBeNull();
    loop.behaviours.set('quiet', { challenger: 'healthy' });
    expect(await loop.updates.rollout('quiet', 2, 'resume', { actor: 'olga', reason: null })).toEqual({
      status: 'resumed',
    });
    expect(await finished(loop, 'quiet', 2)).toMatchObject({ outcome: 'promoted' });
  });

  it('is watched anew when it is resumed: what the servers counted before holds it no longer', async () => {
    const { loop } = server();
    await challenged(loop, 'dropping', 'dropped', { steps: [canary] });
    await eventually('it is told', async () =>
      loop.behaviours.told('dropping', 'alert.raised').some((text) => text.includes('1 predictions were dropped')),
    );
    const resume = { actor: 'olga', reason: null };
    expect(await loop.updates.rollout('dropping', 2, 'resume', resume)).toEqual({ status: 'resumed' });
    expect(await finished(loop, 'dropping', 2)).toMatchObject({ outcome: 'promoted' });
    expect(await loop.registry.plan('dropping')).toMatchObject({ deployment: 2, revision: 3 });
  });

  it.each(['abort', 'pause'] as const)(
    '%s that comes while it promotes is answered by what came of it',
    async (verb) => {
      const { loop } = server();
      const model = `late-${verb}`;
      await challenged(loop, model, 'absent', { steps: [canary] });
      await inStep(loop, model, 2, 'canary 10 %');
      await whilePromotionWaits(loop, 2, async ({ begins, release }) => {
        loop.behaviours.set(model, { challenger: 'healthy' });
        await begins();
        const answer = loop.updates.rollout(model, 2, verb, { actor: 'olga', reason: null });
        await eventually('the workflow has it', async () => {
          const { events } = await loop.rolloutHandle(model, 2).fetchHistory();
          return events?.some((event) => event.workflowExecutionUpdateAcceptedEventAttributes);
        });
        release();
        expect(await answer).toEqual({ status: 'refused' });
      });
      expect(await finished(loop, model, 2)).toMatchObject({ outcome: 'promoted' });
      await loop.champion(model, 2);
    },
  );

  it('waits while no server is live, and a person may abort it', async () => {
    const { loop } = server();
    await challenged(loop, 'aborted', 'absent', { steps: [canary] });
    await inStep(loop, 'aborted', 2, 'canary 10 %');
    expect(await loop.updates.rollout('aborted', 2, 'abort', { actor: 'olga', reason: 'enough' })).toEqual({
      status: 'aborted',
    });
    expect(await finished(loop, 'aborted', 2)).toMatchObject({
      outcome: 'aborted',
      outcomeReason: 'aborted by olga: enough',
    });
    expect((await loop.registry.plan('aborted'))?.entries).toEqual(onlyChampion(1));
    expect((await loop.registry.version('aborted', 2))?.role).toBe('archived');
  });

  it('that a person paused takes no further step until it is resumed', async () => {
    const { loop } = server();
    await challenged(loop, 'held', 'absent', { steps: [canary, { ...canary, weight: 0.5 }] });
    const before = await inStep(loop, 'held', 2, 'canary 10 %');
    expect(await loop.updates.rollout('held', 2, 'pause', { actor: 'olga', reason: null })).toEqual({
      status: 'paused',
    });
    // Nobody watches the step any more, so that good counts cannot end it.
    await eventually('nobody watches', async () => {
      const { raw } = await loop.rolloutHandle('held', 2).describe();
      return (raw.pendingActivities ?? []).length === 0;
    });
    loop.behaviours.set('held', { challenger: 'healthy' });
    expect(await loop.registry.plan('held')).toEqual(before);
    expect(await loop.updates.rollout('held', 2, 'resume', { actor: 'olga', reason: null })).toEqual({
      status: 'resumed',
    });
    expect(await finished(loop, 'held', 2)).toMatchObject({ outcome: 'promoted' });
  });

  it('does not promote when an approver was removed after approving', async () => {
    const { loop } = server();
    await challenged(loop, 'withdrawn', 'absent', { steps: [canary] });
    await inStep(loop, 'withdrawn', 2, 'canary 10 %');
    const record = await loop.registry.model('withdrawn');
    if (!record) throw new Error('not registered');
    await loop.apply(record.document, { approvers: ['ben'] });
    loop.behaviours.set('withdrawn', { challenger: 'healthy' });
    expect(await finished(loop, 'withdrawn', 2)).toMatchObject({
      outcome: 'rolled_back',
      outcomeReason: expect.stringContaining('0 of 1 approvals'),
    });
    expect((await loop.registry.plan('withdrawn'))?.entries).toEqual(onlyChampion(1));
  });
});

describe('a rollback', () => {
  it('goes to what served before the champion, not to a version that was left by a rollback', async () => {
    const { loop } = server();
    const champion = (version: number) => loop.champion('backwards', version);
    const back = async (requestId: string) => {
      const answer = await loop.updates.rollback('backwards', { requestId, actor: 'olga', to: null, reason: 'wrong' });
      if (answer.status === 'started') await champion(answer.toVersion);
      return answer;
    };
    await loop.apply(definition('backwards'));
    for (const request of ['r1', 'r2', 'r3']) await loop.ship('backwards', request);
    expect(await back('b1')).toMatchObject({ toVersion: 2 });
    await loop.ship('backwards', 'r4');
    expect(await back('b2')).toMatchObject({ toVersion: 2 });
    // Asked again and again it goes on backwards.
    expect(await back('b3')).toMatchObject({ toVersion: 1 });
    expect(await back('b4')).toMatchObject({
      status: 'refused',
      reason: expect.stringContaining('no earlier champion'),
    });
  });

  it('that two people ask for at once is one', async () => {
    const { loop } = server();
    await loop.apply(definition('twice'));
    for (const request of ['r1', 'r2']) await loop.ship('twice', request);
    const ask = (requestId: string) =>
      loop.updates.rollback('twice', { requestId, actor: requestId, to: null, reason: 'wrong' });
    const answers = await whilePromotionWaits(loop, 3, async () => [await ask('olga'), await ask('ana')]);
    const answer = { status: 'started', deployment: 3, toVersion: 1 };
    expect(answers).toEqual([answer, answer]);
    await loop.champion('twice', 1);
    expect(await loop.registry.deployment('twice', 3)).toMatchObject({ outcome: 'promoted' });
    expect(await loop.registry.deployment('twice', 4)).toBeUndefined();
  });

  it('that is asked for while the rollout is promoted goes to what served before that rollout', async () => {
    const { loop } = server();
    await challenged(loop, 'overtaken', 'absent', { steps: [canary] });
    await inStep(loop, 'overtaken', 2, 'canary 10 %');
    // The rollout's end is committed, and its signal has not come.
    const late = vi.spyOn(loop.registry, 'deployment').mockImplementationOnce(async (model, number) => {
      loop.behaviours.set('overtaken', { challenger: 'healthy' });
      return finished(loop, model, number);
    });
    const rollback = { requestId: 'b1', actor: 'olga', to: null, reason: 'bad feeling' };
    expect(await loop.updates.rollback('overtaken', rollback)).toMatchObject({ status: 'started', toVersion: 1 });
    late.mockRestore();
    expect(await finished(loop, 'overtaken', 3)).toMatchObject({ outcome: 'promoted', toVersion: 1 });
    await loop.champion('overtaken', 1);
  });
});

describe('one rollout at a time', () => {
  it('an approved candidate waits for the rollout under way', async () => {
    const { loop } = server();
    await challenged(loop, 'queued', 'absent', { steps: [canary] });
    await inStep(loop, 'queued', 2, 'canary 10 %');
    await approve(loop, 'queued', 3);
    expect((await loop.ended('queued-000003')).outcome).toBe('approved');
    expect((await loop.lifecycleStatus('queued')).rollout?.deployment).toBe(2);
    expect(await loop.registry.deployment('queued', 3)).toBeUndefined();
    loop.behaviours.set('queued', { challenger: 'healthy' });
    expect(await finished(loop, 'queued', 3)).toMatchObject({ outcome: 'promoted', fromVersion: 2, toVersion: 3 });
    await loop.champion('queued', 3);
  });

  it('rollback fences the rollout under way first; repeated, it is one rollback', async () => {
    const { loop } = server();
    await challenged(loop, 'fenced', 'absent', { steps: [canary] });
    await inStep(loop, 'fenced', 2, 'canary 10 %');
    const rollback = { requestId: 'b1', actor: 'olga', to: null, reason: 'bad feeling' };
    expect(await loop.updates.rollback('fenced', rollback)).toEqual({ status: 'started', deployment: 3, toVersion: 1 });
    expect(await finished(loop, 'fenced', 2)).toMatchObject({ outcome: 'superseded' });
    expect(await finished(loop, 'fenced', 3)).toMatchObject({ outcome: 'promoted', kind: 'rollback' });
    expect(await loop.registry.plan('fenced')).toMatchObject({ deployment: 3, entries: onlyChampion(1) });
  });

  it('a rollback that is asked for again does not touch the rollout that came after it', async () => {
    const { loop } = server();
    await challenged(loop, 'repeated', 'healthy', { steps: [canary] });
    await loop.champion('repeated', 2);
    const rollback = { requestId: 'b1', actor: 'olga', to: null, reason: 'bad feeling' };
    expect(await loop.updates.rollback('repeated', rollback)).toMatchObject({ status: 'started', toVersion: 1 });
    await loop.champion('repeated', 1);
    loop.behaviours.set('repeated', { challenger: 'absent' });
    await approve(loop, 'repeated', 3);
    const before = await inStep(loop, 'repeated', 4, 'canary 10 %');
    const again = await loop.lifecycleHandle('repeated').executeUpdate('rollback', { args: [rollback] });
    expect(again).toMatchObject({ status: 'refused' });
    expect((await loop.lifecycleStatus('repeated')).rollout?.deployment).toBe(4);
    expect(await loop.registry.plan('repeated')).toEqual(before);
    loop.behaviours.set('repeated', { challenger: 'healthy' });
    expect(await finished(loop, 'repeated', 4)).toMatchObject({ outcome: 'promoted' });
  });

  it('a second rollback is the one under way, and is audited; one that nobody carries out is not in the way', async () => {
    const { loop } = server();
    await challenged(loop, 'joined', 'healthy', { steps: [canary] });
    await loop.champion('joined', 2);
    await whilePromotionWaits(loop, 3, async ({ begins }) => {
      const rollback = (requestId: string, actor: string) =>
        loop.updates.rollback('joined', { requestId, actor, to: null, reason: 'bad feeling' });
      expect(await rollback('b1', 'olga')).toEqual({ status: 'started', deployment: 3, toVersion: 1 });
      await begins();
      expect(await rollback('b2', 'ben')).toEqual({ status: 'started', deployment: 3, toVersion: 1 });
      expect((await loop.registry.audit('joined', 50)).filter((row) => row.action === 'rollback.joined')).toMatchObject(
        [{ actor: 'ben', body: { deployment: 3, requestId: 'b2' } }],
      );
      await loop.rolloutHandle('joined', 3).terminate('by hand');
      expect(await rollback('b3', 'olga')).toEqual({ status: 'started', deployment: 4, toVersion: 1 });
      expect(await finished(loop, 'joined', 4)).toMatchObject({ outcome: 'promoted' });
    });
    await loop.champion('joined', 1);
  });

  it('a rollout whose writes have become stale ends as superseded and changes nothing', async () => {
    const { loop } = server();
    await challenged(loop, 'stale', 'absent', { steps: [canary, { ...canary, weight: 0.5 }] });
    await inStep(loop, 'stale', 2, 'canary 10 %');
    // Opened past the lifecycle, so that no signal tells the rollout.
    const at = new Date(await loop.options.nowMs()).toISOString();
    await loop.registry.openDeployment({
      ...{ model: 'stale', requestKey: 'k', kind: 'rollback', run: null, toVersion: 1 },
      ...{ actor: 'olga', reason: null, at },
    });
    const before = await loop.registry.plan('stale');
    loop.behaviours.set('stale', { challenger: 'healthy' });
    expect(await finished(loop, 'stale', 2)).toMatchObject({ outcome: 'superseded' });
    expect(await loop.registry.plan('stale')).toEqual(before);
    expect((await loop.registry.champion('stale'))?.version).toBe(1);
  });

  it('a rollback to what never was champion is refused', async () => {
    const { loop } = server();
    await challenged(loop, 'wrong', 'healthy', { steps: [canary] });
    await loop.champion('wrong', 2);
    for (const to of [2, 7])
      expect(
        await loop.updates.rollback('wrong', { requestId: `b${to}`, actor: 'olga', to, reason: 'x' }),
      ).toMatchObject({ status: 'refused' });
    expect((await loop.registry.champion('wrong'))?.version).toBe(2);
  });
});
