/**
 * What others send when data has come: an object of S3 was created, an asset of Airflow was updated. Read into one shape, whoever sent it. Pure.
 *
 * S3's own message has `Records`; MinIO and versitygw send the same with other words for the event. EventBridge wraps one object in `detail`, SNS
 * wraps the message in a text. Airflow's asset events come one by one, or as the API lists them.
 */
import { z } from 'zod';

export interface ObjectCreated {
  readonly kind: 's3';
  readonly bucket: string;
  readonly key: string;
  /** What names this version of the object: the same for each delivery of the notification. */
  readonly version: readonly string[];
  readonly time: string | null;
}
export interface AssetUpdated {
  readonly kind: 'airflow';
  readonly uri: string | null;
  readonly name: string | null;
  readonly version: readonly string[];
  readonly time: string | null;
  /** The whole event, for templates. */
  readonly fields: Readonly<Record<string, unknown>>;
}
export type Notice = ObjectCreated | AssetUpdated;

export type Reading =
  | {
      readonly notices: readonly Notice[];
      /** What was read and says nothing of new data, in words. */
      readonly passed: readonly string[];
    }
  | { readonly problem: string };

const text = z.string().max(4_096);
const s3Object = z.object({
  key: text.min(1),
  eTag: text.optional(),
  etag: text.optional(),
  versionId: text.nullish(),
  'version-id': text.nullish(),
  sequencer: text.optional(),
});
const s3Record = z.object({
  eventName: text.min(1),
  eventTime: text.optional(),
  s3: z.object({ bucket: z.object({ name: text.min(1) }), object: s3Object }),
});
const s3Message = z.object({ Records: z.array(s3Record).min(1).max(1_000) });
const s3Test = z.object({ Event: z.literal('s3:TestEvent') });
const bridge = z.object({
  source: z.literal('aws.s3'),
  'detail-type': text,
  time: text.optional(),
  detail: z.object({ bucket: z.object({ name: text.min(1) }), object: s3Object }),
});
const wrapped = z.object({ Type: z.literal('Notification'), Message: z.string().max(262_144) });
const asset = z
  .looseObject({
    id: z.union([z.int(), text]).optional(),
    uri: text.nullish(),
    name: text.nullish(),
    timestamp: text,
    source_dag_id: text.nullish(),
    source_task_id: text.nullish(),
    source_run_id: text.nullish(),
    source_map_index: z.int().nullish(),
  })
  .refine(({ uri, name }) => (uri ?? name ?? '') !== '', { message: 'uri or name of the asset' });
const assets = z.object({ asset_events: z.array(asset).min(1).max(1_000) });

type S3Object = z.infer<typeof s3Object>;

/** Without what a server leaves out or fills with nothing. */
const isSaid = (value: string | null | undefined): value is string =>
  value !== undefined && value !== null && value !== '' && value !== 'null';

function versionOf(object: S3Object): readonly string[] {
  const version = object.versionId ?? object['version-id'];
  if (isSaid(version)) return ['version', version];
  return ['etag', object.eTag ?? object.etag ?? '', object.sequencer ?? ''];
}

/** Keys in `Records` are encoded as in a form. */
function decodedKey(key: string): string | undefined {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

const issues = (error: z.ZodError): string =>
  error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.map(String).join('.') || 'notification'}: ${issue.message}`)
    .join('; ');

function readRecords(value: unknown): Reading {
  const message = s3Message.safeParse(value);
  if (!message.success) return { problem: issues(message.error) };
  const notices: Notice[] = [];
  const passed: string[] = [];
  for (const { eventName, eventTime, s3 } of message.data.Records) {
    const { bucket, object } = s3;
    const key = decodedKey(object.key);
    if (key === undefined) return { problem: `the key ${object.key} is not encoded as in a form` };
    if (!/^(s3:)?ObjectCreated:/.test(eventName))
      passed.push(`${eventName} of s3://${bucket.name}/${key} brings no data`);
    else notices.push({ kind: 's3', bucket: bucket.name, key, version: versionOf(object), time: eventTime ?? null });
  }
  return { notices, passed };
}

function readBridge(value: unknown): Reading {
  const message = bridge.safeParse(value);
  if (!message.success) return { problem: issues(message.error) };
  const { detail, time } = message.data;
  const { bucket, object } = detail;
  const what = message.data['detail-type'];
  if (what !== 'Object Created')
    return { notices: [], passed: [`${what} of s3://${bucket.name}/${object.key} brings no data`] };
  return {
    notices: [{ kind: 's3', bucket: bucket.name, key: object.key, version: versionOf(object), time: time ?? null }],
    passed: [],
  };
}

function readAssets(value: unknown): Reading {
  const isList = typeof value === 'object' && value !== null && 'asset_events' in value;
  const message = isList ? assets.safeParse(value) : assets.safeParse({ asset_events: [value] });
  if (!message.success) return { problem: issues(message.error) };
  const notices = message.data.asset_events.map((one): Notice => {
    const said = [one.id, one.uri, one.name, one.timestamp, one.source_dag_id, one.source_task_id, one.source_run_id];
    return {
      ...{ kind: 'airflow', uri: one.uri ?? null, name: one.name ?? null, time: one.timestamp, fields: one },
      version: [...said, one.source_map_index].map((part) => String(part ?? '')),
    };
  });
  return { notices, passed: [] };
}

export function readNotification(value: unknown, depth = 0): Reading {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { problem: 'a notification is a JSON object' };
  if ('Records' in value) return readRecords(value);
  if ('detail-type' in value) return readBridge(value);
  if (s3Test.safeParse(value).success)
    return { notices: [], passed: ['s3:TestEvent: the bucket can send notifications'] };
  const inner = wrapped.safeParse(value);
  if (inner.success && depth === 0) {
    try {
      return readNotification(JSON.parse(inner.data.Message), 1);
    } catch {
      return { problem: 'the Message of this SNS notification is no JSON' };
    }
  }
  if ('asset_events' in value || 'timestamp' in value) return readAssets(value);
  return { problem: 'neither a notification of S3 (Records, detail) nor an asset event of Airflow (uri, timestamp)' };
}
