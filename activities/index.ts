/** All activities over one set of ports; a worker takes those of its queues. */
import { createBatchActivities } from './batch.ts';
import { createDatasetActivities } from './dataset.ts';
import { createEraseActivities } from './erase.ts';
import { createEvaluateActivities } from './evaluate.ts';
import { endedByData } from './failures.ts';
import { createLifecycleActivities } from './lifecycle.ts';
import { createLookupActivities } from './lookups.ts';
import type { Ports } from './ports.ts';
import { createRolloutActivities } from './rollout.ts';
import { createRunActivities } from './run.ts';
import { createSnapshotActivities } from './snapshot.ts';
import { createSweepActivities } from './sweep.ts';
import { createTrainActivities } from './train.ts';

export function createActivities(ports: Ports) {
  const { evaluateRun, registerVersion } = createEvaluateActivities(ports);
  const { sweepWindow } = createSweepActivities(ports);
  return {
    ...createBatchActivities(ports),
    ...createDatasetActivities(ports),
    ...createEraseActivities(ports),
    evaluateRun: endedByData(evaluateRun),
    registerVersion: endedByData(registerVersion),
    ...createLifecycleActivities(ports),
    ...createLookupActivities(ports),
    ...createRolloutActivities(ports),
    ...createRunActivities(ports),
    ...createSnapshotActivities(ports),
    sweepWindow: endedByData(sweepWindow),
    ...createTrainActivities(ports),
  };
}
