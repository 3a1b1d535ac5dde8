/**
 * OpenTelemetry traces, off unless a collector is named (OTEL_EXPORTER_OTLP_ENDPOINT). A trace starts with the publisher and is carried by
 * the `traceparent` of its event, which the registry keeps: whoever acts on the event later finds it there, so that neither workflows nor
 * messages know of traces, and one goes on over days, crashes and continue-as-new.
 */
import {
  type Attributes,
  type Context,
  context,
  type Link,
  propagation,
  ROOT_CONTEXT,
  type Span,
  type SpanKind,
  SpanStatusCode,
  type TimeInput,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { Resource } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

/** More links than these say nothing more. */
const MOST_LINKS = 32;

export interface Tracing {
  /** Sends what is left. */
  readonly stop: () => Promise<void>;
}

/** For the whole process: the SDK has one global provider. The exporter reads its own OTEL_* variables. */
export function startTracing(enabled: boolean, part: string): Tracing {
  if (!enabled) return { stop: async () => undefined };
  const provider = new NodeTracerProvider({
    resource: new Resource({ 'service.name': `refit-${part}`, 'service.namespace': 'refit' }),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  return {
    stop: async () => {
      await provider.shutdown();
      trace.disable();
      context.disable();
      propagation.disable();
    },
  };
}

const tracer = () => trace.getTracer('refit');

/** The context that a traceparent names; the root for none, or for text that is none. */
export const contextOf = (traceparent: string | undefined): Context =>
  traceparent === undefined ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, { traceparent });

export function traceparentOf(ctx: Context): string | undefined {
  const carrier: { traceparent?: string } = {};
  propagation.inject(ctx, carrier);
  return carrier.traceparent;
}

const linksOf = (traceparents: readonly string[]): Link[] =>
  [...new Set(traceparents)].slice(0, MOST_LINKS).flatMap((one) => {
    const spanContext = trace.getSpanContext(contextOf(one));
    return spanContext ? [{ context: spanContext }] : [];
  });

export interface SpanInput {
  readonly name: string;
  readonly kind: SpanKind;
  /** The first is the parent, the others are linked. */
  readonly traceparents: readonly string[];
  readonly attributes: Attributes;
  readonly startTime?: TimeInput;
}

export function startSpan({ name, kind, traceparents: [parent, ...others], attributes, startTime }: SpanInput): {
  readonly span: Span;
  readonly within: Context;
} {
  const active = context.active();
  // What is done within another span belongs there; an event's own trace is linked then.
  const isWithin = trace.getSpan(active) !== undefined;
  const links = linksOf(isWithin && parent !== undefined ? [parent, ...others] : others);
  const from = isWithin ? active : contextOf(parent);
  const given = startTime === undefined ? {} : { startTime };
  const span = tracer().startSpan(name, { kind, attributes, links, ...given }, from);
  return { span, within: trace.setSpan(from, span) };
}

/** Does the work in a span, which ends with it and tells its failure. */
export async function inSpan<T>(input: SpanInput, work: () => Promise<T>): Promise<T> {
  const { span, within } = startSpan(input);
  try {
    return await context.with(within, work);
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : String(error) });
    throw error;
  } finally {
    span.end();
  }
}
