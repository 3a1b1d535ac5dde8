/** What tests of the registry start from: a registry in a folder of its own, documents, events, and a run up to its approval. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { datasetSchema, modelSchema, type PolicyDocument, policySchema } from '../../src/contracts/documents.ts';
import type { Evaluation } from '../../src/contracts/evaluation.ts';
import { EVENT_TYPES } from '../../src/contracts/events.ts';
import type { TrafficPlan } from '../../src/contracts/plan.ts';
import { type DecisionInput, judgeDecision } from '../../src/domain/approval.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import type { ApplyInput } from '../../src/ports/registry/definitions.ts';
import type { Incoming, IncomingEvent, Origin } from '../../src/ports/registry/events.ts';
import type { VersionRecord } from '../../src/ports/registry/versions.ts';
import type { Registry } from '../../src/ports/registry.ts';

const apiVersion = 'refit.dev/v1';

export const at = (minute: number): string => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();
export const digestOf = (value: unknown): string => createHash('sha256').update(canonicalJson(value)).digest('hex');

export const policy = (approvers: readonly string[], extra: Partial<PolicyDocument> = {}): PolicyDocument =>
  policySchema.parse({ apiVersion, kind: 'Policy', name: 'production', approvers, ...extra });

export function project(models: readonly string[] = ['m'], approvers: readonly string[] = ['ana', 'ben']): ApplyInput {
  return {
    datasets: [datasetSchema.parse({ apiVersion, kind: 'Dataset', name: 'd' })],
    models: models.map((name) => {
      const document = modelSchema.parse({
        ...{ apiVersion, kind: 'Model', name, task: 'regression', dataset: 'd', label: { sql: 'y' }, features: ['x'] },
        training: { trainer: 'sklearn' },
      });
      return { document, definitionDigest: digestOf(document) };
    }),
    policies: [policy(approvers)],
    projectDigest: digestOf('project'),
    root: '/project',
    gitCommit: null,
    actor: 'olga',
    at: at(0),
  };
}

export interface OpenedRegistry {
  readonly registry: Registry;
  readonly url: string;
  readonly file: string;
  close(): Promise<void>;
}

export async function freshRegistry(): Promise<OpenedRegistry> {
  const folder = mkdtempSync(join(tmpdir(), 'refit-registry-'));
  const file = join(folder, 'refit.db');
  const url = `file:${file}`;
  const registry = await openRegistry(url);
  const close = async (): Promise<void> => {
    await registry.close();
    rmSync(folder, { recursive: true });
  };
  return { registry, url, file, close };
}

export const origin = (offset: number, topic = 'refit.data'): Origin => ({
  topic,
  partition: 0,
  offset: String(offset),
});

type Kind = 'data' | 'drift' | 'labels';
const TYPES: Record<Kind, string> = {
  data: EVENT_TYPES.dataArrived,
  drift: EVENT_TYPES.driftDetected,
  labels: EVENT_TYPES.labelsArrived,
};

export function event(kind: Kind, id: string, name: string, data: unknown = 1): IncomingEvent {
  const type = TYPES[kind];
  return {
    ...{ source: 'test', id, type, subject: name, time: null },
    digest: digestOf({ type, subject: name, data }),
    body: canonicalJson({ id, type, data }),
    target: { kind: kind === 'data' ? 'dataset' : 'model', name },
    ...(kind === 'labels' ? { labels: [{ id: `row-${id}`, label: canonicalJson(data), time: at(1) }] } : {}),
  };
}

export const delivery = (offset: number, of: IncomingEvent): Incoming => ({
  origin: origin(offset),
  at: at(1),
  publishedAt: at(0),
  event: of,
});
export const malformed = (offset: number): Incoming => ({
  ...{ origin: origin(offset), at: at(1), publishedAt: at(0) },
  malformed: { reason: 'not JSON', detail: 'unexpected end' },
});

export async function openRun(
  registry: Registry,
  model: string,
  requestKey: string,
  eventKeys: readonly string[] = [],
  requester: string | null = null,
) {
  const opened = await registry.openRun({
    ...{
      model,
      requestKey,
      trigger: 'drift',
      eventKeys,
      requester,
      reason: 'test',
      definitionDigest: digestOf('definition'),
    },
    at: at(2),
  });
  if (opened.status !== 'opened') throw new Error(opened.reason);
  return opened.run;
}

const evaluation: Evaluation = { rows: 10, metric: 'rmse', metrics: { rmse: 1 }, slices: [] };

/** A run with a version that waits for one approval. */
export async function waitingCandidate(
  registry: Registry,
  model: string,
  requestKey: string,
  required = 1,
): Promise<VersionRecord> {
  const { run } = await openRun(registry, model, requestKey);
  const version = await registry.registerVersion({
    ...{
      model,
      run,
      bundleDigest: digestOf(['bundle', run]),
      snapshot: digestOf('snapshot'),
      metric: { name: 'rmse', value: 1 },
    },
    ...{ evaluation, source: [], createdAt: at(3) },
  });
  const { bundleDigest } = version;
  await registry.requestApproval({
    run,
    model,
    version: version.version,
    bundleDigest,
    required,
    requestedAt: at(4),
    expiresAt: at(1000),
  });
  return version;
}

export function decide(
  registry: Registry,
  version: VersionRecord,
  actor: string,
  requestId: string,
  change: Partial<DecisionInput> = {},
) {
  const decision: DecisionInput = {
    ...{ requestId, actor, decision: 'approve', bundleDigest: version.bundleDigest, reason: null, via: 'update' },
    ...change,
  };
  return registry.recordDecision(version.run, decision, (context) => judgeDecision(context, decision), at(5));
}

export const fullPlan = (model: string, deployment: number, revision: number, version: number): TrafficPlan => ({
  ...{ model, deployment, revision },
  entries: [{ version, role: 'champion', weight: 1 }],
});

export const canaryPlan = (
  model: string,
  deployment: number,
  revision: number,
  champion: number,
  canary: number,
): TrafficPlan => ({
  ...{ model, deployment, revision },
  entries: [
    { version: champion, role: 'champion', weight: 0.9 },
    { version: canary, role: 'canary', weight: 0.1 },
  ],
});

export async function openRollout(registry: Registry, version: VersionRecord): Promise<number> {
  const { deployment } = await registry.openDeployment({
    ...{
      model: version.model,
      requestKey: `rollout:${version.run}`,
      kind: 'rollout',
      run: version.run,
      toVersion: version.version,
    },
    ...{ actor: null, reason: null, at: at(6) },
  });
  return deployment;
}

/** Approves, rolls out and promotes. */
export async function ship(registry: Registry, version: VersionRecord): Promise<number> {
  await decide(registry, version, 'ana', `ship-${version.run}`);
  await registry.finishRun(version.run, 'approved', null, at(5));
  const deployment = await openRollout(registry, version);
  const plan = fullPlan(version.model, deployment, 1, version.version);
  const promoted = await registry.promote({ model: version.model, deployment, plan }, () => null, at(7));
  if (promoted.status !== 'promoted') throw new Error(promoted.reason);
  return deployment;
}
