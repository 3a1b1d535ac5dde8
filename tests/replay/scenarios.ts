/** What the recorded histories show: each way in which a run and a rollout can end, and a lifecycle that saw them all. */
import { ApplicationFailure, Context } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import type { BatchActivities } from '../../activities/batch.ts';
import type { DatasetActivities } from '../../activities/dataset.ts';
import type { EraseActivities } from '../../activities/erase.ts';
import type { LookupActivities } from '../../activities/lookups.ts';
import { createMessenger } from '../../src/adapters/temporal/messenger.ts';
import { QUEUES } from '../../src/contracts/values.ts';
import { batchWorkflowId, datasetWorkflowId, sweepWorkflowId } from '../../src/domain/ids.ts';
import { alert } from '../support/workflow-events.ts';
import { definition, eventually, type Loop } from '../support/workflow-loop.ts';

export interface Played {
  readonly scenario: string;
  readonly model: string;
  readonly run?: string;
  readonly deployment?: number;
  /** Only that of the dataset is new. */
  readonly dataset?: string;
}

const MODEL = 'flights';
const canary = { type: 'canary', weight: 0.1, hold: '0s', min_requests: 20 };

const ended = (loop: Loop, deployment: number) =>
  eventually(`deployment ${deployment} ends`, async () => (await loop.registry.deployment(MODEL, deployment))?.outcome);

async function start(loop: Loop, requestId: string): Promise<string> {
  const answer = await loop.startRun(MODEL, requestId);
  if (answer.status !== 'started') throw new Error(`${requestId}: ${JSON.stringify(answer)}`);
  return answer.run;
}
const free = (loop: Loop) =>
  eventually('the slots are free', async () => {
    const status = await loop.lifecycleStatus(MODEL);
    return status.run === null && status.rollout === null;
  });

async function playRuns(loop: Loop): Promise<Played[]> {
  const played: Played[] = [];
  const note = async (scenario: string, run: string): Promise<void> => {
    await loop.ended(run);
    await free(loop);
    played.push({ scenario: `run-${scenario}`, model: MODEL, run });
  };
  await loop.publish(...Array.from({ length: 20 }, (_, index) => alert(MODEL, `a${index}`, index)));
  await loop.publishData(MODEL, 'first');
  const first = await loop.waiting(`${MODEL}-000001`);
  await loop
    .runHandle(first.run)
    .signal('approve', { requestId: 's0', actor: 'eve', bundleDigest: first.bundleDigest });
  await loop
    .runHandle(first.run)
    .signal('approve', { requestId: 's1', actor: 'ana', bundleDigest: first.bundleDigest });
  await note('approved-by-signal', first.run);
  for (const [scenario, behaviour] of [
    ['data-rejected', { data: 'one class' }],
    ['gate-failed', { rmse: 3 }],
    ['inconclusive', { rmse: undefined }],
    ['trainer-failed', { training: 'fails' }],
  ] as const) {
    loop.behaviours.set(MODEL, behaviour);
    await note(scenario, await start(loop, scenario));
    loop.behaviours.set(MODEL, { data: 'fine', training: 'done', rmse: 1 });
  }
  const rejected = await loop.waiting(await start(loop, 'rejected'));
  await loop.decide(rejected, 'ben', { decision: 'reject' });
  await note('rejected', rejected.run);
  loop.behaviours.set(MODEL, { training: 'waits' });
  const cancelled = await start(loop, 'cancelled');
  await eventually('it trains', async () => loop.behaviours.isTraining(MODEL));
  await loop.updates.cancel(MODEL, cancelled, { actor: 'olga', reason: null });
  await note('cancelled', cancelled);
  loop.behaviours.set(MODEL, { training: 'done' });
  const superseded = await loop.waiting(await start(loop, 'superseded'));
  await loop.publishData(MODEL, 'newer');
  await loop.ended(superseded.run);
  played.push({ scenario: 'run-superseded', model: MODEL, run: superseded.run });
  const expiring = `${MODEL}-${String(Number(superseded.run.slice(-6)) + 1).padStart(6, '0')}`;
  await note('reminded-and-expired', expiring);
  return played;
}

async function playRollouts(loop: Loop): Promise<Played[]> {
  const played: Played[] = [{ scenario: 'rollout-of-the-first-version', model: MODEL, deployment: 1 }];
  const approved = async (requestId: string): Promise<void> => {
    await loop.decide(await loop.waiting(await start(loop, requestId)), 'ana');
  };
  const watching = (deployment: number) =>
    eventually('a step is watched', async () => (await loop.registry.plan(MODEL))?.deployment === deployment);
  const note = async (scenario: string, deployment: number): Promise<void> => {
    await ended(loop, deployment);
    await free(loop);
    played.push({ scenario: `rollout-${scenario}`, model: MODEL, deployment });
  };
  await approved('promoted');
  await note('promoted', 2);
  loop.behaviours.set(MODEL, { challenger: 'failing' });
  await approved('rolled-back');
  await note('rolled-back', 3);
  loop.behaviours.set(MODEL, { challenger: 'silent' });
  await approved('inconclusive-resumed');
  await eventually('it is told', async () => loop.behaviours.told(MODEL, 'alert.raised').length > 0);
  loop.behaviours.set(MODEL, { challenger: 'healthy' });
  await eventually(
    'it goes on',
    async () => (await loop.updates.rollout(MODEL, 4, 'resume', { actor: 'olga', reason: null })).status === 'resumed',
  );
  await note('inconclusive-then-watched-anew', 4);
  loop.behaviours.set(MODEL, { challenger: 'absent' });
  await approved('aborted');
  await watching(5);
  await loop.updates.rollout(MODEL, 5, 'pause', { actor: 'olga', reason: null });
  await loop.updates.rollout(MODEL, 5, 'abort', { actor: 'olga', reason: null });
  await note('paused-and-aborted', 5);
  await approved('fenced');
  await watching(6);
  await loop.updates.rollback(MODEL, { requestId: 'back', actor: 'olga', to: null, reason: 'a bad feeling' });
  await note('fenced', 6);
  await note('back', 7);
  return played;
}

async function playErasure(loop: Loop): Promise<Played> {
  const dataset = `${MODEL}-data`;
  const at = new Date().toISOString();
  const asked = { dataset, requestKey: 'erase', ids: ['7'], actor: 'olga', reason: null, at };
  const { erasure } = await loop.registry.requestErasure(asked);
  await loop.messenger.erasureRequested(dataset, [erasure]);
  await eventually('it is erased', async () => (await loop.registry.erasure(dataset, erasure))?.finishedAt);
  const key = await loop.publishData(MODEL, 'after-the-erasure');
  await eventually('it is taken in', async () => loop.fateOf(MODEL, key));
  return { scenario: 'dataset-with-an-erasure', model: MODEL, dataset };
}

/** A batch calls its activities and nothing else: what these say here stands for them. */
export function batchActivities(): BatchActivities {
  return {
    planBatch: async () => ({ version: 1, files: 2, ended: null }),
    async scoreBatchFile({ batch, file }) {
      if (batch === BATCHES.indexOf('failed') + 1 && file === 1)
        throw ApplicationFailure.nonRetryable('version 1 gives no score for row 3', 'ModelProblem');
      if (batch === BATCHES.indexOf('cancelled') + 1) {
        const beat = setInterval(() => Context.current().heartbeat(), 100);
        await Context.current().cancelled.finally(() => clearInterval(beat));
      }
      return '0'.repeat(64);
    },
    joinBatch: async () => ({ status: 'done', rows: 20, output: '1'.repeat(64) }),
    failBatch: async ({ reason }) => ({ status: 'failed', reason }),
  };
}

/** Each end of a batch; its number is its place. */
export const BATCHES = ['scored', 'failed', 'cancelled'] as const;

export async function playBatches(client: Client): Promise<readonly { scenario: string; workflowId: string }[]> {
  const messenger = createMessenger(client);
  for (const [index, scenario] of BATCHES.entries()) {
    await messenger.batchRequested(MODEL, index + 1);
    const handle = client.workflow.getHandle(batchWorkflowId(MODEL, index + 1));
    if (scenario === 'cancelled') {
      const beating = async () => (await handle.describe()).raw.pendingActivities?.some((one) => one.lastHeartbeatTime);
      await eventually('it scores', beating);
      await handle.cancel();
    }
    await handle.result();
  }
  return BATCHES.map((one, index) => ({ scenario: `batch-${one}`, workflowId: batchWorkflowId(MODEL, index + 1) }));
}

/** A dataset calls its activities and nothing else, as a batch does. The log of predictions takes two slices. */
export function datasetActivities(): Omit<DatasetActivities & EraseActivities & LookupActivities, 'eraseRows'> {
  return {
    undelivered: async () => [],
    ingest: async () => ({ status: 'version', version: 3, rows: 10 }),
    deliver: async () => {},
    refreshLookups: async () => {},
    eraseData: async () => ({ idColumn: 'row', rows: 1, version: 2, lostVersions: [1] }),
    eraseSnapshots: async () => ({ rows: 4, after: null, unrepeatable: [{ model: MODEL, run: `${MODEL}-000001` }] }),
    deleteErasedBytes: async () => ({ rows: 0, after: null }),
    erasePredictions: async ({ after }) => ({ rows: 2, after: after === null ? '500' : null }),
    eraseBatches: async () => ({ rows: 0, after: null }),
    finishErasure: async () => null,
  };
}

export async function playSlices(client: Client): Promise<{ scenario: string; workflowId: string }> {
  const dataset = `${MODEL}-sliced`;
  const messenger = createMessenger(client);
  const workflowId = datasetWorkflowId(dataset);
  await messenger.erasureRequested(dataset, [1]);
  await messenger.dataArrived(dataset, ['test meanwhile']);
  const handle = client.workflow.getHandle(workflowId);
  await eventually('it is over', async () => {
    const { events } = await handle.fetchHistory();
    const names = (events ?? []).map((one) => one.activityTaskScheduledEventAttributes?.activityType?.name);
    return names.includes('finishErasure') && names.includes('deliver');
  });
  return { scenario: 'dataset-with-an-erasure-in-slices', workflowId };
}

/** What the rules of a lifecycle tell apart: who gives way to whom in a cooldown, and whose request comes first. */
export async function playRules(loop: Loop): Promise<Played> {
  const model = 'patient';
  const retraining = { cooldown: '4s', triggers: ['data', 'definition'] };
  await loop.apply(definition(model, { retraining }));
  await loop.publishData(model, 'first');
  const first = await loop.waiting(`${model}-000001`);
  await loop.publishData(model, 'newer');
  await loop.ended(first.run);
  await loop.decide(await loop.waiting(`${model}-000002`), 'ben', { decision: 'reject' });
  await loop.ended(`${model}-000002`);
  await loop.updates.pause(model, { actor: 'olga', reason: null });
  await loop.apply(definition(model, { retraining, description: 'changed' }));
  await loop.startRun(model, 'by hand');
  await loop.updates.resume(model, { actor: 'olga', reason: null });
  await loop.waiting(`${model}-000003`);
  return { scenario: RULES, model };
}
export const RULES = 'that-gives-way-after-the-cooldown';

export async function playScenarios(loop: Loop): Promise<readonly Played[]> {
  const document = { approval: { remind: '1s', expires: '3s' }, rollout: { patience: '0s', steps: [canary] } } as const;
  await loop.apply(definition(MODEL, document));
  const runs = await playRuns(loop);
  await loop.apply(definition(MODEL, { ...document, approval: {} }), { dataset: { id: 'row' } });
  const rollouts = await playRollouts(loop);
  await loop.updates.pause(MODEL, { actor: 'olga', reason: null });
  await loop.updates.resume(MODEL, { actor: 'olga', reason: null });
  await loop.client.workflow.execute('sweep', {
    workflowId: sweepWorkflowId(MODEL),
    taskQueue: QUEUES.control,
    args: [{ stateVersion: 1, model: MODEL, windowEndMs: 0 }],
  });
  const erased = await playErasure(loop);
  return [...runs, ...rollouts, { scenario: 'with-all-of-it', model: MODEL }, erased];
}
