/** From a record or an HTTP body to an event, or to the reason why it is none. Pure but for hashing. */
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import {
  dataArrivedSchema,
  driftDetectedSchema,
  type Envelope,
  EVENT_TYPES,
  envelopeSchema,
  labelsArrivedSchema,
  MAX_EVENT_BYTES,
  topicOfType,
} from '../contracts/events.ts';
import { canonicalJson } from '../domain/canonical.ts';
import type { BusRecord } from '../ports/bus.ts';
import type { IncomingEvent } from '../ports/registry.ts';

export interface Malformed {
  readonly reason: 'oversized' | 'tombstone' | 'encoding' | 'json' | 'envelope' | 'type' | 'data' | 'topic';
  readonly detail: string;
}
export type Intake = { readonly event: IncomingEvent } | { readonly malformed: Malformed };

const no = (reason: Malformed['reason'], detail: string): { readonly malformed: Malformed } => ({
  malformed: { reason, detail: detail.slice(0, 500) },
});

function issues(error: z.ZodError): string {
  return error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.map(String).join('.') || 'event'}: ${issue.message}`)
    .join('; ');
}

/** Deeper nesting than any event needs; a parser of someone else may not survive it. */
const MAX_DEPTH = 32;
function depthOf(value: unknown, depth = 0): number {
  if (value === null || typeof value !== 'object' || depth > MAX_DEPTH) return depth;
  return Object.values(value).reduce<number>((deepest, item) => Math.max(deepest, depthOf(item, depth + 1)), depth);
}

function targetOf(envelope: Envelope): Pick<IncomingEvent, 'target' | 'labels'> | Malformed {
  const at = envelope.time ?? new Date(0).toISOString();
  switch (envelope.type) {
    case EVENT_TYPES.dataArrived: {
      const data = dataArrivedSchema.safeParse(envelope.data);
      if (!data.success) return { reason: 'data', detail: issues(data.error) };
      return { target: { kind: 'dataset', name: data.data.dataset } };
    }
    case EVENT_TYPES.driftDetected: {
      const data = driftDetectedSchema.safeParse(envelope.data);
      if (!data.success) return { reason: 'data', detail: issues(data.error) };
      return { target: { kind: 'model', name: data.data.model } };
    }
    case EVENT_TYPES.labelsArrived: {
      const data = labelsArrivedSchema.safeParse(envelope.data);
      if (!data.success) return { reason: 'data', detail: issues(data.error) };
      const labels = data.data.labels.map((label) => ({
        id: label.id,
        label: JSON.stringify(label.label),
        time: label.time ?? at,
      }));
      return { target: { kind: 'model', name: data.data.model }, labels };
    }
    default:
      return {
        reason: 'type',
        detail: `unknown type ${envelope.type}; known are ${Object.values(EVENT_TYPES).slice(0, 3).join(', ')}`,
      };
  }
}

/** Checks a parsed CloudEvent. */
export function intakeEvent(value: unknown): Intake {
  if (depthOf(value) > MAX_DEPTH) return no('json', `nested deeper than ${MAX_DEPTH}`);
  const envelope = envelopeSchema.safeParse(value);
  if (!envelope.success) return no('envelope', issues(envelope.error));
  const { source, id, type, subject, time, data } = envelope.data;
  if (/\s/.test(source)) return no('envelope', 'source: a URI reference has no white space');
  const target = targetOf(envelope.data);
  if ('reason' in target) return { malformed: target };
  const digest = createHash('sha256').update(canonicalJson({ type, subject, data })).digest('hex');
  return {
    event: {
      source,
      id,
      type,
      subject: subject ?? null,
      time: time ?? null,
      digest,
      body: canonicalJson(value),
      ...target,
    },
  };
}

/** Fatal decoding: bytes that are no UTF-8 are not guessed at. */
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Parses text and checks the event that it holds. */
export function intakeText(bytes: Buffer): Intake {
  if (bytes.length > MAX_EVENT_BYTES) return no('oversized', `${bytes.length} bytes, at most ${MAX_EVENT_BYTES}`);
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return no('encoding', 'not UTF-8');
  }
  try {
    return intakeEvent(JSON.parse(text));
  } catch (error) {
    return no('json', error instanceof Error ? error.message : String(error));
  }
}

/** CloudEvents attributes of the binary mode stand in headers `ce_…`. */
function binaryEnvelope(headers: BusRecord['headers'], value: Buffer): Buffer | Malformed {
  const attributes = Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => name.startsWith('ce_'))
      .map(([name, text]) => [name.slice(3), text]),
  );
  try {
    const data: unknown = JSON.parse(utf8.decode(value));
    return Buffer.from(
      JSON.stringify({ ...attributes, datacontenttype: headers['content-type'] ?? 'application/json', data }),
    );
  } catch (error) {
    return {
      reason: 'json',
      detail: `the data of a binary-mode event is no JSON: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}

/** A record of the data, labels or drift topic. The type must belong to the topic, or a consumer elsewhere would miss it. */
export function intakeRecord(record: Pick<BusRecord, 'topic' | 'value' | 'headers'>): Intake {
  if (record.value === null) return no('tombstone', 'the record has no value');
  if (record.value.length > MAX_EVENT_BYTES)
    return no('oversized', `${record.value.length} bytes, at most ${MAX_EVENT_BYTES}`);
  let bytes = record.value;
  if (record.headers.ce_specversion !== undefined) {
    const composed = binaryEnvelope(record.headers, bytes);
    if ('reason' in composed) return { malformed: composed };
    bytes = composed;
  }
  const intake = intakeText(bytes);
  if ('malformed' in intake) return intake;
  const topic = topicOfType(intake.event.type);
  if (topic !== record.topic) return no('topic', `${intake.event.type} belongs on topic ${topic}, not ${record.topic}`);
  return intake;
}
