/** The monitoring Schedule of each model: overlap and catch-up are explicit, since the defaults would pile sweeps up. */
import { type Client, ScheduleNotFoundError, ScheduleOverlapPolicy } from '@temporalio/client';
import type { ModelDocument } from '../contracts/documents.ts';
import { durationMs } from '../contracts/duration.ts';
import type { SweepInput } from '../contracts/messages.ts';
import { QUEUES } from '../contracts/values.ts';
import { sweepScheduleId, sweepWorkflowId } from '../domain/ids.ts';

export async function ensureSweepSchedule(client: Client, document: ModelDocument): Promise<void> {
  const scheduleId = sweepScheduleId(document.name);
  const handle = client.schedule.getHandle(scheduleId);
  if (!document.monitoring) {
    await handle.delete().catch((error: unknown) => {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
    });
    return;
  }
  const input: SweepInput = { stateVersion: 1, model: document.name };
  const options = {
    spec: { intervals: [{ every: durationMs(document.monitoring.every) }] },
    policies: { overlap: ScheduleOverlapPolicy.BUFFER_ONE, catchupWindow: durationMs(document.monitoring.window) },
    action: {
      type: 'startWorkflow' as const,
      workflowType: 'sweep',
      workflowId: sweepWorkflowId(document.name),
      taskQueue: QUEUES.control,
      args: [input],
      staticSummary: `Monitors ${document.name} over ${document.monitoring.window}`,
    },
  };
  try {
    await handle.update((previous) => ({ ...options, state: previous.state }));
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error;
    await client.schedule.create({ scheduleId, ...options });
  }
}
