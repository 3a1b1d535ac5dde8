/** All activities over one set of ports; a worker takes those of its queues. */
import { createBatchActivities } from './batch.ts';
import { createDatasetActivities } from './dataset.ts';
import { createEraseActivities } from './erase.ts';
import { createEvaluateActivities } from './evaluate.ts';
import { createLifecycleActivities } from './lifecycle.ts';
import { createLookupActivities } from './lookups.ts';
import type { Ports } from './ports.ts';
import { createRolloutActivities } from './rollout.ts';
import { createRunActivities } from './run.ts';
import { createSnapshotActivities } from './snapshot.ts';
import { createSweepActivities } from './sweep.ts';
import { createTrainActivities } from './train.ts';

export function createActivities(ports: Ports) {
  return {
    ...createBatchActivities(ports),
    ...createDatasetActivities(ports),
    ...createEraseActivities(ports),
    ...createEvaluateActivities(ports),
    ...createLifecycleActivities(ports),
    ...createLookupActivities(ports),
    ...createRolloutActivities(ports),
    ...createRunActivities(ports),
    ...createSnapshotActivities(ports),
    ...createSweepActivities(ports),
    ...createTrainActivities(ports),
  };
}
