/** Where a trace begins: the command that publishes. */
import { context, SpanKind } from '@opentelemetry/api';
import type { TracingSettings } from '../settings.ts';
import { inSpan, startTracing, traceparentOf } from './tracing.ts';

const isEvent = (value: unknown): value is Readonly<Record<string, unknown>> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** The events with a traceparent, where they have none of their own. What is no event stays as it is: the gateway says what is wrong. */
function withTraceparent(given: unknown, traceparent: string | undefined): unknown {
  if (traceparent === undefined) return given;
  const one = (event: unknown): unknown =>
    isEvent(event) && event.traceparent === undefined ? { ...event, traceparent } : event;
  return Array.isArray(given) ? given.map(one) : one(given);
}

/** Sends events in a span of their own, or in the trace that TRACEPARENT names; without either they go as they are. */
export async function publishTraced<T>(
  { enabled, traceparent }: TracingSettings,
  given: unknown,
  send: (event: unknown) => Promise<T>,
): Promise<T> {
  if (!enabled) return send(withTraceparent(given, traceparent));
  const tracing = startTracing(true, 'cli');
  try {
    const traceparents = traceparent === undefined ? [] : [traceparent];
    const attributes = { 'refit.events': Array.isArray(given) ? given.length : 1 };
    return await inSpan({ name: 'publish', kind: SpanKind.PRODUCER, traceparents, attributes }, () =>
      send(withTraceparent(given, traceparentOf(context.active()))),
    );
  } finally {
    await tracing.stop();
  }
}
