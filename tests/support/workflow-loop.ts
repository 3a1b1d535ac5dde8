/** A loop under test: workers on a server, a registry of its own, and the acts of publishers, approvers and operators. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { type NativeConnection, Worker } from '@temporalio/worker';
import { createActivities } from '../../activities/index.ts';
import { createMessenger } from '../../src/adapters/temporal/messenger.ts';
import { datasetSchema, type ModelDocument, modelSchema } from '../../src/contracts/documents.ts';
import type { DecisionAnswer, LifecycleStatus, RunStatus, StartRunAnswer } from '../../src/contracts/messages.ts';
import { QUEUES } from '../../src/contracts/values.ts';
import {
  datasetWorkflowId,
  eventKey,
  lifecycleWorkflowId,
  rolloutWorkflowId,
  runWorkflowId,
} from '../../src/domain/ids.ts';
import { createUpdates } from '../../src/gateway/lifecycles.ts';
import type { Messenger } from '../../src/ports/messenger.ts';
import type { IncomingEvent } from '../../src/ports/registry/events.ts';
import type { RunRecord } from '../../src/ports/registry/runs.ts';
import type { ApprovalRecord } from '../../src/ports/registry/versions.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { digestOf, event, origin, policy } from './registry-fixtures.ts';
import { Behaviours } from './workflow-behaviour.ts';
import { workflowBundle } from './workflow-bundle.ts';
import { testPorts } from './workflow-ports.ts';

const apiVersion = 'refit.dev/v1';
const PATIENCE_MS = 180_000;
const POLL_MS = 20;

/** Asks until the answer is defined. */
export async function eventually<T>(what: string, probe: () => Promise<T | undefined | null | false>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined && answer !== null && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${PATIENCE_MS / 1000} s`);
    await sleep(POLL_MS);
  }
}

/** Document fields over those of a small regression whose gate allows an rmse of 2. */
export type Definition = Partial<Pick<ModelDocument, 'description'>> & {
  readonly approval?: Partial<ModelDocument['approval']>;
  readonly rollout?: object;
  readonly retraining?: object;
  readonly monitoring?: object;
};

export function definition(model: string, change: Definition = {}): ModelDocument {
  return modelSchema.parse({
    ...{ apiVersion, kind: 'Model', name: model, task: 'regression', dataset: `${model}-data` },
    ...{ label: { sql: 'y' }, features: ['x'], training: { trainer: 'sklearn' } },
    gates: [{ type: 'maximum', metric: 'rmse', value: 2 }],
    ...change,
    rollout: { patience: '0s', ...(change.rollout ?? { type: 'immediate' }) },
    retraining: { debounce: '0s', ...change.retraining },
  });
}

export interface LoopOptions {
  readonly client: Client;
  readonly connection: NativeConnection;
  readonly namespace?: string;
  readonly nowMs: () => Promise<number>;
  /** Instead of messages to lifecycles, for tests of a run or a rollout alone. */
  readonly messenger?: Messenger;
}

export class Loop {
  readonly behaviours = new Behaviours();
  readonly updates: ReturnType<typeof createUpdates>;
  readonly messenger: Messenger;
  #offset = 0;
  #workers: readonly { readonly worker: Worker; readonly done: Promise<void> }[] = [];

  private constructor(
    readonly options: LoopOptions,
    readonly client: Client,
  ) {
    this.updates = createUpdates(client);
    this.messenger = options.messenger ?? createMessenger(client);
  }
  #registry: Registry | undefined;
  #close: () => Promise<void> = async () => {};

  get registry(): Registry {
    if (!this.#registry) throw new Error('the loop has not started');
    return this.#registry;
  }

  static async start(options: LoopOptions): Promise<Loop> {
    const loop = new Loop(options, options.client);
    const { ports, registry, close } = await testPorts(loop.behaviours, loop.messenger);
    loop.#registry = registry;
    loop.#close = close;
    const activities = createActivities(ports);
    const workflowBundleOption = { workflowBundle: await workflowBundle() };
    const workers = await Promise.all(
      Object.values(QUEUES).map((taskQueue) =>
        Worker.create({
          connection: options.connection,
          ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
          taskQueue,
          activities,
          ...(taskQueue === QUEUES.control ? workflowBundleOption : {}),
        }),
      ),
    );
    loop.#workers = workers.map((worker) => ({ worker, done: worker.run() }));
    return loop;
  }

  async stop(): Promise<void> {
    this.behaviours.releaseAll();
    for (const { worker } of this.#workers) worker.shutdown();
    await Promise.all(this.#workers.map(({ done }) => done));
    await this.#close();
  }

  async #at(): Promise<string> {
    return new Date(await this.options.nowMs()).toISOString();
  }

  /** Registers a definition, and who may approve; as `apply` does, the lifecycle learns of it if `tell`. */
  async apply(
    document: ModelDocument,
    { approvers = ['ana', 'ben'], tell = true, actor = 'olga', dataset = {} } = {},
  ): Promise<string> {
    const definitionDigest = digestOf(document);
    await this.registry.apply({
      datasets: [datasetSchema.parse({ apiVersion, kind: 'Dataset', name: document.dataset, ...dataset })],
      models: [{ document, definitionDigest }],
      policies: [policy(approvers, { name: document.name, models: [document.name] })],
      projectDigest: digestOf('project'),
      root: '/project',
      gitCommit: null,
      actor,
      at: await this.#at(),
    });
    if (tell) {
      const revision = (await this.registry.model(document.name))?.revision ?? 0;
      await this.updates.applyDefinition(document.name, {
        definitionDigest,
        actor,
        requestId: `${definitionDigest}:${revision}`,
      });
    }
    return definitionDigest;
  }

  /** Takes events in and signals them, as the gateway does. */
  async publish(...events: readonly IncomingEvent[]): Promise<readonly string[]> {
    const at = await this.#at();
    const incoming = events.map((one) => {
      this.#offset += 1;
      return { origin: origin(this.#offset), at, publishedAt: at, event: one };
    });
    const receipts = await this.registry.receive(incoming);
    const keys = events.map((one) => eventKey(one.source, one.id));
    const byTarget = new Map<string, { readonly target: IncomingEvent['target']; readonly keys: string[] }>();
    for (const [index, { target }] of events.entries()) {
      const key = keys[index];
      if (receipts[index]?.action !== 'signal' || key === undefined) continue;
      const group = byTarget.get(`${target.kind}/${target.name}`) ?? { target, keys: [] };
      group.keys.push(key);
      byTarget.set(`${target.kind}/${target.name}`, group);
    }
    for (const { target, keys: mine } of byTarget.values()) {
      await (target.kind === 'dataset'
        ? this.messenger.dataArrived(target.name, mine)
        : this.messenger.eventsArrived(target.name, mine));
    }
    return keys;
  }

  /** A file of so many rows for a model's dataset. */
  async publishData(model: string, id: string, rows = 100): Promise<string> {
    const data = { dataset: `${model}-data`, uris: [`file:///data/${id}.${rows}.csv`] };
    const [key] = await this.publish(event('data', `${model}-${id}`, `${model}-data`, data));
    return key ?? '';
  }

  /** Data that was there before anything listened. */
  async withData(model: string): Promise<void> {
    await this.registry.commitDatasetVersion({
      ...{
        dataset: `${model}-data`,
        version: 1,
        manifestDigest: '0'.repeat(64),
        eventKey: `test ${model}`,
        corrects: null,
        newRows: 1,
      },
      manifest: { dataset: `${model}-data`, version: 1, columns: [], files: [], rows: 1, maxTime: null },
      createdAt: new Date(0).toISOString(),
    });
  }

  fateOf = async (model: string, key: string) => (await this.registry.fates(model, [key]))[key];

  /** The request of a run that waits for its decision. */
  waiting(run: string): Promise<ApprovalRecord> {
    return eventually(`${run} waits for a decision`, async () => {
      const status = await this.runStatus(run).catch(() => undefined);
      return status?.stage === 'decide' && status.waitsFor !== null && (await this.registry.approval(run));
    });
  }
  ended(run: string): Promise<RunRecord> {
    return eventually(`${run} ends`, async () => {
      const record = await this.registry.run(run);
      return record?.outcome !== null && record;
    });
  }

  async decide(
    approval: ApprovalRecord,
    actor: string,
    change: Partial<{ requestId: string; bundleDigest: string; decision: 'approve' | 'reject' }> = {},
  ): Promise<DecisionAnswer> {
    const { model, run, bundleDigest } = approval;
    return this.updates.decide(model, run, {
      requestId: `${run}:${actor}`,
      actor,
      bundleDigest,
      decision: 'approve',
      reason: null,
      ...change,
    });
  }

  startRun = (model: string, requestId: string, actor = 'olga'): Promise<StartRunAnswer> =>
    this.updates.startRun(model, { requestId, actor, reason: null });

  #handle = (workflowId: string) => this.client.workflow.getHandle(workflowId);
  lifecycleHandle = (model: string) => this.#handle(lifecycleWorkflowId(model));
  runHandle = (run: string) => this.#handle(runWorkflowId(run.slice(0, -7), run));
  rolloutHandle = (model: string, deployment: number) => this.#handle(rolloutWorkflowId(model, deployment));
  datasetHandle = (dataset: string) => this.#handle(datasetWorkflowId(dataset));
  runStatus = (run: string): Promise<RunStatus> => this.runHandle(run).query<RunStatus>('status');
  lifecycleStatus = (model: string): Promise<LifecycleStatus> =>
    this.lifecycleHandle(model).query<LifecycleStatus>('status');

  /** Starts a run by hand, approves it, and waits until its version serves. */
  async ship(model: string, requestId: string): Promise<RunRecord> {
    if (!(await this.registry.latestDatasetVersion(`${model}-data`))) await this.withData(model);
    const answer = await this.startRun(model, requestId);
    if (answer.status !== 'started') throw new Error(`${requestId} was not started: ${JSON.stringify(answer)}`);
    const approval = await this.waiting(answer.run);
    await this.decide(approval, 'ana');
    await this.champion(model, approval.version);
    return this.ended(answer.run);
  }
  champion(model: string, version: number): Promise<true> {
    return eventually(`${model}@${version} is champion`, async () => {
      const status = await this.lifecycleStatus(model);
      return status.champion === version && status.rollout === null && status.run === null;
    });
  }
}
