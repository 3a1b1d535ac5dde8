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
  // In order of arrival; a key that waits already is not taken in twice.
  const queue = new Set<string>(input.queue);
  setHandler(dataArrivedSignal, (keys) => {
    for (const key of keys) queue.add(key);
  });
  setHandler(datasetStatusQuery, () => ({ dataset: input.dataset, waiting: queue.size }));
  for (;;) {
    setCurrentDetails(
      queue.size === 0 ? 'Waits for the next arrival.' : `Takes in ${[...queue][0]}; ${queue.size - 1} more wait.`,
    );
    await condition(() => queue.size > 0 || workflowInfo().continueAsNewSuggested);
    const [key] = queue;
    if (key !== undefined) {
      const result = await ingest.executeWithOptions({ summary: key }, [{ dataset: input.dataset, key }]);
      await deliver({ dataset: input.dataset, key, result });
      queue.delete(key);
    }
    if (workflowInfo().continueAsNewSuggested && allHandlersFinished()) {
      await continueAsNew<typeof dataset>({ stateVersion: 1, dataset: input.dataset, queue: [...queue] });
    }
  }
}
