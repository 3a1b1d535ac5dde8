/** What a failed activity says. */
import { ApplicationFailure } from '@temporalio/workflow';
import type { FAILURES } from '../activities/failures.ts';

const DATA_REFUSED: (typeof FAILURES)['data'] = 'DataRefused';

function rootOf(error: unknown): unknown {
  let found = error;
  while (found instanceof Error && found.cause instanceof Error) found = found.cause;
  return found;
}

/** The deepest message says what happened; the wrappers only say that an activity failed. */
export function rootMessage(error: unknown): string {
  const root = rootOf(error);
  return root instanceof Error ? root.message : String(root);
}

/** Whether the data is at fault, as opposed to the trainer, the model file or the machine. */
export function isDataRefused(error: unknown): boolean {
  const root = rootOf(error);
  return root instanceof ApplicationFailure && root.type === DATA_REFUSED;
}
