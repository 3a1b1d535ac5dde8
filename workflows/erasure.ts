/** An erasure, one slice at a time: between two of them arrivals are taken in, for only the data itself has to be at rest. */
import { proxyActivities } from '@temporalio/workflow';
import type { EraseActivities } from '../activities/erase.ts';
import type { ErasureProgress, ErasureSlice } from '../src/contracts/messages.ts';
import { advanced, begun } from '../src/domain/erasure.ts';
import { data } from './profiles.ts';

/** All files of all versions are looked through in one go: as long as it beats, it works. */
const whole = { ...data, startToCloseTimeout: 7 * 86_400_000 };

/** Where it stands after the next slice, from null at its beginning; null where it is over. */
export async function eraseSlice(
  dataset: string,
  erasure: number,
  progress: ErasureProgress | null,
): Promise<ErasureProgress | null> {
  const request = { dataset, erasure };
  const summary = `erasure ${erasure}${progress === null ? '' : `, ${progress.step}`}`;
  if (progress === null) {
    const { eraseData } = proxyActivities<EraseActivities>({ ...whole, summary });
    const erased = await eraseData(request);
    return erased && begun(erasure, erased);
  }
  const activities = proxyActivities<EraseActivities>({ ...data, summary });
  const { step, idColumn, after, tally } = progress;
  if (step === 'finish') return activities.finishErasure({ ...request, tally });
  const slices: Readonly<Record<typeof step, () => Promise<ErasureSlice | null>>> = {
    snapshots: () => activities.eraseSnapshots({ ...request, idColumn, after }),
    bytes: () => activities.deleteErasedBytes(request),
    predictions: () => activities.erasePredictions({ ...request, idColumn, after }),
    batches: () => activities.eraseBatches({ ...request, idColumn, after }),
  };
  const slice = await slices[step]();
  return slice && advanced({ ...progress, step }, slice);
}
