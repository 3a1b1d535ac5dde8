/** Signals, updates and queries at module scope, under the names that people see and send in Temporal's UI. */
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type * as m from '../src/contracts/messages.ts';

export const dataArrivedSignal = defineSignal<[m.EventKeys]>('dataArrived');
/** Numbers of erasures in the registry: whom they are about never travels. */
export const erasureRequestedSignal = defineSignal<[readonly number[]]>('erasureRequested');

export const eventsArrivedSignal = defineSignal<[m.EventKeys]>('eventsArrived');
export const runAwaitsSignal = defineSignal<[m.RunAwaitsSignal]>('runAwaits');
export const runFinishedSignal = defineSignal<[m.RunFinishedSignal]>('runFinished');
export const rolloutFinishedSignal = defineSignal<[m.RolloutFinishedSignal]>('rolloutFinished');
export const applyDefinitionUpdate = defineUpdate<{ readonly status: 'applied' }, [m.ApplyDefinitionUpdate]>(
  'applyDefinition',
);
export const startRunUpdate = defineUpdate<m.StartRunAnswer, [m.StartRunUpdate]>('startRun');
export const pauseLifecycleUpdate = defineUpdate<{ readonly status: 'paused' }, [m.PauseUpdate]>('pause');
export const resumeLifecycleUpdate = defineUpdate<{ readonly status: 'resumed' }, [m.PauseUpdate]>('resume');
export const rollbackUpdate = defineUpdate<m.RollbackAnswer, [m.RollbackUpdate]>('rollback');

export const approveSignal = defineSignal<[m.DecisionMessage]>('approve');
export const rejectSignal = defineSignal<[m.DecisionMessage]>('reject');
export const supersedeSignal = defineSignal<[m.SupersedeSignal]>('supersede');
export const decideUpdate = defineUpdate<m.DecisionAnswer, [m.DecideUpdate]>('decide');
export const cancelUpdate = defineUpdate<
  { readonly status: 'cancelled' | 'refused'; readonly reason: string },
  [m.CancelUpdate]
>('cancel');

export const fenceSignal = defineSignal<[m.FenceSignal]>('fence');
export const pauseRolloutUpdate = defineUpdate<{ readonly status: 'paused' | 'refused' }, [m.RolloutControlUpdate]>(
  'pause',
);
export const resumeRolloutUpdate = defineUpdate<{ readonly status: 'resumed' | 'refused' }, [m.RolloutControlUpdate]>(
  'resume',
);
export const abortRolloutUpdate = defineUpdate<{ readonly status: 'aborted' | 'refused' }, [m.RolloutControlUpdate]>(
  'abort',
);

export const lifecycleStatusQuery = defineQuery<m.LifecycleStatus>('status');
export const runStatusQuery = defineQuery<m.RunStatus>('status');
export const rolloutStatusQuery = defineQuery<m.RolloutStatus>('status');
export const datasetStatusQuery = defineQuery<{ readonly dataset: string; readonly waiting: number }>('status');
