/**
 * What every changing method does inside its transaction: append to a model's hash chain, and put an event into the outbox.
 * What belongs to no model has a chain of its own, `dataset/NAME` or `policy/NAME`: a model's name has no slash.
 */
import { createHash } from 'node:crypto';
import { EVENT_TYPES, type LifecycleEvent, TOPICS, type TopicName } from '../../contracts/events.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import type { AuditRow } from '../../ports/registry/audit.ts';
import type { Session } from './database.ts';
import { int, json, text, textOrNull } from './rows.ts';

export type Facts = Readonly<Record<string, unknown>>;
export interface AuditHead {
  readonly sequence: number;
  readonly hash: string;
}

export const GENESIS = '0'.repeat(64);

export const datasetChain = (dataset: string): string => `dataset/${dataset}`;
export const policyChain = (policy: string): string => `policy/${policy}`;

export const sha256 = (content: string): string => createHash('sha256').update(content).digest('hex');

export function auditHash(row: Omit<AuditRow, 'hash'>): string {
  const { model, sequence, at, action, actor, body, previous } = row;
  return sha256(canonicalJson({ model, sequence, at, action, actor, body, previous }));
}

export interface AuditInput {
  readonly model: string;
  readonly action: string;
  readonly actor: string | null;
  readonly body: Facts;
  readonly at: string;
}

export async function appendAudit(db: Session, input: AuditInput): Promise<AuditHead> {
  const last = await db.get('SELECT sequence, hash FROM audit_heads WHERE model = ?', input.model);
  const previous = last ? text(last, 'hash') : GENESIS;
  const sequence = (last ? int(last, 'sequence') : 0) + 1;
  const { model, action, actor, at } = input;
  // Through JSON, so that what is hashed is what will be read back.
  const stored = canonicalJson(input.body);
  const body = JSON.parse(stored) as Facts;
  const hash = auditHash({ model, sequence, at, action, actor, body, previous });
  await db.run(
    'INSERT INTO audit (model, sequence, at, action, actor, body, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    ...[model, sequence, at, action, actor, stored, previous, hash],
  );
  await db.run(
    'INSERT INTO audit_heads (model, sequence, hash) VALUES (?, ?, ?) ON CONFLICT (model) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash',
    ...[model, sequence, hash],
  );
  return { sequence, hash };
}

interface OutgoingEvent {
  readonly topic: TopicName;
  readonly model: string;
  readonly source: string;
  readonly id: string;
  readonly type: string;
  readonly data: Facts;
  readonly at: string;
}

/** Attributes of the event that is behind what happened, carried through to those who are told of it. */
async function causeOf(
  db: Session,
  model: string,
  { run, deployment }: Facts,
): Promise<Readonly<Record<string, string>>> {
  let behind = typeof run === 'string' ? run : null;
  if (behind === null && typeof deployment === 'number') {
    const row = await db.get('SELECT run FROM deployments WHERE model = ? AND deployment = ?', model, deployment);
    behind = row ? textOrNull(row, 'run') : null;
  }
  if (behind === null) return {};
  const opener = await db.get(
    `SELECT e.id, e.body FROM fates f JOIN events e ON e.seq = f.event WHERE f.run = ? AND f.model = ? AND f.fate = 'acted_on' LIMIT 1`,
    ...[behind, model],
  );
  if (!opener) return {};
  const { correlationid, traceparent } = json<Facts>(opener, 'body');
  return {
    causationid: text(opener, 'id'),
    ...(typeof correlationid === 'string' ? { correlationid } : {}),
    ...(typeof traceparent === 'string' ? { traceparent } : {}),
  };
}

async function publish(db: Session, out: OutgoingEvent): Promise<void> {
  const event = {
    ...(await causeOf(db, out.model, out.data)),
    specversion: '1.0',
    id: out.id,
    source: out.source,
    type: out.type,
    subject: out.model,
    time: out.at,
    datacontenttype: 'application/json',
    data: out.data,
  };
  await db.run(
    'INSERT INTO outbox (topic, key, source, id, event) VALUES (?, ?, ?, ?, ?)',
    ...[out.topic, out.model, out.source, out.id, canonicalJson(event)],
  );
}

const lifecycleSource = (model: string): string => `refit/${model}`;

export interface LifecycleInput {
  readonly model: string;
  readonly type: LifecycleEvent;
  /** What it is about, so that the same effect always has the same id. */
  readonly id: string;
  readonly data: Facts;
  readonly at: string;
}

/** A fact that others are told about: one audit row, and the event that carries the head it made. */
export async function record(db: Session, audit: AuditInput, event: LifecycleInput): Promise<void> {
  const auditHead = await appendAudit(db, audit);
  const { model, type, id, at } = event;
  const data = { ...event.data, auditHead };
  await publish(db, {
    topic: TOPICS.lifecycle,
    model,
    source: lifecycleSource(model),
    id,
    type: `dev.refit.${type}.v1`,
    data,
    at,
  });
}

export async function lifecycleEventExists(db: Session, model: string, id: string): Promise<boolean> {
  return (await db.get('SELECT 1 FROM outbox WHERE source = ? AND id = ?', lifecycleSource(model), id)) !== undefined;
}

export async function publishDrift(
  db: Session,
  model: string,
  windowEnd: string,
  data: Facts,
  at: string,
): Promise<void> {
  const id = `sweep:${model}:${windowEnd}`;
  await publish(db, {
    topic: TOPICS.drift,
    model,
    source: `refit/sweep/${model}`,
    id,
    type: EVENT_TYPES.driftDetected,
    data,
    at,
  });
}

/** So many are named in an audit row; the rest is bound by the digest over all of them and stands in the registry. */
const NAMED_EVENTS = 20;

/** A bounded statement about any number of events: 12,000 alerts must not make an audit row of megabytes. */
export function eventSummary(events: readonly { readonly key: string; readonly digest: string | null }[]): Facts {
  return {
    count: events.length,
    digest: sha256(canonicalJson(events.map(({ key, digest }) => [key, digest]))),
    first: events.slice(0, NAMED_EVENTS).map(({ key, digest }) => ({ event: key, digest })),
  };
}
