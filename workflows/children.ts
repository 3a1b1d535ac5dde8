/** Starting and telling the workflows that fill a lifecycle's slots. They outlive its continue-as-new, and report back by signal. */
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  type ExternalWorkflowHandle,
  getExternalWorkflowHandle,
  isCancellation,
  ParentClosePolicy,
  startChild,
  WorkflowIdReusePolicy,
} from '@temporalio/workflow';
import type * as m from '../src/contracts/messages.ts';
import { QUEUES } from '../src/contracts/values.ts';
import { rolloutWorkflowId, runWorkflowId } from '../src/domain/ids.ts';
import type { rollout } from './rollout.ts';
import type { run } from './run.ts';

const child = (workflowId: string, summary: string) => ({
  workflowId,
  taskQueue: QUEUES.control,
  parentClosePolicy: ParentClosePolicy.ABANDON,
  workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
  staticSummary: summary.slice(0, 200),
});

/** Already started is success: the id is the run's own. */
async function startOnce(start: () => Promise<unknown>): Promise<void> {
  try {
    await start();
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}

export const startRun = (input: m.RunInput, reason: string): Promise<void> =>
  startOnce(() =>
    startChild<typeof run>('run', {
      ...child(runWorkflowId(input.model, input.run), `${input.trigger}: ${reason}`),
      args: [input],
    }),
  );

export const startRollout = (input: m.RolloutInput): Promise<void> =>
  startOnce(() =>
    startChild<typeof rollout>('rollout', {
      ...child(
        rolloutWorkflowId(input.model, input.deployment),
        `${input.kind} to version ${input.toVersion}: ${input.reason}`,
      ),
      args: [input],
    }),
  );

/** False for a workflow that has closed meanwhile. */
export async function tell(id: string, send: (handle: ExternalWorkflowHandle) => Promise<void>): Promise<boolean> {
  try {
    await send(getExternalWorkflowHandle(id));
    return true;
  } catch (error) {
    if (isCancellation(error)) throw error;
    return false;
  }
}
