/** Messages to workflows by the Temporal client. The receiver is started where it does not run. */
import { type Client, WorkflowIdConflictPolicy, WorkflowNotFoundError } from '@temporalio/client';
import type { DatasetInput, LifecycleInput } from '../../contracts/messages.ts';
import { QUEUES } from '../../contracts/values.ts';
import { datasetWorkflowId, lifecycleWorkflowId } from '../../domain/ids.ts';
import type { Messenger } from '../../ports/messenger.ts';

/** Keys in one signal: references of about 100 bytes stay far below the limit of a payload. */
const KEYS_PER_SIGNAL = 500;

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
  return {
    async dataArrived(dataset, keys) {
      const input: DatasetInput = { stateVersion: 1, dataset };
      for (let at = 0; at < keys.length; at += KEYS_PER_SIGNAL) {
        await client.workflow.signalWithStart('dataset', {
          workflowId: datasetWorkflowId(dataset),
          taskQueue: QUEUES.control,
          args: [input],
          staticSummary: `Takes in the files of ${dataset}, one version an arrival`,
          signal: 'dataArrived',
          signalArgs: [keys.slice(at, at + KEYS_PER_SIGNAL)],
        });
      }
    },
    async eventsArrived(model, keys) {
      for (let at = 0; at < keys.length; at += KEYS_PER_SIGNAL)
        await toLifecycle(model, 'eventsArrived', keys.slice(at, at + KEYS_PER_SIGNAL));
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
