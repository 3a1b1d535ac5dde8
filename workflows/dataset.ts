/**
 * dataset/NAME: takes in arrivals one after another, so that versions have an order, and hands each on to the lifecycles
 * subscribed at that time. What waits is in the registry: after a continue-as-new, or where a person ended it, the queue is read from there.
 */
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { DatasetActivities } from '../activities/dataset.ts';
import type { EraseActivities } from '../activities/erase.ts';
import type { LookupActivities } from '../activities/lookups.ts';
import type { DatasetInput, ErasureProgress } from '../src/contracts/messages.ts';
import { eraseSlice } from './erasure.ts';
import { dataArrivedSignal, datasetStatusQuery, erasureRequestedSignal } from './messages.ts';
import { data, quick } from './profiles.ts';

const { ingest } = proxyActivities<DatasetActivities>(data);
const { eraseRows } = proxyActivities<EraseActivities>(data);
const { refreshLookups } = proxyActivities<LookupActivities>(data);
const { deliver, undelivered } = proxyActivities<DatasetActivities>(quick);

/** Keys of arrivals in one answer: keeps payloads far below 2 MB. */
const PAGE = 2_000;

export async function dataset(input: DatasetInput & { readonly queue?: readonly string[] }): Promise<void> {
  // In order of arrival; a key that waits already is not taken in twice.
  const queue = new Set<string>(input.queue);
  setHandler(dataArrivedSignal, (keys) => {
    for (const key of keys) queue.add(key);
  });
  /** Taken before arrivals: a person waits for them. */
  const erasures = new Set<number>(input.erasures);
  let erasing: ErasureProgress | null = input.erasing ?? null;
  setHandler(erasureRequestedSignal, (numbers) => {
    for (const number of numbers) erasures.add(number);
  });
  setHandler(datasetStatusQuery, () => ({ dataset: input.dataset, waiting: queue.size }));
  // Histories of 0.1.0 carry their queue along.
  if (input.queue === undefined && patched('queue-from-registry')) {
    const waiting: string[] = [];
    for (let after: string | null = null; ; after = waiting.at(-1) ?? null) {
      const keys: readonly string[] = await undelivered({ dataset: input.dataset, after, limit: PAGE });
      waiting.push(...keys);
      if (keys.length < PAGE) break;
    }
    // What came meanwhile came later.
    const early = [...queue];
    queue.clear();
    for (const key of [...waiting, ...early]) queue.add(key);
  }
  /** What histories of releases before slices did. */
  async function eraseWhole(): Promise<void> {
    for (const erasure of erasures) {
      setCurrentDetails(`Erases the rows of request ${erasure}; ${queue.size} arrivals wait.`);
      await eraseRows.executeWithOptions({ summary: `erasure ${erasure}` }, [{ dataset: input.dataset, erasure }]);
      if (patched('keyed-stores')) await refreshLookups({ dataset: input.dataset });
      erasures.delete(erasure);
    }
  }
  for (;;) {
    setCurrentDetails(
      queue.size === 0 ? 'Waits for the next arrival.' : `Takes in ${[...queue][0]}; ${queue.size - 1} more wait.`,
    );
    await condition(() => queue.size > 0 || erasures.size > 0 || workflowInfo().continueAsNewSuggested);
    const erasure = erasing?.erasure ?? [...erasures][0];
    if (erasure !== undefined && patched('erasure-in-slices')) {
      setCurrentDetails(
        `Erases the rows of request ${erasure}${erasing === null ? '' : `: ${erasing.step}`}; ${queue.size} arrivals wait.`,
      );
      erasing = await eraseSlice(input.dataset, erasure, erasing);
      // Keyed stores lose the rows together with the data, not after the log of predictions.
      if (erasing?.step === 'predictions' && erasing.after === null) await refreshLookups({ dataset: input.dataset });
      if (erasing === null) erasures.delete(erasure);
    } else {
      await eraseWhole();
    }
    const [key] = queue;
    if (key !== undefined) {
      const result = await ingest.executeWithOptions({ summary: key }, [{ dataset: input.dataset, key }]);
      await deliver({ dataset: input.dataset, key, result });
      // After the delivery: a run reads the data itself, only serving needs the keyed stores.
      if (result.status === 'version' && patched('keyed-stores')) await refreshLookups({ dataset: input.dataset });
      queue.delete(key);
    }
    if (workflowInfo().continueAsNewSuggested && allHandlersFinished()) {
      await continueAsNew<typeof dataset>({
        ...{ stateVersion: 1, dataset: input.dataset },
        ...(erasures.size > 0 ? { erasures: [...erasures] } : {}),
        ...(erasing === null ? {} : { erasing }),
      });
    }
  }
}
