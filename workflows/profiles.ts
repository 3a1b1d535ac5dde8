/** Activity options by cost. Outages are retried for ever: an activity ends a matter by a non-retryable failure only. */
import type { ActivityOptions } from '@temporalio/workflow';
import { QUEUES } from '../src/contracts/values.ts';

const patient = { initialInterval: 200, backoffCoefficient: 2, maximumInterval: 10_000 } as const;

/** One or a few registry transactions. Too short for a heartbeat: what a killed worker had in hand is tried again after this. */
export const quick: ActivityOptions = { taskQueue: QUEUES.control, startToCloseTimeout: 10_000, retry: patient };

/** Reads and writes files of data. Without the heartbeat a dead worker would be noticed after an hour only. */
export const data: ActivityOptions = {
  taskQueue: QUEUES.data,
  startToCloseTimeout: 3_600_000,
  heartbeatTimeout: 10_000,
  retry: patient,
};

/** Watches for as long as a step may last. */
export const watch: ActivityOptions = {
  taskQueue: QUEUES.control,
  startToCloseTimeout: 30 * 86_400_000,
  heartbeatTimeout: 10_000,
  retry: patient,
};

/** Training; the limit comes from the definition. */
export const training = (timeoutMs: number): ActivityOptions => ({
  taskQueue: QUEUES.train,
  startToCloseTimeout: timeoutMs,
  heartbeatTimeout: 6_000,
  retry: patient,
});
