/** A run without its lifecycle: its reports are kept here instead of being sent. */
import { WorkflowIdReusePolicy } from '@temporalio/client';
import type { RunFinishedSignal, RunInput } from '../../src/contracts/messages.ts';
import { QUEUES } from '../../src/contracts/values.ts';
import { runWorkflowId } from '../../src/domain/ids.ts';
import type { Messenger } from '../../src/ports/messenger.ts';
import { type Definition, definition, type Loop } from './workflow-loop.ts';

export const finished: RunFinishedSignal[] = [];

export const keepsReports = (): Messenger => ({
  dataArrived: async () => {},
  erasureRequested: async () => {},
  batchRequested: async () => {},
  eventsArrived: async () => {},
  runAwaits: async () => {},
  runFinished: async (_model, signal) => {
    finished.push(signal);
  },
  rolloutFinished: async () => {},
  state: async () => 'running',
});

type Result = () => Promise<{ readonly outcome: string; readonly reason: string }>;

export interface StartedRun {
  readonly run: string;
  readonly input: RunInput;
  /** Skips time until the run has ended. */
  readonly result: Result;
}

/** As its lifecycle would. */
export async function startRunWorkflow(loop: Loop, input: RunInput): Promise<Result> {
  const handle = await loop.client.workflow.start('run', {
    workflowId: runWorkflowId(input.model, input.run),
    taskQueue: QUEUES.control,
    workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
    args: [input],
  });
  return () => handle.result();
}

export async function startedRun(
  loop: Loop,
  model: string,
  change: Definition = {},
  options: { readonly approvers?: string[]; readonly requester?: string } = {},
): Promise<StartedRun> {
  const definitionDigest = await loop.apply(definition(model, change), {
    tell: false,
    ...(options.approvers ? { approvers: options.approvers } : {}),
  });
  await loop.withData(model);
  const requester = options.requester ?? null;
  const opened = await loop.registry.openRun({
    ...{ model, requestKey: 'manual:1', trigger: 'manual', eventKeys: [], requester, reason: null, definitionDigest },
    at: new Date(await loop.options.nowMs()).toISOString(),
  });
  if (opened.status !== 'opened') throw new Error(opened.reason);
  const { run, trigger } = opened.run;
  const input: RunInput = { stateVersion: 1, model, run, trigger, definitionDigest, requester };
  return { run, input, result: await startRunWorkflow(loop, input) };
}
