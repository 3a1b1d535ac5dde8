/** A workflow that a person ended from outside never reports back: its slot is free again within a quarter of an hour. */
import { expect, it } from 'vitest';
import type { RolloutStatus } from '../../src/contracts/messages.ts';
import { definition, eventually } from '../support/workflow-loop.ts';
import { inSkippedTime } from '../support/workflow-time.ts';

const server = inSkippedTime();
const reason = 'its workflow was ended from outside';

it('a run', async () => {
  const { loop, skip, rest } = server();
  await loop.apply(definition('terminated'));
  await loop.publishData('terminated', 'a');
  await loop.waiting('terminated-000001');
  await rest();
  await loop.runHandle('terminated-000001').terminate('by hand');
  await skip('16m');
  expect(await loop.ended('terminated-000001')).toMatchObject({ outcome: 'failed', outcomeReason: reason });
  await loop.publishData('terminated', 'b');
  await loop.waiting('terminated-000002');
});

it('a rollout, whose traffic goes back to the champion', async () => {
  const { loop, skip, rest } = server();
  const steps = [{ type: 'canary', weight: 0.1, hold: '0s', min_requests: 20 }];
  await loop.apply(definition('orphan', { rollout: { steps } }));
  await loop.ship('orphan', 'first');
  loop.behaviours.set('orphan', { challenger: 'silent' });
  await loop.startRun('orphan', 'second');
  await loop.decide(await loop.waiting('orphan-000002'), 'ana');
  const rollout = loop.rolloutHandle('orphan', 2);
  await eventually(
    'it is paused',
    async () => (await rollout.query<RolloutStatus>('status').catch(() => undefined))?.paused,
  );
  await eventually('it is told', async () => loop.behaviours.told('orphan', 'alert.raised').length > 0);
  expect((await loop.registry.plan('orphan'))?.entries.length).toBe(2);
  await rest();
  await rollout.terminate('by hand');
  await skip('16m');
  const ended = await eventually('its end is known', async () => {
    const record = await loop.registry.deployment('orphan', 2);
    return record?.outcome && record;
  });
  expect(ended).toMatchObject({ outcome: 'aborted', outcomeReason: reason });
  expect((await loop.registry.plan('orphan'))?.entries).toEqual([{ version: 1, role: 'champion', weight: 1 }]);
  await loop.champion('orphan', 1);
});
