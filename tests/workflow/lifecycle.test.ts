/** Guarantees 1 and 2: every event ends in a fate, and one run at a time for a model, none of them stranded. */
import { describe, expect, it } from 'vitest';
import { alert } from '../support/workflow-events.ts';
import { definition, eventually, type Loop } from '../support/workflow-loop.ts';
import { inSkippedTime } from '../support/workflow-time.ts';
import type { Behaviour } from '../support/workflow-behaviour.ts';

const server = inSkippedTime();

const fate = (loop: Loop, model: string, key: string, wanted: object) =>
  eventually(`${key} has fate ${JSON.stringify(wanted)}`, async () => {
    const found = await loop.fateOf(model, key);
    return found && Object.entries(wanted).every(([name, value]) => Object.entries(found).some(([a, b]) => a === name && b === value)) && found;
  });
const training = (loop: Loop, model: string) => eventually(`${model} trains`, async () => loop.behaviours.isTraining(model));

describe('one run at a time', () => {
  it('a burst of 1,000 alerts for a model never trained stands behind its first run', async () => {
    const { loop } = server();
    await loop.apply(definition('burst'));
    loop.behaviours.set('burst', { training: 'waits' });
    const alerts = await loop.publish(...Array.from({ length: 1_000 }, (_, index) => alert('burst', `a${index}`, index)));
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
    expect((await loop.registry.run('burst-000001'))?.eventKeys.length).toBe(1_001);
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

  it.each(['cancel', 'reject', 'expire'] as const)('%s frees the slot', async (verb) => {
    const { loop, skip } = server();
    const model = `after-${verb}`;
    await loop.apply(definition(model, { approval: { expires: '1d' } }));
    await loop.publishData(model, 'a');
    const approval = await loop.waiting(`${model}-000001`);
    if (verb === 'cancel') await loop.updates.cancel(model, approval.run, { actor: 'olga', reason: null });
    if (verb === 'reject') await loop.decide(approval, 'ana', { decision: 'reject' });
    if (verb === 'expire') await skip('25h');
    const outcomes = { cancel: 'cancelled', reject: 'rejected', expire: 'expired' } as const;
    expect((await loop.ended(approval.run)).outcome).toBe(outcomes[verb]);
    await loop.publishData(model, 'b');
    await loop.waiting(`${model}-000002`);
  });

  it('a run whose workflow was terminated frees the slot within a quarter of an hour', async () => {
    const { loop, skip } = server();
    await loop.apply(definition('terminated'));
    await loop.publishData('terminated', 'a');
    await loop.waiting('terminated-000001');
    await loop.runHandle('terminated-000001').terminate('by hand');
    await skip('16m');
    expect(await loop.ended('terminated-000001')).toMatchObject({ outcome: 'failed', outcomeReason: 'its workflow was ended from outside' });
    await loop.publishData('terminated', 'b');
    await loop.waiting('terminated-000002');
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
