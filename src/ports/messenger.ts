/** Messages to workflows, with start where the receiver may not run yet. Repeating one is harmless: receivers go by the registry. */
import type { RolloutFinishedSignal, RunAwaitsSignal, RunFinishedSignal } from '../contracts/messages.ts';

export interface Messenger {
  dataArrived(dataset: string, keys: readonly string[]): Promise<void>;
  /** Numbers of erasures in the registry. */
  erasureRequested(dataset: string, erasures: readonly number[]): Promise<void>;
  /** Starts it where it does not run; its number is in the registry. */
  batchRequested(model: string, batch: number): Promise<void>;
  eventsArrived(model: string, keys: readonly string[]): Promise<void>;
  runAwaits(model: string, signal: RunAwaitsSignal): Promise<void>;
  runFinished(model: string, signal: RunFinishedSignal): Promise<void>;
  rolloutFinished(model: string, signal: RolloutFinishedSignal): Promise<void>;
  /** How the workflow's newest run stands; `missing` when there is none. */
  state(workflowId: string): Promise<'running' | 'closed' | 'missing'>;
}
