/** Guarantees 1 and 2: every event ends in a fate, and one run at a time for a model, none of them stranded. */
import { describe, expect, it } from 'vitest';
import type { Behaviour } from '../support/workflow-behaviour.ts';
import { alert } from '../support/workflow-events.ts';
import { definition, eventually, type Loop } from '../support/workflow-loop.ts';
import { inSkippedTime } from '../support/workflow-time.ts';

const server = inSkippedTime();

const fate = (loop: Loop, model: string, key: string, wanted: object) =>
  eventually(`${key} has fate ${JSON.stringify(wanted)}`, async () => {
    const found = await loop.fateOf(model, key);
    return (
      found &&
      Object.entries(wanted).every(([name, value]) =>
        Object.entries(found).some(([a, b]) => a === name && b === value),
      ) &&
      found
    );
  });
const training = (loop: Loop, model: string) =>
  eventually(`${model} trains`, async () => loop.behaviours.isTraining(model));

describe('one run at a time', () => {
  it('a burst of 1,000 alerts for a model never trained stands behind its first run', async () => {
    const { loop } = server();
    await loop.apply(definition('burst'));
    loop.behaviours.set('burst', { training: 'waits' });
    const alerts = await loop.publish(
      ...Array.from({ length: 1_000 }, (_, index) => alert('burst', `a${index}`, index)),
    );
    await fate(loop, 'burst', alerts[999] ?? '', { fate: 'held', waitsFor: 'rows' });
    const data = await loop.publishData('burst', 'first');
    await fate(loop, 'burst', data, { fate: 'acted_on' });
    await training(loop, 'burst');
    const [late = ''] = await loop.publish(alert('burst', 'late', 5));
    await fate(loop, 'burst', late, { fate: 'coalesced', run: 'burst-000001' });
    loop.behaviours.release('burst');
    await loop.waiting('burst-000001');
    const fates = Object.values(await loop.registry.fates('burst', alerts));
    expect(new Set(fates.map((one) => `${one.fate} ${one.run}`))).toEqual(new Set(['coalesced burst-000001']));
    expect(fates.length).toBe(1_000);
    expect((await loop.registry.runs({ model: 'burst', limit: 10 })).length).toBe(1);
    // The arrival, the alerts, and the late one.
    expect((await loop.registry.run('burst-000001'))?.eventKeys.length).toBe(1_002);
    expect(await loop.registry.unsettled('burst', 10)).toEqual([]);
  });

  it('data that arrives during a run waits, and starts the next', async () => {
    const { loop } = server();
    await loop.apply(definition('flight'));
    loop.behaviours.set('flight', { training: 'waits' });
    await loop.publishData('flight', 'a');
    await training(loop, 'flight');
    const later = await loop.publishData('flight', 'b');
    await fate(loop, 'flight', later, { fate: 'held', waitsFor: 'run' });
    expect((await loop.registry.runs({ model: 'flight', limit: 10 })).length).toBe(1);
    loop.behaviours.set('flight', { rmse: 3 });
    loop.behaviours.release('flight');
    expect((await loop.ended('flight-000001')).outcome).toBe('gate_failed');
    await fate(loop, 'flight', later, { fate: 'acted_on', run: 'flight-000002' });
  });

  it.each<[string, Partial<Behaviour>]>([
    ['data_rejected', { data: 'one class' }],
    ['gate_failed', { rmse: 3 }],
    ['inconclusive', { rmse: undefined }],
    ['failed', { training: 'fails' }],
  ])('%s frees the slot', async (outcome, behaviour) => {
    const { loop } = server();
    const model = `ends-${outcome.replace('_', '-')}`;
    await loop.apply(definition(model));
    loop.behaviours.set(model, behaviour);
    await loop.publishData(model, 'a');
    expect((await loop.ended(`${model}-000001`)).outcome).toBe(outcome);
    loop.behaviours.set(model, { data: 'fine', training: 'done', rmse: 1 });
    await loop.publishData(model, 'b');
    expect((await loop.waiting(`${model}-000002`)).version).toBe(1);
  });

  it.each(['cancel', 'reject'] as const)('%s frees the slot', async (verb) => {
    const { loop } = server();
    const model = `after-${verb}`;
    await loop.apply(definition(model));
    await loop.publishData(model, 'a');
    const approval = await loop.waiting(`${model}-000001`);
    if (verb === 'cancel') await loop.updates.cancel(model, approval.run, { actor: 'olga', reason: null });
    else await loop.decide(approval, 'ana', { decision: 'reject' });
    expect((await loop.ended(approval.run)).outcome).toBe(verb === 'cancel' ? 'cancelled' : 'rejected');
    await loop.publishData(model, 'b');
    await loop.waiting(`${model}-000002`);
  });
});

describe('a candidate that waits for approval', () => {
  it('gives way to the next run', async () => {
    const { loop } = server();
    await loop.apply(definition('giving'));
    await loop.publishData('giving', 'a');
    await loop.waiting('giving-000001');
    const newer = await loop.publishData('giving', 'b');
    expect((await loop.ended('giving-000001')).outcome).toBe('superseded');
    await loop.waiting('giving-000002');
    expect(await loop.fateOf('giving', newer)).toMatchObject({ fate: 'acted_on', run: 'giving-000002' });
    expect((await loop.registry.versions('giving')).map((one) => one.role).sort()).toEqual(['archived', 'candidate']);
  });

  it('gives way also when the newer data was there before it asked', async () => {
    const { loop } = server();
    await loop.apply(definition('racing'));
    loop.behaviours.set('racing', { training: 'waits' });
    await loop.publishData('racing', 'a');
    await training(loop, 'racing');
    const newer = await loop.publishData('racing', 'b');
    await fate(loop, 'racing', newer, { fate: 'held', waitsFor: 'run' });
    loop.behaviours.release('racing');
    expect((await loop.ended('racing-000001')).outcome).toBe('superseded');
    await loop.waiting('racing-000002');
  });

  it('stays where the definition holds the newer one', async () => {
    const { loop } = server();
    await loop.apply(definition('holding', { approval: { on_newer: 'hold' } }));
    await loop.publishData('holding', 'a');
    const approval = await loop.waiting('holding-000001');
    const newer = await loop.publishData('holding', 'b');
    await fate(loop, 'holding', newer, { fate: 'held', waitsFor: 'run' });
    await loop.decide(approval, 'ana');
    expect((await loop.ended('holding-000001')).outcome).toBe('approved');
    await fate(loop, 'holding', newer, { fate: 'acted_on', run: 'holding-000002' });
  });
});

describe('a start by hand', () => {
  it('is one run, however often it is asked for, and what waits goes along', async () => {
    const { loop } = server();
    await loop.apply(definition('asked', { retraining: { min_new_rows: 1_000 } }));
    await loop.ship('asked', 'first');
    const data = await loop.publishData('asked', 'a');
    await fate(loop, 'asked', data, { fate: 'held', waitsFor: 'rows' });
    const first = await loop.startRun('asked', 'r1');
    expect(first).toEqual({ status: 'started', run: 'asked-000002' });
    await loop.waiting('asked-000002');
    expect(await loop.fateOf('asked', data)).toMatchObject({ fate: 'acted_on', run: 'asked-000002' });
    // Not through the update's own id, which ends with one execution of the lifecycle.
    const request = { requestId: 'r1', actor: 'olga', reason: null };
    const again = await loop.lifecycleHandle('asked').executeUpdate('startRun', { args: [request] });
    expect(again).toEqual(first);
    const active = { run: 'asked-000002', awaiting: true, superseding: false };
    expect((await loop.lifecycleStatus('asked')).run).toMatchObject(active);
    expect((await loop.registry.runs({ model: 'asked', limit: 10 })).length).toBe(2);
  });

  it('of a request that an earlier lifecycle served strands none of the events that wait', async () => {
    const { loop } = server();
    await loop.apply(definition('served', { retraining: { min_new_rows: 1_000 } }));
    await loop.ship('served', 'r1');
    await loop.lifecycleHandle('served').terminate('by hand');
    const data = await loop.publishData('served', 'a');
    await fate(loop, 'served', data, { fate: 'held', waitsFor: 'rows' });
    expect(await loop.startRun('served', 'r1')).toEqual({ status: 'started', run: 'served-000001' });
    await eventually('the event is still held', async () => (await loop.lifecycleStatus('served')).held === 1);
    await loop.startRun('served', 'r2');
    expect(await loop.fateOf('served', data)).toMatchObject({ fate: 'acted_on', run: 'served-000002' });
  });

  it('of a model that was never applied is refused', async () => {
    const { loop } = server();
    expect(await loop.startRun('unknown-model', 'r1')).toMatchObject({
      status: 'refused',
      reason: 'unknown-model was never applied',
    });
  });
});

describe('a definition', () => {
  it('starts nothing when it is the first, and a run when it changes and the policy wants that', async () => {
    const { loop } = server();
    const retraining = { triggers: ['data', 'definition'] };
    await loop.apply(definition('defined', { retraining }));
    await loop.withData('defined');
    expect(await loop.registry.runs({ model: 'defined', limit: 10 })).toEqual([]);
    await loop.apply(definition('defined', { retraining, description: 'changed' }));
    await loop.waiting('defined-000001');
    expect(await loop.registry.run('defined-000001')).toMatchObject({
      trigger: 'definition',
      requester: 'olga',
      eventKeys: [],
    });
    await loop.apply(definition('defined', { retraining, description: 'changed' }));
    expect((await loop.registry.runs({ model: 'defined', limit: 10 })).length).toBe(1);
  });
});

describe('an alert of drift', () => {
  it('is refused where the trigger is off, suspected, stable, or of another version', async () => {
    const { loop } = server();
    await loop.apply(definition('calm'));
    await loop.ship('calm', 'r1');
    const cases = [
      alert('calm', 'suspected', 0, { verdict: 'suspected' }),
      alert('calm', 'stable', 1, { verdict: 'stable' }),
      alert('calm', 'other', 2, { verdict: 'confirmed', version: 7 }),
    ];
    for (const key of await loop.publish(...cases)) await fate(loop, 'calm', key, { fate: 'refused' });
    await loop.apply(definition('calm', { retraining: { triggers: ['data'] } }));
    const [off = ''] = await loop.publish(alert('calm', 'off', 3, { verdict: 'confirmed' }));
    expect((await fate(loop, 'calm', off, { fate: 'refused' })).reason).toContain('trigger drift is off');
    expect((await loop.registry.runs({ model: 'calm', limit: 10 })).length).toBe(1);
  });

  it('that is confirmed starts a run, with what is held for rows', async () => {
    const { loop } = server();
    await loop.apply(definition('drifted', { retraining: { min_new_rows: 1_000 } }));
    await loop.ship('drifted', 'r1');
    const data = await loop.publishData('drifted', 'a');
    await fate(loop, 'drifted', data, { fate: 'held', waitsFor: 'rows' });
    const [key = ''] = await loop.publish(alert('drifted', 'now', 0, { verdict: 'confirmed', version: 1 }));
    await fate(loop, 'drifted', key, { fate: 'acted_on', run: 'drifted-000002' });
    expect(await loop.fateOf('drifted', data)).toMatchObject({ fate: 'coalesced', run: 'drifted-000002' });
    expect((await loop.registry.run('drifted-000002'))?.trigger).toBe('drift');
  });

  it('without a verdict counts once enough windows that do not overlap have drifted, of this champion only', async () => {
    const { loop } = server();
    await loop.apply(definition('windows'));
    const before = await loop.publish(alert('windows', 'w0', 0), alert('windows', 'w1', 1));
    await fate(loop, 'windows', before[1] ?? '', { fate: 'held' });
    await loop.ship('windows', 'r1');
    const [one = ''] = await loop.publish(alert('windows', 'w2', 2));
    expect((await fate(loop, 'windows', one, { fate: 'refused' })).reason).toContain(
      '1 of the last 3 windows drifted, 2 must',
    );
    const [same = ''] = await loop.publish(alert('windows', 'w2-again', 2));
    await fate(loop, 'windows', same, { fate: 'refused' });
    const [next = ''] = await loop.publish(alert('windows', 'w3', 3));
    await fate(loop, 'windows', next, { fate: 'acted_on', run: 'windows-000002' });
  });
});
