/** From what others notify to arrivals of data, by the rules of the Dataset documents. Pure but for hashing. */
import { createHash } from 'node:crypto';
import type { ArrivalRule, DatasetDocument } from '../../contracts/documents.ts';
import { type DataArrived, dataArrivedSchema, EVENT_TYPES } from '../../contracts/events.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import type { AssetUpdated, Notice, ObjectCreated } from './read.ts';

export interface MappedEvent {
  readonly specversion: '1.0';
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string;
  readonly time?: string;
  readonly datacontenttype: 'application/json';
  readonly data: DataArrived;
}

export interface Mapping {
  readonly events: readonly MappedEvent[];
  /** For each notice without an event, why. */
  readonly ignored: readonly string[];
}

type Part = { readonly uri: string; readonly partition?: string } | { readonly no: string };

type S3Rule = Extract<ArrivalRule, { from: 's3' }>;
type AirflowRule = Extract<ArrivalRule, { from: 'airflow' }>;

/** undefined: the rule is about other objects. */
function byS3(rule: S3Rule, { bucket, key }: ObjectCreated): Part | undefined {
  if (rule.bucket !== bucket || !key.startsWith(rule.prefix) || !key.endsWith(rule.suffix)) return undefined;
  const uri = `s3://${bucket}/${key}`;
  // As an address it would stand for all that match it.
  if (key.includes('*')) return { no: `${uri} holds *, which is a pattern in an address` };
  if (rule.partition === undefined) return { uri };
  const match = new RegExp(rule.partition).exec(key);
  const partition = match?.groups?.partition ?? match?.[1];
  return partition === undefined || partition === ''
    ? { no: `the key ${key} has no partition by ${rule.partition}` }
    : { uri, partition };
}

/** Null where a part is not there. */
function filled(template: string, fields: Readonly<Record<string, unknown>>): string | { readonly missing: string } {
  let missing: string | undefined;
  const filledIn = template.replace(/\{([A-Za-z0-9_.-]+)\}/g, (_whole, path: string) => {
    const value = path
      .split('.')
      .reduce<unknown>(
        (at, name) =>
          typeof at === 'object' && at !== null && Object.hasOwn(at, name)
            ? (at as Readonly<Record<string, unknown>>)[name]
            : undefined,
        fields,
      );
    if (typeof value === 'string' && value !== '') return value;
    if (typeof value === 'number') return String(value);
    missing ??= path;
    return '';
  });
  return missing === undefined ? filledIn : { missing };
}

function byAirflow(rule: AirflowRule, { uri, name, fields }: AssetUpdated): Part | undefined {
  if (rule.asset !== uri && rule.asset !== name) return undefined;
  const address = filled(rule.uri, fields);
  const partition = rule.partition === undefined ? undefined : filled(rule.partition, fields);
  const no = (part: string): Part => ({ no: `the event of asset ${rule.asset} has no ${part}` });
  if (typeof address === 'object') return no(address.missing);
  if (typeof partition === 'object') return no(partition.missing);
  return { uri: address, ...(partition === undefined ? {} : { partition }) };
}

function byRule(rule: ArrivalRule, notice: Notice): Part | undefined {
  if (rule.from === 's3') return notice.kind === 's3' ? byS3(rule, notice) : undefined;
  return notice.kind === 'airflow' ? byAirflow(rule, notice) : undefined;
}

const nameOf = (notice: Notice): string =>
  notice.kind === 's3' ? `s3://${notice.bucket}/${notice.key}` : `asset ${notice.uri ?? notice.name}`;

/** The same object version, or asset event, is the same event of a dataset, however often it is notified. */
function eventOf(
  dataset: string,
  notice: Notice,
  part: { readonly uri: string; readonly partition?: string },
): MappedEvent | string {
  const { uri, partition } = part;
  const data = dataArrivedSchema.safeParse({ dataset, uris: [uri], ...(partition === undefined ? {} : { partition }) });
  if (!data.success) return `${nameOf(notice)}: ${data.error.issues[0]?.message ?? 'no arrival'}`;
  const about = notice.kind === 's3' ? [notice.bucket, notice.key] : [];
  const identity = [notice.kind, ...about, ...notice.version, data.data];
  const time =
    notice.time !== null && Number.isFinite(Date.parse(notice.time)) ? new Date(notice.time).toISOString() : null;
  return {
    specversion: '1.0',
    id: createHash('sha256').update(canonicalJson(identity)).digest('hex').slice(0, 32),
    source: `refit/notifications/${notice.kind}`,
    type: EVENT_TYPES.dataArrived,
    subject: dataset,
    ...(time === null ? {} : { time }),
    datacontenttype: 'application/json',
    data: data.data,
  };
}

export function mapNotices(
  notices: readonly Notice[],
  datasets: readonly Pick<DatasetDocument, 'name' | 'arrivals'>[],
): Mapping {
  const events: MappedEvent[] = [];
  const ignored: string[] = [];
  for (const notice of notices) {
    const why: string[] = [];
    const before = events.length;
    for (const { name, arrivals } of datasets) {
      // The first rule of a dataset that is about it decides: one notice is one arrival of a dataset.
      const part = arrivals.map((rule) => byRule(rule, notice)).find((one) => one !== undefined);
      if (part === undefined) continue;
      const event = 'no' in part ? part.no : eventOf(name, notice, part);
      if (typeof event === 'string') why.push(`dataset ${name}: ${event}`);
      else events.push(event);
    }
    if (events.length === before)
      ignored.push(why.length > 0 ? why.join('; ') : `${nameOf(notice)}: no dataset declares it among its arrivals`);
  }
  return { events, ignored };
}
