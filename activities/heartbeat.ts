/** Keeps an activity alive in Temporal's eyes while it works, and tells it when to stop. */
import { Context } from '@temporalio/activity';

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
