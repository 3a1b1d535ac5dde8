/** Keeps an activity alive in Temporal's eyes while it works, and tells it when to stop. */
import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity';

/** Heartbeats every two seconds until the work ends; without it a long step would be taken for dead. */
export async function beating<T>(work: () => Promise<T>, details?: () => unknown): Promise<T> {
  const context = Context.current();
  const timer = setInterval(() => context.heartbeat(details?.()), 2_000);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** An attempt that Temporal took for dead must not go on beside the one after it. */
export function stopIfCancelled(): void {
  if (Context.current().cancellationSignal.aborted) throw new CancelledFailure('another attempt does this now');
}

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 10_000;

/**
 * Does within the attempt what an outage may keep from being done: the next attempt would begin with nothing, and do again what came before.
 * Ends with the activity: when that is cancelled, has lapsed or has used up its time.
 */
export async function withinAttempt<T>(what: string, work: () => Promise<T>): Promise<T> {
  const context = Context.current();
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    try {
      return await work();
    } catch (error) {
      if (context.cancellationSignal.aborted || error instanceof ApplicationFailure) throw error;
      context.log.warn(`${what} failed and is tried again in ${pauseMs} ms`, { error });
    }
    await context.sleep(pauseMs);
  }
}
