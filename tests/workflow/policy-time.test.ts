/** The retraining policy over time, in the lifecycle: what holds a start back, and what lets it go. */
import { expect, it } from 'vitest';
import { createLifecycleActivities } from '../../activities/lifecycle.ts';
import { schedules } from '../../src/adapters/schedule.ts';
import { labels } from '../support/workflow-events.ts';
import { definition, eventually, type Loop } from '../support/workflow-loop.ts';
import { inSkippedTime } from '../support/workflow-time.ts';

const server = inSkippedTime();

const runs = async (loop: Loop, model: string) => (await loop.registry.runs({ model, limit: 10 })).length;
const held = (loop: Loop, model: string, key: string, waitsFor: string) =>
  eventually(`${key} waits for ${waitsFor}`, async () => (await loop.fateOf(model, key))?.waitsFor === waitsFor);

it('an approval that expires frees the slot', async () => {
  const { loop, skip } = server();
  await loop.apply(definition('expires', { approval: { expires: '1447m' } }));
  await loop.publishData('expires', 'a');
  await loop.waiting('expires-000001');
  await skip('1507m');
  expect((await loop.ended('expires-000001')).outcome).toBe('expired');
  await loop.publishData('expires', 'b');
  await loop.waiting('expires-000002');
});

it('debounce: a start waits until it is quiet, but not longer than max_wait', async () => {
  const { loop, skip } = server();
  await loop.apply(definition('quiet', { retraining: { debounce: '10m', max_wait: '25m' } }));
  const first = await loop.publishData('quiet', '0');
  await held(loop, 'quiet', first, 'debounce');
  for (const id of ['9', '18']) {
    await skip('9m');
    expect(await runs(loop, 'quiet')).toBe(0);
    await held(loop, 'quiet', await loop.publishData('quiet', id), 'debounce');
  }
  await skip('6m');
  expect(await runs(loop, 'quiet')).toBe(0);
  await skip('2m');
  expect((await loop.waiting('quiet-000001')).version).toBe(1);
  expect((await loop.registry.run('quiet-000001'))?.eventKeys.length).toBe(3);
});

it('min_new_rows: rows add up over arrivals, once there is a champion', async () => {
  const { loop } = server();
  await loop.apply(definition('rows', { retraining: { min_new_rows: 250 } }));
  await loop.ship('rows', 'first');
  for (const id of ['a', 'b']) await held(loop, 'rows', await loop.publishData('rows', id, 100), 'rows');
  expect(await runs(loop, 'rows')).toBe(1);
  await loop.publishData('rows', 'c', 50);
  await loop.waiting('rows-000002');
  expect((await loop.registry.run('rows-000002'))?.eventKeys.length).toBe(3);
});

it('cooldown: the next start waits after the end of a run', async () => {
  const { loop, skip } = server();
  loop.behaviours.set('cooling', { rmse: 3 });
  await loop.apply(definition('cooling', { retraining: { cooldown: '6h' } }));
  await loop.publishData('cooling', 'a');
  await loop.ended('cooling-000001');
  const next = await loop.publishData('cooling', 'b');
  await held(loop, 'cooling', next, 'cooldown');
  await skip('307m');
  expect(await runs(loop, 'cooling')).toBe(1);
  await skip('61m');
  await loop.ended('cooling-000002');
  expect(await loop.fateOf('cooling', next)).toMatchObject({ fate: 'acted_on', run: 'cooling-000002' });
});

it('cooldown: a candidate that waits is left alone for it, and then gives way to a run that starts at once', async () => {
  const { loop, skip } = server();
  await loop.apply(definition('patient', { retraining: { cooldown: '367m' } }));
  await loop.publishData('patient', 'a');
  await loop.waiting('patient-000001');
  const next = await loop.publishData('patient', 'b');
  await held(loop, 'patient', next, 'cooldown');
  await skip('307m');
  expect((await loop.registry.run('patient-000001'))?.outcome).toBeNull();
  await skip('65m');
  expect((await loop.ended('patient-000001')).outcome).toBe('superseded');
  const { requestedAt } = await loop.waiting('patient-000002');
  expect(await loop.fateOf('patient', next)).toMatchObject({ fate: 'acted_on', run: 'patient-000002' });
  // A lifecycle that is built anew from the registry decides the same.
  const { registry, messenger } = loop;
  const activities = createLifecycleActivities({
    registry,
    messenger,
    schedules,
    surroundings: { now: () => new Date() },
  });
  const { lastRunEndedMs, run } = await activities.loadLifecycle({ model: 'patient' });
  expect(lastRunEndedMs).toBeNull();
  expect(run?.active).toMatchObject({ awaiting: true, awaitingSinceMs: Date.parse(requestedAt) });
});

it('budget: no more runs in a day than it allows', async () => {
  const { loop, skip } = server();
  loop.behaviours.set('frugal', { rmse: 3 });
  await loop.apply(definition('frugal', { retraining: { budget: { runs_per_day: 2 } } }));
  for (const number of [1, 2]) {
    await loop.publishData('frugal', String(number));
    await loop.ended(`frugal-00000${number}`);
  }
  const third = await loop.publishData('frugal', '3');
  await held(loop, 'frugal', third, 'budget');
  await skip('1387m');
  expect(await runs(loop, 'frugal')).toBe(2);
  await skip('61m');
  await loop.ended('frugal-000003');
});

it('pause holds what arrives, resume lets it start; a start by hand is past it', async () => {
  const { loop } = server();
  await loop.apply(definition('paused'));
  await loop.updates.pause('paused', { actor: 'olga', reason: 'holidays' });
  const data = await loop.publishData('paused', 'a');
  await held(loop, 'paused', data, 'pause');
  expect(await loop.registry.paused('paused')).toMatchObject({ by: 'olga', reason: 'holidays' });
  await loop.updates.resume('paused', { actor: 'olga', reason: null });
  await loop.waiting('paused-000001');
  await loop.updates.pause('paused', { actor: 'olga', reason: null });
  expect(await loop.startRun('paused', 'r1')).toMatchObject({
    status: 'held',
    waitsFor: expect.stringContaining('paused-000001'),
  });
  await loop.waiting('paused-000002');
});

it('CPU budget: what a run reserves is held back before it starts, and what it took counts after', async () => {
  const { loop, skip } = server();
  loop.behaviours.set('costly', { rmse: 3 });
  // Each run reserves an hour of two cores; the trainer of this test takes seconds.
  const retraining = { budget: { cpu_hours_per_day: 1.5 } };
  await loop.apply(definition('costly', { retraining }));
  await loop.publishData('costly', '1');
  const first = await loop.ended('costly-000001');
  expect(first.cpuSeconds.reserved).toBe(3_600);
  expect(first.cpuSeconds.spent).toBeLessThan(1_800);
  // Little was taken, so there is room for another.
  await loop.publishData('costly', '2');
  await loop.ended('costly-000002');
  await loop.apply(definition('costly', { retraining: { budget: { cpu_hours_per_day: 1 } } }));
  const third = await loop.publishData('costly', '3');
  await held(loop, 'costly', third, 'budget');
  expect((await loop.fateOf('costly', third))?.reason).toMatch(/CPU hours in the last day and 1.00 for the next run/);
  await skip('1507m');
  await loop.ended('costly-000003');
});

it('a schedule starts a run at its moment, without events, and those that wait go along', async () => {
  const { loop, skip } = server();
  await loop.apply(
    definition('clocked', { retraining: { triggers: ['data'], min_new_rows: 1_000, schedule: { cron: '7 3 * * *' } } }),
  );
  await loop.ship('clocked', 'first');
  const few = await loop.publishData('clocked', 'few', 10);
  await held(loop, 'clocked', few, 'rows');
  const { nextScheduleMs } = await loop.lifecycleStatus('clocked');
  expect(new Date(nextScheduleMs ?? 0).toISOString()).toMatch(/T03:07:00.000Z$/);
  await skip('1447m');
  await loop.waiting('clocked-000002');
  expect(await loop.registry.run('clocked-000002')).toMatchObject({
    ...{ trigger: 'schedule', requester: null, eventKeys: [few] },
    reason: `scheduled for ${new Date(nextScheduleMs ?? 0).toISOString()}`,
  });
});

it('min_new_outcomes: data waits until the outcomes of enough predictions are known', async () => {
  const { loop, skip } = server();
  await loop.apply(definition('joined', { retraining: { min_new_outcomes: 3 } }));
  await loop.ship('joined', 'first');
  const data = await loop.publishData('joined', 'a');
  await held(loop, 'joined', data, 'outcomes');
  await loop.publish(labels('joined', 'l1', 2));
  await skip('8m');
  expect(await loop.fateOf('joined', data)).toMatchObject({ waitsFor: 'outcomes' });
  await loop.publish(labels('joined', 'l2', 1));
  await skip('8m');
  await loop.waiting('joined-000002');
});
