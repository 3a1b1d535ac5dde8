/** An erasure in a dataset's workflow: slice by slice, with arrivals in between, and from where it stood after a continue-as-new. */
import type { Client } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DatasetActivities } from '../../activities/dataset.ts';
import type { EraseActivities } from '../../activities/erase.ts';
import type { LookupActivities } from '../../activities/lookups.ts';
import type { DatasetInput, ErasureProgress, ErasureTally } from '../../src/contracts/messages.ts';
import { QUEUES } from '../../src/contracts/values.ts';
import { datasetWorkflowId } from '../../src/domain/ids.ts';
import { workflowBundle } from '../support/workflow-bundle.ts';
import { connectDev } from '../support/workflow-dev.ts';
import { eventually } from '../support/workflow-loop.ts';

const calls: string[] = [];
const tallies: ErasureTally[] = [];
const note = <T>(call: string, answer: T): Promise<T> => {
  calls.push(call);
  return Promise.resolve(answer);
};

/** The log of predictions goes on until an arrival of the dataset has been taken in. */
const activities: Omit<DatasetActivities & EraseActivities & LookupActivities, 'eraseRows'> = {
  undelivered: async () => [],
  ingest: ({ key }) => note(`ingest ${key}`, { status: 'version', version: 4, rows: 1 }),
  deliver: async () => {},
  refreshLookups: () => note('refreshLookups', undefined),
  eraseData: ({ erasure }) =>
    note(`eraseData ${erasure}`, erasure === 2 ? null : { idColumn: 'who', rows: 3, version: 3, lostVersions: [1, 2] }),
  eraseSnapshots: ({ after }) =>
    note(`eraseSnapshots ${after}`, {
      ...{ rows: 1, after: after === null ? 'm-000001' : null },
      unrepeatable: [{ model: 'm', run: after === null ? 'm-000001' : 'm-000002' }],
    }),
  deleteErasedBytes: () => note('deleteErasedBytes', { rows: 0, after: null }),
  async erasePredictions({ dataset, after }) {
    const taken = calls.includes(`ingest late-${dataset}`);
    return note('erasePredictions', { rows: 10, after: taken ? null : String(Number(after ?? 0) + 1) });
  },
  eraseBatches: ({ after }) => note(`eraseBatches ${after}`, { rows: 5, after: null }),
  finishErasure: ({ tally }) => {
    tallies.push(tally);
    return note('finishErasure', null);
  },
};

const closing: (() => Promise<unknown>)[] = [];
let client: Client;
beforeAll(async () => {
  const { native, namespace, ...connected } = await connectDev(closing);
  client = connected.client;
  for (const taskQueue of [QUEUES.control, QUEUES.data]) {
    const worker = await Worker.create({
      ...{ connection: native, namespace, taskQueue, activities },
      ...(taskQueue === QUEUES.control ? { workflowBundle: await workflowBundle() } : {}),
    });
    const done = worker.run();
    closing.push(() => {
      worker.shutdown();
      return done;
    });
  }
});
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

async function started(input: Omit<DatasetInput, 'stateVersion'>) {
  calls.length = 0;
  tallies.length = 0;
  return client.workflow.start<(input: DatasetInput) => Promise<void>>('dataset', {
    ...{ workflowId: datasetWorkflowId(input.dataset), taskQueue: QUEUES.control },
    args: [{ stateVersion: 1, ...input }],
  });
}
const once = (list: readonly string[]): readonly string[] => list.filter((call, at) => call !== list[at - 1]);

it('goes on while arrivals are taken in, counts all slices, and leaves the next request for after it', async () => {
  const handle = await started({ dataset: 'people', erasures: [1, 2] });
  await eventually('the log is looked through', async () => calls.includes('erasePredictions'));
  expect(calls).not.toContain('finishErasure');
  await handle.signal('dataArrived', ['late-people']);
  await eventually('both are over', async () => calls.includes('eraseData 2'));
  const slices = calls.filter((call) => call === 'erasePredictions').length;
  expect(once(calls)).toEqual([
    ...['eraseData 1', 'eraseSnapshots null', 'eraseSnapshots m-000001', 'deleteErasedBytes', 'refreshLookups'],
    ...['erasePredictions', 'ingest late-people', 'refreshLookups', 'erasePredictions'],
    ...['eraseBatches null', 'finishErasure', 'eraseData 2'],
  ]);
  const [tally] = tallies;
  expect(tally).toEqual({
    rows: { data: 3, snapshots: 2, predictions: 10 * slices, batches: 5 },
    ...{ version: 3, lostVersions: [1, 2] },
    unrepeatable: ['m-000001', 'm-000002'].map((run) => ({ model: 'm', run })),
  });
  await handle.terminate('done');
});

it('goes on from where it stood', async () => {
  const tally = { rows: { data: 1, snapshots: 1, predictions: 7, batches: 0 }, version: 2, lostVersions: [1] };
  const erasing: ErasureProgress = {
    ...{ erasure: 1, idColumn: 'who', step: 'predictions', after: '70' },
    tally: { ...tally, unrepeatable: [] },
  };
  const handle = await started({ dataset: 'others', erasures: [1], erasing });
  await handle.signal('dataArrived', ['late-others']);
  await eventually('it is over', async () => calls.includes('finishErasure'));
  expect(calls.some((call) => call.startsWith('eraseData') || call.startsWith('eraseSnapshots'))).toBe(false);
  expect(tallies[0]?.rows.predictions).toBeGreaterThanOrEqual(17);
  await handle.terminate('done');
});
