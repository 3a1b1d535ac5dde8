/** A run that does its first steps in another order: what an upgrade must never do to runs under way. */
import { proxyActivities } from '@temporalio/workflow';
import type { RunActivities } from '../../../activities/run.ts';
import type { RunInput } from '../../../src/contracts/messages.ts';

const { remind, loadRunSettings } = proxyActivities<RunActivities>({
  startToCloseTimeout: 60_000,
  taskQueue: 'refit-control',
});

export async function run(input: RunInput): Promise<void> {
  const request = { model: input.model, run: input.run, definitionDigest: input.definitionDigest };
  await remind({ ...request, version: 1 });
  await loadRunSettings(request);
}
