/** From a record or an HTTP body to an event, or to the reason why it is none. Pure but for hashing. */
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import {
  dataArrivedSchema,
  driftDetectedSchema,
  type Envelope,
  EVENT_TYPES,
  envelopeSchema,
  identitySchema,
  labelsArrivedSchema,
  MAX_EVENT_BYTES,
  TOPICS,
  type TopicName,
  topicOfType,
} from '../contracts/events.ts';
import { canonicalJson } from '../domain/canonical.ts';
import { isKeepable } from '../domain/texts.ts';
import type { BusRecord } from '../ports/bus.ts';
import type { Identity, IncomingEvent, Origin } from '../ports/registry/events.ts';

export interface Malformed {
  readonly reason:
    | 'oversized'
    | 'tombstone'
    | 'encoding'
    | 'content_type'
    | 'json'
    | 'envelope'
    | 'type'
    | 'data'
    | 'topic';
  readonly detail: string;
  /** Of the event that it was to be, where both could be read. */
  readonly identity?: Identity;
}
export type Intake = { readonly event: IncomingEvent } | { readonly malformed: Malformed };
/** What a record says besides its event: that it mends a dead letter. */
export interface Attempt {
  readonly attempt?: number;
  readonly retryOf?: Origin;
}

export const ATTEMPT_HEADER = 'refit-attempt';
export const RETRY_OF_HEADER = 'refit-retry-of';

const no = (reason: Malformed['reason'], detail: string, identity?: Identity): { readonly malformed: Malformed } => ({
  malformed: { reason, detail: detail.slice(0, 500), ...(identity === undefined ? {} : { identity }) },
});

function issues(error: z.ZodError): string {
  return error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.map(String).join('.') || 'event'}: ${issue.message}`)
    .join('; ');
}

/** Deeper nesting than any event needs; a parser of someone else may not survive it. */
const MAX_DEPTH = 32;

/** What is wrong with JSON that could be parsed; null when nothing is. */
export function contentProblem(value: unknown, depth = 0): string | null {
  if (typeof value === 'string') return isKeepable(value) ? null : 'a text holds NUL or half of a surrogate pair';
  if (value === null || typeof value !== 'object') return null;
  if (depth > MAX_DEPTH) return `nested deeper than ${MAX_DEPTH}`;
  for (const [name, item] of Object.entries(value)) {
    const problem = contentProblem(name) ?? contentProblem(item, depth + 1);
    if (problem !== null) return problem;
  }
  return null;
}

/** As CloudEvents wants attributes. */
const CONTROL = /\p{Cc}/u;

function identityOf(value: unknown): Identity | undefined {
  const parsed = identitySchema.safeParse(value);
  if (!parsed.success || contentProblem(parsed.data) !== null) return undefined;
  const { source, id } = parsed.data;
  return /\s/.test(source) || CONTROL.test(id) ? undefined : { source, id };
}

/** Those that are taken in; others are only sent. */
const KNOWN_TYPES = Object.values(EVENT_TYPES).filter((type) => topicOfType(type) !== undefined);

function targetOf(envelope: Envelope): Pick<IncomingEvent, 'target' | 'labels'> | Malformed {
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
      const labels = data.data.labels.map(({ id, label, time = envelope.time }) => ({
        ...{ id, label: JSON.stringify(label) },
        ...(time === undefined ? {} : { time }),
      }));
      return { target: { kind: 'model', name: data.data.model }, labels };
    }
    default:
      return {
        reason: 'type',
        detail: `unknown type ${envelope.type}; known are ${KNOWN_TYPES.join(', ')}`,
      };
  }
}

/** Checks a parsed CloudEvent. */
export function intakeEvent(value: unknown): Intake {
  const identity = identityOf(value);
  const problem = contentProblem(value);
  if (problem !== null) return no('json', problem, identity);
  const envelope = envelopeSchema.safeParse(value);
  if (!envelope.success) return no('envelope', issues(envelope.error), identity);
  const { source, id, type, subject, time, data } = envelope.data;
  if (/\s/.test(source)) return no('envelope', 'source: a URI reference has no white space');
  for (const [name, text] of Object.entries({ source, id, type, subject: subject ?? '' }))
    if (CONTROL.test(text)) return no('envelope', `${name}: control characters are not allowed`, identity);
  const target = targetOf(envelope.data);
  if ('reason' in target) return no(target.reason, target.detail, identity);
  try {
    const digest = createHash('sha256').update(canonicalJson({ type, subject, data })).digest('hex');
    const event = { source, id, type, subject: subject ?? null, time: time ?? null, digest, ...target };
    return { event: { ...event, body: canonicalJson(value) } };
  } catch (error) {
    // A number beyond what JSON can say parses as infinity.
    return no('json', error instanceof Error ? error.message : String(error), identity);
  }
}

/** Fatal decoding: bytes that are no UTF-8 are not guessed at. */
const utf8 = new TextDecoder('utf-8', { fatal: true });

export function parsed(bytes: Buffer, what: string): { readonly json: unknown } | { readonly malformed: Malformed } {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return no('encoding', `${what} is not UTF-8`);
  }
  try {
    return { json: JSON.parse(text) };
  } catch (error) {
    return no('json', `${what} is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

interface ContentType {
  readonly media: string;
  readonly charset: string | null;
}
function contentTypeOf(header: string | undefined): ContentType | null {
  if (header === undefined) return null;
  const [media = '', ...parameters] = header.split(';').map((part) => part.trim().toLowerCase());
  const charset = parameters.find((one) => one.startsWith('charset='));
  return { media, charset: charset?.slice('charset='.length).replaceAll('"', '') ?? null };
}
const isJson = ({ media }: ContentType): boolean => media === 'application/json' || media.endsWith('+json');
const isUtf8 = ({ charset }: ContentType): boolean => charset === null || /^(utf-?8|us-ascii)$/.test(charset);

type RawRecord = Pick<BusRecord, 'value' | 'headers' | 'illegibleHeaders'>;
const CE = 'ce_';

/** The attributes of the binary mode stand in headers `ce_…`; a record that has none of them is in structured mode. */
function binaryAttributes({ headers }: RawRecord): Readonly<Record<string, string>> | null {
  // The content type says so of a structured one, whatever else stands in its headers.
  if (contentTypeOf(headers['content-type'])?.media.startsWith('application/cloudevents')) return null;
  const attributes = Object.entries(headers).filter(([name]) => name.startsWith(CE));
  return attributes.length === 0
    ? null
    : Object.fromEntries(attributes.map(([name, text]) => [name.slice(CE.length), text]));
}

/** The event as one JSON value, of either mode. */
function eventOf(record: RawRecord): { readonly json: unknown } | { readonly malformed: Malformed } {
  const { value, headers } = record;
  const attributes = binaryAttributes(record);
  const identity = attributes === null ? undefined : identityOf(attributes);
  if (value === null) return no('tombstone', 'the record has no value', identity);
  if (value.length > MAX_EVENT_BYTES)
    return no('oversized', `${value.length} bytes, at most ${MAX_EVENT_BYTES}`, identity);
  const illegible = (record.illegibleHeaders ?? []).filter((name) => name.startsWith(CE) || name === 'content-type');
  if (illegible.length > 0) return no('encoding', `header ${illegible.join(', ')} is not UTF-8`);
  const given = headers['content-type'];
  const type = contentTypeOf(given);
  if (type && !isUtf8(type)) return no('content_type', `${given}: only UTF-8 is taken`, identity);
  if (type?.media.startsWith('application/cloudevents-batch'))
    return no('content_type', `${given}: a record holds one event; batches are taken over HTTP`);
  if (type && !isJson(type)) return no('content_type', `${given}: only JSON is taken`, identity);
  if (attributes === null) return parsed(value, 'the event');
  const data = parsed(value, 'the data of this binary-mode event');
  if ('malformed' in data) return no(data.malformed.reason, data.malformed.detail, identity);
  return { json: { ...attributes, datacontenttype: given ?? 'application/json', data: data.json } };
}

/** That a record mends a dead letter, and which. What cannot be read says nothing: an event is an event without it. */
export function attemptOf(headers: BusRecord['headers']): Attempt {
  const attempt = /^[1-9]\d{0,5}$/.test(headers[ATTEMPT_HEADER] ?? '') ? Number(headers[ATTEMPT_HEADER]) : 1;
  const retryOf = parseOrigin(headers[RETRY_OF_HEADER] ?? '');
  return attempt > 1 && retryOf ? { attempt, retryOf } : {};
}

export const originText = ({ topic, partition, offset }: Origin): string => `${topic}/${partition}/${offset}`;

/** `topic/partition/offset`, as it is shown; undefined for any other text. */
export function parseOrigin(text: string): (Origin & { readonly topic: TopicName }) | undefined {
  const match = /^([a-z-]+)\/(\d{1,9})\/(\d{1,19})$/.exec(text);
  const topic = Object.values(TOPICS).find((one) => one === match?.[1]);
  return topic === undefined || !match ? undefined : { topic, partition: Number(match[2]), offset: match[3] ?? '' };
}

/** A record of the data, labels or drift topic. The type must belong to the topic, or a consumer elsewhere would miss it. */
export function intakeRecord(record: Pick<BusRecord, 'topic'> & RawRecord): Intake {
  const event = eventOf(record);
  if ('malformed' in event) return event;
  const intake = intakeEvent(event.json);
  if ('malformed' in intake) return intake;
  const { type, source, id } = intake.event;
  const topic = topicOfType(type);
  if (topic !== record.topic)
    return no('topic', `${type} belongs on topic ${topic}, not ${record.topic}`, { source, id });
  return intake;
}
