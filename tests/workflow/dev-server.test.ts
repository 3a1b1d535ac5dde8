/** What the time-skipping server does not have: parent-close policy, Schedules, listing, limits of a history. */
import { expect, it } from 'vitest';
import { modelSchema } from '../../src/contracts/documents.ts';
import { sweepScheduleId } from '../../src/domain/ids.ts';
import { ensureSweepSchedule } from '../../src/gateway/schedules.ts';
import { onDevServer } from '../support/workflow-dev.ts';
import { alert } from '../support/workflow-events.ts';
import { definition, eventually, type Loop } from '../support/workflow-loop.ts';

const server = onDevServer();

const found = (loop: Loop, query: string) =>
  eventually(`a workflow with ${query}`, async () => {
    for await (const one of loop.client.workflow.list({ query })) return one;
    return undefined;
  });

it('update-with-start: the first start of a run starts its lifecycle too', async () => {
  const loop = server();
  await loop.apply(definition('cold'), { tell: false });
  await loop.withData('cold');
  expect(await loop.startRun('cold', 'r1')).toEqual({ status: 'started', run: 'cold-000001' });
  await loop.waiting('cold-000001');
});

it('ABANDON: a run outlives its lifecycle, reports to the next, and its version is promoted', async () => {
  const loop = server();
  await loop.apply(definition('orphaned'));
  loop.behaviours.set('orphaned', { training: 'waits' });
  await loop.publishData('orphaned', 'a');
  await eventually('it trains', async () => loop.behaviours.isTraining('orphaned'));
  await loop.lifecycleHandle('orphaned').terminate('by hand');
  loop.behaviours.release('orphaned');
  await loop.decide(await loop.waiting('orphaned-000001'), 'ana');
  expect((await loop.ended('orphaned-000001')).outcome).toBe('approved');
  await loop.champion('orphaned', 1);
  expect((await loop.registry.runs({ model: 'orphaned', limit: 10 })).length).toBe(1);
});

it('continue-as-new: a storm of signals loses no event, starts no second run, and leaves the run its slot', async () => {
  const loop = server();
  await loop.apply(definition('storm'));
  loop.behaviours.set('storm', { training: 'waits' });
  await loop.publishData('storm', 'a');
  await eventually('it trains', async () => loop.behaviours.isTraining('storm'));
  const { runId: first } = await loop.lifecycleHandle('storm').describe();
  const keys: string[] = [];
  const continued = async (): Promise<boolean> => (await loop.lifecycleHandle('storm').describe()).runId !== first;
  // New alerts among signals that repeat old ones, in waves, until the history has grown too long and then some more.
  for (let wave = 0, after = 0; after < 3 && wave < 200; wave += 1) {
    const alerts = Array.from({ length: 10 }, (_, index) => alert('storm', `w${wave}-${index}`, index));
    const repeated = Array.from({ length: 40 }, () => loop.messenger.eventsArrived('storm', keys.slice(-1)));
    const [fresh] = await Promise.all([loop.publish(...alerts), ...repeated]);
    keys.push(...fresh);
    if (await continued()) after += 1;
  }
  expect(await continued()).toBe(true);
  await eventually('every alert has its fate', async () => (await loop.registry.unsettled('storm', 1)).length === 0);
  const fates = Object.values(await loop.registry.fates('storm', keys));
  expect(fates.length).toBe(keys.length);
  expect(new Set(fates.map((one) => `${one.fate} ${one.run}`))).toEqual(new Set(['coalesced storm-000001']));
  expect(loop.behaviours.isTraining('storm')).toBe(true);
  loop.behaviours.release('storm');
  await loop.decide(await loop.waiting('storm-000001'), 'ana');
  await loop.champion('storm', 1);
  expect((await loop.registry.runs({ model: 'storm', limit: 10 })).length).toBe(1);
}, 120_000);

it('search attributes: a person finds runs by model, stage, trigger, version and outcome', async () => {
  const loop = server();
  await loop.apply(definition('listed'));
  await loop.publishData('listed', 'a');
  const approval = await loop.waiting('listed-000001');
  const waits = await found(
    loop,
    "WorkflowType = 'run' AND RefitModel = 'listed' AND RefitStage = 'decide' AND RefitVersion = 1 AND RefitTrigger = 'data'",
  );
  expect(waits.workflowId).toBe('run/listed/listed-000001');
  await loop.decide(approval, 'ana', { decision: 'reject' });
  await found(loop, "WorkflowType = 'run' AND RefitModel = 'listed' AND RefitOutcome = 'rejected'");
  await found(loop, "WorkflowType = 'lifecycle' AND RefitModel = 'listed'");
});

it('a Schedule starts the sweeps of a model, follows its definition, and goes when monitoring does', async () => {
  const loop = server();
  const watched = modelSchema.parse({ ...definition('watched'), monitoring: { every: '1s', window: '1h' } });
  await loop.apply(watched, { tell: false });
  const handle = loop.client.schedule.getHandle(sweepScheduleId('watched'));
  try {
    await ensureSweepSchedule(loop.client, watched);
    await ensureSweepSchedule(loop.client, watched);
    const done = await found(
      loop,
      "WorkflowType = 'sweep' AND RefitModel = 'watched' AND ExecutionStatus = 'Completed'",
    );
    expect(done.workflowId).toMatch(/^sweep\/watched-\d{4}-\d{2}-\d{2}T/);
    expect(await loop.client.workflow.getHandle(done.workflowId, done.runId).result()).toEqual({
      verdict: null,
      reason: 'no champion yet',
    });
    const changed = modelSchema.parse({ ...watched, monitoring: { every: '1h', window: '2h' } });
    await ensureSweepSchedule(loop.client, changed);
    expect((await handle.describe()).spec.intervals).toMatchObject([{ every: 3_600_000 }]);
  } finally {
    await ensureSweepSchedule(loop.client, definition('watched'));
  }
  await expect(handle.describe()).rejects.toThrow(/not found/i);
});
