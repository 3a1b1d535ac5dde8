/** Messages to workflows by the Temporal client. The receiver is started where it does not run. */
import { type Client, WorkflowIdConflictPolicy, WorkflowNotFoundError } from '@temporalio/client';
import type { BatchInput, DatasetInput, LifecycleInput } from '../../contracts/messages.ts';
import { QUEUES } from '../../contracts/values.ts';
import { batchWorkflowId, datasetWorkflowId, lifecycleWorkflowId } from '../../domain/ids.ts';
import type { Messenger } from '../../ports/messenger.ts';

/** Keys in one signal, and bytes of them as JSON: a payload may have 2 MB, and all of a history's 50 MB. */
const KEYS_PER_SIGNAL = 500;
const BYTES_PER_SIGNAL = 262_144;

/** Keys are long, or escaped, where publishers choose such ids; at least one goes into each signal. */
export function signalsOf(keys: readonly string[]): readonly (readonly string[])[] {
  const signals: string[][] = [];
  let bytes = 0;
  for (const key of keys) {
    const size = Buffer.byteLength(JSON.stringify(key)) + 1;
    const last = signals.at(-1);
    if (!last || last.length === KEYS_PER_SIGNAL || bytes + size > BYTES_PER_SIGNAL) {
      signals.push([key]);
      bytes = size;
    } else {
      last.push(key);
      bytes += size;
    }
  }
  return signals;
}

/** How a lifecycle is started, by whoever needs it first. */
export function lifecycleStart(model: string) {
  const input: LifecycleInput = { stateVersion: 1, model };
  return {
    workflowId: lifecycleWorkflowId(model),
    taskQueue: QUEUES.control,
    args: [input] as [LifecycleInput],
    workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
    staticSummary: `Keeps ${model} fit: retraining policy, run slot, rollout slot`,
  };
}

export function createMessenger(client: Client): Messenger {
  const toLifecycle = async (model: string, signal: string, argument: unknown): Promise<void> => {
    await client.workflow.signalWithStart('lifecycle', { ...lifecycleStart(model), signal, signalArgs: [argument] });
  };
  const toDataset = async (dataset: string, signal: string, argument: unknown): Promise<void> => {
    const input: DatasetInput = { stateVersion: 1, dataset };
    await client.workflow.signalWithStart('dataset', {
      workflowId: datasetWorkflowId(dataset),
      taskQueue: QUEUES.control,
      args: [input],
      staticSummary: `Takes in the files of ${dataset}, one version an arrival`,
      signal,
      signalArgs: [argument],
    });
  };
  return {
    async dataArrived(dataset, keys) {
      for (const part of signalsOf(keys)) await toDataset(dataset, 'dataArrived', part);
    },
    erasureRequested: (dataset, erasures) => toDataset(dataset, 'erasureRequested', erasures),
    async batchRequested(model, batch) {
      const input: BatchInput = { model, batch };
      await client.workflow.start('batch', {
        workflowId: batchWorkflowId(model, batch),
        taskQueue: QUEUES.control,
        args: [input],
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
        staticSummary: `Scores a version of a dataset with ${model}, file by file`,
      });
    },
    async eventsArrived(model, keys) {
      for (const part of signalsOf(keys)) await toLifecycle(model, 'eventsArrived', part);
    },
    runAwaits: (model, signal) => toLifecycle(model, 'runAwaits', signal),
    runFinished: (model, signal) => toLifecycle(model, 'runFinished', signal),
    rolloutFinished: (model, signal) => toLifecycle(model, 'rolloutFinished', signal),
    async state(workflowId) {
      try {
        const { status } = await client.workflow.getHandle(workflowId).describe();
        return status.name === 'RUNNING' ? 'running' : 'closed';
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return 'missing';
        throw error;
      }
    },
  };
}
