/** batch/MODEL/N: scores a version of a dataset file by file. A worker that dies costs the file in hand; the others stay scored. */
import {
  ActivityCancellationType,
  ActivityFailure,
  CancellationScope,
  continueAsNew,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  workflowInfo,
} from '@temporalio/workflow';
import type { BatchActivities } from '../activities/batch.ts';
import type { BatchEnd, BatchInput } from '../src/contracts/messages.ts';
import { rootMessage } from './failure.ts';
import { data, quick } from './profiles.ts';
import { show } from './visibility.ts';

const { planBatch } = proxyActivities<BatchActivities>(quick);
/** What is being written when the workflow is cancelled must be known, to be deleted. */
const whole = { ...data, cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED };
const { joinBatch, failBatch } = proxyActivities<BatchActivities>(whole);

export async function batch(input: BatchInput): Promise<BatchEnd> {
  const request = { model: input.model, batch: input.batch };
  const parts = [...(input.parts ?? [])];

  async function score(): Promise<BatchEnd> {
    const { version, files, ended } = await planBatch(request);
    show({ model: input.model, version });
    if (ended) return ended;
    while (parts.length < files) {
      setCurrentDetails(`${parts.length} of ${files} files are scored by version ${version}.`);
      if (workflowInfo().continueAsNewSuggested) await continueAsNew<typeof batch>({ ...request, parts });
      const { scoreBatchFile } = proxyActivities<BatchActivities>({
        ...whole,
        summary: `file ${parts.length + 1} of ${files}`,
      });
      parts.push(await scoreBatchFile({ ...request, file: parts.length }));
    }
    return joinBatch({ ...request, parts });
  }

  let end: BatchEnd;
  try {
    end = await score();
  } catch (error) {
    const cancelled = isCancellation(error);
    if (!cancelled && !(error instanceof ActivityFailure)) throw error;
    const reason = cancelled ? 'the workflow was cancelled in Temporal' : rootMessage(error);
    end = await CancellationScope.nonCancellable(() => failBatch({ ...request, parts, reason }));
  }
  setCurrentDetails(end.status === 'done' ? `${end.rows} rows in artifact ${end.output}.` : `failed: ${end.reason}`);
  show({ outcome: end.status });
  return end;
}
