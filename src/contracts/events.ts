/** CloudEvents 1.0 as Refit takes and sends them: envelope, types, topics and the data of each type. */
import { z } from 'zod';
import { DATA_FORMATS, VERDICTS } from './values.ts';

export const NAME_PATTERN = /^[a-z0-9-]{1,63}$/;
export const nameSchema = z.string().regex(NAME_PATTERN, 'a name of 1 to 63 characters from a-z, 0-9 and -');

/** Largest record that the gateway takes, in bytes. */
export const MAX_EVENT_BYTES = 262_144;

export const EVENT_TYPES = {
  dataArrived: 'dev.refit.data.arrived.v1',
  labelsArrived: 'dev.refit.labels.arrived.v1',
  driftDetected: 'dev.refit.drift.detected.v1',
  predictionLogged: 'dev.refit.prediction.logged.v1',
} as const;

export const TOPICS = {
  data: 'data',
  labels: 'labels',
  drift: 'drift',
  predictions: 'predictions',
  lifecycle: 'lifecycle',
  notifications: 'notifications',
  deadLetter: 'dead-letter',
} as const;
export type TopicName = (typeof TOPICS)[keyof typeof TOPICS];

export const LIFECYCLE_EVENTS = [
  'run.started',
  'run.finished',
  'approval.requested',
  'approval.decided',
  'version.registered',
  'rollout.step',
  'version.promoted',
  'version.rolledback',
  'alert.raised',
] as const;
export type LifecycleEvent = (typeof LIFECYCLE_EVENTS)[number];

const isoTime = z.iso.datetime({ offset: true });

/** Without U+0000, which not every registry can store: two ids that differ in nothing else must not become one. */
const identityText = (most: number) =>
  z
    .string()
    .min(1)
    .max(most)
    .regex(/^[^\0]*$/, 'a text without U+0000');

/** What an event is known by. */
export const identitySchema = z.object({
  source: identityText(512),
  id: identityText(256),
});

export const envelopeSchema = z.looseObject({
  specversion: z.literal('1.0'),
  id: identitySchema.shape.id,
  source: identitySchema.shape.source,
  type: z.string().min(1).max(256),
  subject: z.string().min(1).max(512).optional(),
  time: isoTime.optional(),
  datacontenttype: z.string().max(128).optional(),
  correlationid: z.string().max(256).optional(),
  causationid: z.string().max(256).optional(),
  traceparent: z.string().max(64).optional(),
  data: z.unknown(),
});
export type Envelope = z.infer<typeof envelopeSchema>;

export const dataArrivedSchema = z.object({
  dataset: nameSchema,
  uris: z.array(z.string().min(1).max(2048)).min(1).max(1000),
  partition: z.string().min(1).max(256).optional(),
  format: z.enum(DATA_FORMATS).optional(),
  sha256: z.array(z.string().regex(/^[0-9a-f]{64}$/)).optional(),
  rows: z.int().nonnegative().optional(),
});
export type DataArrived = z.infer<typeof dataArrivedSchema>;

export const labelsArrivedSchema = z.object({
  model: nameSchema,
  labels: z
    .array(
      z.object({
        id: z.string().min(1).max(512),
        label: z.union([z.number(), z.string().max(512), z.boolean()]),
        time: isoTime.optional(),
      }),
    )
    .min(1)
    .max(5_000),
});

export const driftDetectedSchema = z.object({
  model: nameSchema,
  version: z.int().positive().optional(),
  kind: z.enum(['data', 'prediction', 'concept']),
  window: z.object({ start: isoTime, end: isoTime }),
  features: z
    .array(
      z.object({
        name: z.string(),
        test: z.string(),
        score: z.number(),
        pValue: z.number().optional(),
        threshold: z.number(),
      }),
    )
    .max(1_000)
    .default([]),
  verdict: z.enum(VERDICTS).optional(),
  reportUri: z.string().optional(),
});
export type DriftDetected = z.infer<typeof driftDetectedSchema>;

/** One row of the prediction log, as it stands on the topic and, flattened, in the sink's Parquet files. */
export const predictionSchema = z.object({
  model: nameSchema,
  version: z.int().positive(),
  deployment: z.int().nonnegative(),
  role: z.enum(['champion', 'canary', 'shadow']),
  requestId: z.string(),
  row: z.int().nonnegative(),
  id: z.string().optional(),
  time: isoTime,
  source: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
  output: z.array(z.number()),
  latencyMs: z.number(),
  error: z.string().optional(),
});
export type Prediction = z.infer<typeof predictionSchema>;

/** Which topic an event type belongs to; undefined for a type that Refit does not know. */
export function topicOfType(type: string): 'data' | 'labels' | 'drift' | undefined {
  switch (type) {
    case EVENT_TYPES.dataArrived:
      return TOPICS.data;
    case EVENT_TYPES.labelsArrived:
      return TOPICS.labels;
    case EVENT_TYPES.driftDetected:
      return TOPICS.drift;
    default:
      return undefined;
  }
}
