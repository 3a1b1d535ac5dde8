/** Storms of events for one model: one run names all of them, what came too late starts exactly one more, and nothing is lost. */
import { expect, it } from 'vitest';
import { event, origin } from '../support/registry-fixtures.ts';
import { onDevServer } from '../support/workflow-dev.ts';
import { alert } from '../support/workflow-events.ts';
import { definition, eventually, type Loop } from '../support/workflow-loop.ts';

const server = onDevServer();

const dataEvent = (model: string, id: string) => {
  const data = { dataset: `${model}-data`, uris: [`file:///data/${id}.100.csv`] };
  return event('data', `${model}-${id}`, `${model}-data`, data);
};
const alerts = (model: string, name: string, count: number) =>
  Array.from({ length: count }, (_, index) => alert(model, `${name}-${index}`, index, { verdict: 'confirmed' }));

/** In signals of some hundred keys, as the gateway sends them. */
async function storm(loop: Loop, model: string, name: string, count: number, perSignal: number): Promise<string[]> {
  const events = alerts(model, name, count);
  const keys: string[] = [];
  for (let at = 0; at < count; at += perSignal) keys.push(...(await loop.publish(...events.slice(at, at + perSignal))));
  return keys;
}

const fatesOf = async (loop: Loop, model: string, keys: readonly string[]): Promise<Record<string, number>> => {
  const counts: Record<string, number> = {};
  for (const { fate, run } of Object.values(await loop.registry.fates(model, keys)))
    counts[`${fate} ${run}`] = (counts[`${fate} ${run}`] ?? 0) + 1;
  return counts;
};

it('1,000 confirmed alerts give one run that names all of them, and those that come late exactly one more', async () => {
  const loop = server();
  await loop.apply(definition('alerted', { retraining: { debounce: '2s', max_wait: '1m' } }));
  await loop.ship('alerted', 'first');
  // Held until all are there: a pause of the machine between two signals would be a pause of the storm.
  await loop.updates.pause('alerted', { actor: 'olga', reason: null });
  const keys = await storm(loop, 'alerted', 'a', 1_000, 100);
  await eventually('all are held', async () => (await loop.lifecycleStatus('alerted')).held === 1_000);
  await loop.updates.resume('alerted', { actor: 'olga', reason: null });
  await loop.waiting('alerted-000002');
  expect(await fatesOf(loop, 'alerted', keys)).toEqual({
    'acted_on alerted-000002': 1,
    'coalesced alerted-000002': 999,
  });
  const run = await loop.registry.run('alerted-000002');
  expect(run).toMatchObject({ trigger: 'drift', eventCount: 1_000 });
  expect([...(run?.eventKeys ?? [])].sort()).toEqual([...keys].sort());
  const late = await storm(loop, 'alerted', 'late', 50, 10);
  await loop.decide(await loop.waiting('alerted-000002'), 'ben', { decision: 'reject' });
  await loop.waiting('alerted-000003');
  expect(await fatesOf(loop, 'alerted', late)).toEqual({
    'acted_on alerted-000003': 1,
    'coalesced alerted-000003': 49,
  });
  expect((await loop.registry.runs({ model: 'alerted', limit: 10 })).length).toBe(3);
});

it('12,000 events pass through continue-as-new with a run and a rollout in flight', async () => {
  const loop = server();
  const steps = [{ type: 'canary', weight: 0.1, hold: '0s', min_requests: 20 }];
  await loop.apply(definition('flood', { rollout: { steps, patience: '1h' } }));
  await loop.ship('flood', 'first');
  loop.behaviours.set('flood', { challenger: 'silent' });
  await loop.startRun('flood', 'second');
  await loop.decide(await loop.waiting('flood-000002'), 'ana');
  await eventually('the rollout is under way', async () => (await loop.registry.plan('flood'))?.deployment === 2);
  loop.behaviours.set('flood', { challenger: 'silent', training: 'waits' });
  await loop.startRun('flood', 'third');
  await eventually('the run trains', async () => loop.behaviours.isTraining('flood'));
  const { runId: first } = await loop.lifecycleHandle('flood').describe();

  const keys = await storm(loop, 'flood', 'e', 12_000, 40);
  await eventually('all are held', async () => (await loop.lifecycleStatus('flood')).held === 12_000);
  expect((await loop.lifecycleHandle('flood').describe()).runId).not.toBe(first);
  expect(await loop.lifecycleStatus('flood')).toMatchObject({
    run: { run: 'flood-000003' },
    rollout: { deployment: 2, toVersion: 2 },
  });

  // The champion that they speak of stays.
  loop.behaviours.set('flood', { challenger: 'failing', training: 'done' });
  loop.behaviours.release('flood');
  await loop.decide(await loop.waiting('flood-000003'), 'ben', { decision: 'reject' });
  await loop.waiting('flood-000004');
  expect(await fatesOf(loop, 'flood', keys)).toEqual({ 'acted_on flood-000004': 1, 'coalesced flood-000004': 11_999 });
  expect(await loop.registry.unsettled('flood', 1)).toEqual([]);
  expect((await loop.registry.run('flood-000004'))?.eventCount).toBe(12_000);
  expect((await loop.registry.deployments('flood', 10)).map(({ outcome }) => outcome)).toEqual([
    'rolled_back',
    'promoted',
  ]);
}, 180_000);

it('a dataset that a person ended takes in what waited, in order of arrival, before what comes next', async () => {
  const loop = server();
  await loop.apply(definition('lost'));
  loop.behaviours.set('lost', { training: 'waits' });
  const at = new Date().toISOString();
  // Taken into the inbox, but the workflow was ended before it came to them.
  const waiting = ['one', 'two', 'three'].map((id) => dataEvent('lost', id));
  await loop.registry.receive(
    waiting.map((one, index) => ({ origin: origin(1_000_000 + index), at, publishedAt: at, event: one })),
  );
  await loop.publishData('lost', 'four');
  const versions = await eventually('all are taken in', async () => {
    const found = await loop.registry.datasetVersions('lost-data', 10);
    return found.length === 4 && found;
  });
  const inOrder = [...versions].sort((a, b) => a.version - b.version).map(({ eventKey }) => eventKey);
  expect(inOrder).toEqual(['one', 'two', 'three', 'four'].map((id) => `test lost-${id}`));
  loop.behaviours.release('lost');
});
