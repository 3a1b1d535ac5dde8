/** Spans of activities: each stands in the trace of the event that it is about, or that opened its run or deployment. */
import { SpanKind } from '@opentelemetry/api';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import type { EventTraces } from './events.ts';
import { inSpan } from './tracing.ts';

/** Events of an activity that are looked at for their traces. */
const LOOKED_AT = 50;

const record = (value: unknown): Readonly<Record<string, unknown>> =>
  value !== null && typeof value === 'object' ? (value as Readonly<Record<string, unknown>>) : {};

function keysIn(argument: Readonly<Record<string, unknown>>): readonly string[] {
  const lists = [[argument.key], argument.eventKeys, argument.keys, argument.fates].filter(Array.isArray);
  const keys = lists.flatMap((list: readonly unknown[]) =>
    list.slice(0, LOOKED_AT).map((one) => record(one).key ?? one),
  );
  return keys.filter((one) => typeof one === 'string');
}

/** What the arguments of an activity say it is about. A run's events are linked to it when it is opened. */
async function tracesOf(traces: EventTraces, argument: Readonly<Record<string, unknown>>): Promise<readonly string[]> {
  const keys = keysIn(argument);
  if (keys.length > 0) return traces.ofEvents(keys);
  const { run, model, deployment } = argument;
  const one =
    typeof run === 'string'
      ? await traces.ofRun(run)
      : typeof model === 'string' && typeof deployment === 'number'
        ? await traces.ofDeployment(model, deployment)
        : undefined;
  return one === undefined ? [] : [one];
}

const NAMED = ['model', 'run', 'deployment', 'dataset'] as const;

export function tracedActivities(traces: EventTraces): ActivityInterceptorsFactory {
  return ({ info }) => ({
    inbound: {
      async execute(input, next) {
        const given = record(input.args[0]);
        // A traffic plan names its model and deployment itself.
        const argument = { ...record(given.plan), ...given };
        const traceparents = await tracesOf(traces, argument);
        // What no traced event is behind, such as the inspection of slots every 15 minutes, has no trace.
        if (traceparents.length === 0) return next(input);
        const about = NAMED.flatMap((name) => {
          const value = argument[name];
          return typeof value === 'string' || typeof value === 'number' ? [[`refit.${name}`, value] as const] : [];
        });
        const attributes = {
          ...Object.fromEntries(about),
          ...{ 'temporal.workflow_id': info.workflowExecution?.workflowId ?? '', 'temporal.attempt': info.attempt },
        };
        const span = { name: `activity ${info.activityType}`, kind: SpanKind.INTERNAL, traceparents, attributes };
        return inSpan(span, () => next(input));
      },
    },
  });
}
