/** Spans of the gateway: an event that is taken in, and the message about it to its workflow. */
import { SpanKind } from '@opentelemetry/api';
import { eventKey } from '../domain/ids.ts';
import type { Messenger } from '../ports/messenger.ts';
import type { Registry } from '../ports/registry.ts';
import { EventTraces, traceparentIn } from './events.ts';
import { inSpan, startSpan, traceparentOf } from './tracing.ts';

/** Events of a message that are looked at for their traces. */
const LOOKED_AT = 50;

interface TracedPorts {
  readonly registry: Registry;
  readonly messenger: Messenger;
}

function tracedReceive(registry: Registry, traces: EventTraces): Registry['receive'] {
  return async (batch) => {
    const startTime = new Date();
    const receipts = await registry.receive(batch);
    for (const [index, one] of batch.entries()) {
      if (!('event' in one)) continue;
      const { source, id, type, body, target } = one.event;
      const traceparent = traceparentIn(body);
      if (traceparent === undefined) continue;
      const { topic, partition, offset } = one.origin;
      const { span, within } = startSpan({
        ...{ name: `receive ${topic}`, kind: SpanKind.CONSUMER, traceparents: [traceparent], startTime },
        attributes: {
          ...{ 'messaging.system': 'kafka', 'messaging.destination.name': topic },
          ...{ 'messaging.destination.partition.id': String(partition), 'messaging.kafka.message.offset': offset },
          ...{ 'cloudevents.event_id': id, 'cloudevents.event_source': source, 'cloudevents.event_type': type },
          ...{ [`refit.${target.kind}`]: target.name, 'refit.fate': receipts[index]?.fate ?? 'received' },
        },
      });
      span.end();
      // What follows stands under the span that took it in.
      traces.remember(`event ${eventKey(source, id)}`, traceparentOf(within) ?? traceparent);
    }
    return receipts;
  };
}

/** Messages go out in a span under that of the first event with a trace; the others are linked. */
export function tracedMessenger(messenger: Messenger, traces: EventTraces): Messenger {
  const told = (kind: 'dataset' | 'lifecycle', send: Messenger['dataArrived']): Messenger['dataArrived'] => {
    return async (name, keys) => {
      const traceparents = await traces.ofEvents(keys.slice(0, LOOKED_AT));
      if (traceparents.length === 0) return send(name, keys);
      const attributes = { 'refit.events': keys.length, 'temporal.workflow_id': `${kind}/${name}` };
      return inSpan({ name: `signal ${kind}`, kind: SpanKind.PRODUCER, traceparents, attributes }, () =>
        send(name, keys),
      );
    };
  };
  return {
    ...messenger,
    dataArrived: told('dataset', (name, keys) => messenger.dataArrived(name, keys)),
    eventsArrived: told('lifecycle', (name, keys) => messenger.eventsArrived(name, keys)),
  };
}

/** Ports whose calls show up in the traces of the events that they are about. */
export function tracedPorts<Ports extends TracedPorts>(ports: Ports): Ports {
  const traces = new EventTraces(ports.registry);
  const receive = tracedReceive(ports.registry, traces);
  const registry = new Proxy(ports.registry, {
    get(target, name) {
      if (name === 'receive') return receive;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  return { ...ports, registry, messenger: tracedMessenger(ports.messenger, traces) };
}
