/** Waiting for a condition, never for a time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { StackError } from './errors.ts';

const POLL_MS = 50;

export interface WaitOptions {
  readonly what: string;
  readonly timeoutMs: number;
  /** Checked between two tries; throws when waiting on has become pointless. */
  readonly abort?: () => void;
}

/** The first defined answer. A throwing try counts as 'not yet', and the last one is told when time is up. */
export async function waitFor<T>(probe: () => Promise<T | undefined>, options: WaitOptions): Promise<T> {
  const deadlineMs = Date.now() + options.timeoutMs;
  let last = '';
  for (;;) {
    options.abort?.();
    try {
      const answer = await probe();
      if (answer !== undefined) return answer;
    } catch (error) {
      last = `: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (Date.now() > deadlineMs) {
      throw new StackError(`${options.what} was not ready within ${options.timeoutMs / 1000} s${last}`);
    }
    await sleep(POLL_MS);
  }
}
