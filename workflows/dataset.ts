/**
 * dataset/NAME: takes in arrivals one after another, so that versions have an order, and hands each on to the lifecycles
 * subscribed at that time. What it carries is the queue of keys; all else is in the registry.
 */
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { DatasetActivities } from '../activities/dataset.ts';
import type { DatasetInput } from '../src/contracts/messages.ts';
import { dataArrivedSignal, datasetStatusQuery } from './messages.ts';
import { data, quick } from './profiles.ts';

const { ingest } = proxyActivities<DatasetActivities>(data);
const { deliver } = proxyActivities<DatasetActivities>(quick);

export async function dataset(input: DatasetInput & { readonly queue?: readonly string[] }): Promise<void> {
  const queue: string[] = [...(input.queue ?? [])];
  setHandler(dataArrivedSignal, (keys) => {
    for (const key of keys) if (!queue.includes(key)) queue.push(key);
  });
  setHandler(datasetStatusQuery, () => ({ dataset: input.dataset, waiting: queue.length }));
  for (;;) {
    setCurrentDetails(
      queue.length === 0 ? 'Waits for the next arrival.' : `Takes in ${queue[0]}; ${queue.length - 1} more wait.`,
    );
    await condition(() => queue.length > 0 || workflowInfo().continueAsNewSuggested);
    const [key] = queue;
    if (key !== undefined) {
      const result = await ingest.executeWithOptions({ summary: key }, [{ dataset: input.dataset, key }]);
      await deliver({ dataset: input.dataset, key, result });
      queue.shift();
    }
    if (workflowInfo().continueAsNewSuggested && allHandlersFinished()) {
      await continueAsNew<typeof dataset>({ stateVersion: 1, dataset: input.dataset, queue });
    }
  }
}
