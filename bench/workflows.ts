/** What Refit's workflows are compared with: the least that does as many durable acts. */
import { condition, defineQuery, defineSignal, proxyActivities, setHandler } from '@temporalio/workflow';
import type { WriteActivities } from './writes.ts';

const { write } = proxyActivities<WriteActivities>({ startToCloseTimeout: 20_000, taskQueue: 'bench' });

export const keySignal = defineSignal<[string]>('key');
export const handledQuery = defineQuery<number>('handled');

/** Counts the signals that it gets. */
export async function counting(): Promise<void> {
  let handled = 0;
  setHandler(keySignal, () => {
    handled += 1;
  });
  setHandler(handledQuery, () => handled);
  await condition(() => false);
}

/** So many activities, one after another. */
export async function writing(activities: number): Promise<void> {
  for (let index = 0; index < activities; index += 1) await write(index);
}
