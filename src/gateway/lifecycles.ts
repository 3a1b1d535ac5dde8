/** Updates to lifecycles, runs and rollouts, with a bound on how long they wait for a worker. */
import { type Client, WithStartWorkflowOperation } from '@temporalio/client';
import { lifecycleStart } from '../adapters/temporal/messenger.ts';
import type * as m from '../contracts/messages.ts';
import type { LifecycleInput } from '../contracts/messages.ts';
import { lifecycleWorkflowId, rolloutWorkflowId, runWorkflowId } from '../domain/ids.ts';
import { asUpdate, UPDATE_TIMEOUT_MS } from './errors.ts';

export function createUpdates(client: Client) {
  const bounded = <T>(what: string, work: () => Promise<T>): Promise<T> =>
    asUpdate(what, () => client.withDeadline(Date.now() + UPDATE_TIMEOUT_MS, work));

  /** A lifecycle is started where it does not run: the update must not depend on who came first. */
  const toLifecycle = <T>(
    model: string,
    update: string,
    argument: object & { readonly requestId?: string },
  ): Promise<T> =>
    bounded(`${update} of ${lifecycleWorkflowId(model)}`, () =>
      client.workflow.executeUpdateWithStart<(input: LifecycleInput) => Promise<void>, T, [object]>(update, {
        args: [argument],
        ...(argument.requestId === undefined ? {} : { updateId: `${update}:${argument.requestId}` }),
        startWorkflowOperation: new WithStartWorkflowOperation<(input: LifecycleInput) => Promise<void>>(
          'lifecycle',
          lifecycleStart(model),
        ),
      }),
    );
  const to = <T>(workflowId: string, update: string, argument: object): Promise<T> =>
    bounded(`${update} of ${workflowId}`, () =>
      client.workflow.getHandle(workflowId).executeUpdate<T, [object]>(update, { args: [argument] }),
    );

  return {
    applyDefinition: (model: string, update: m.ApplyDefinitionUpdate) =>
      toLifecycle<{ readonly status: 'applied' }>(model, 'applyDefinition', update),
    startRun: (model: string, update: m.StartRunUpdate) => toLifecycle<m.StartRunAnswer>(model, 'startRun', update),
    pause: (model: string, update: m.PauseUpdate) =>
      toLifecycle<{ readonly status: string }>(model, 'pause', { ...update }),
    resume: (model: string, update: m.PauseUpdate) =>
      toLifecycle<{ readonly status: string }>(model, 'resume', { ...update }),
    rollback: (model: string, update: m.RollbackUpdate) => toLifecycle<m.RollbackAnswer>(model, 'rollback', update),
    decide: (model: string, run: string, update: m.DecideUpdate) =>
      to<m.DecisionAnswer>(runWorkflowId(model, run), 'decide', update),
    cancel: (model: string, run: string, update: m.CancelUpdate) =>
      to<{ readonly status: string; readonly reason: string }>(runWorkflowId(model, run), 'cancel', update),
    rollout: (model: string, deployment: number, verb: 'pause' | 'resume' | 'abort', update: m.RolloutControlUpdate) =>
      to<{ readonly status: string }>(rolloutWorkflowId(model, deployment), verb, update),
  };
}
export type Updates = ReturnType<typeof createUpdates>;
