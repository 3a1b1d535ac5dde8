/** sweep/MODEL…: one monitoring pass over one window of logged predictions. Its window ends at its scheduled time. */
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { proxyActivities, setCurrentDetails, workflowInfo } from '@temporalio/workflow';
import type { SweepActivities } from '../activities/sweep.ts';
import type { SweepInput, SweepResult } from '../src/contracts/messages.ts';
import { data } from './profiles.ts';
import { show } from './visibility.ts';

const { sweepWindow } = proxyActivities<SweepActivities>(data);
const SCHEDULED = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME);

export async function sweep(input: SweepInput): Promise<SweepResult> {
  const info = workflowInfo();
  const scheduled = info.typedSearchAttributes.get(SCHEDULED);
  const windowEndMs = input.windowEndMs ?? scheduled?.getTime() ?? info.startTime.getTime();
  show({ model: input.model });
  const result = await sweepWindow({ model: input.model, windowEndMs });
  setCurrentDetails(`${result.verdict ?? 'no verdict'}: ${result.reason}`);
  show({ outcome: result.verdict ?? 'none' });
  return result;
}
