/**
 * People: approvers who decide on what waits, among them some who may not; operators who start runs, roll back, and take an
 * approver off the policy before the quorum is reached. What they did stands in a log, for the oracle.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { APPROVERS, modelName, policyYaml } from './plan.ts';
import type { DiskLog } from './publisher.ts';
import type { Random } from './random.ts';

const TICK_MS = 400;
/** Who is on a policy at some time. */
const EVERYBODY = [...APPROVERS, 'dan'];
const APPLY_PATIENCE_MS = 90_000;

interface Waiting {
  readonly run: string;
  readonly model: string;
  readonly version: number;
  readonly bundleDigest: string;
  readonly required: number;
}

export class People {
  #stopped = false;
  #done: Promise<void> = Promise.resolve();
  /** What each approver of a run has still to say. */
  readonly #scripts = new Map<string, Act[]>();
  /** Runs about which somebody is speaking. */
  readonly #busy = new Map<string, Promise<void>>();
  /** Models whose policy is changed at this moment. */
  readonly #revoking = new Set<string>();
  readonly #policies = new Map<string, readonly string[]>();
  #lastDigest = 'a'.repeat(64);
  #othersTried = 0;
  #count = 0;
  #revocationsLeft: number;

  constructor(
    readonly options: {
      readonly url: string;
      readonly client: () => Client;
      readonly random: Random;
      readonly log: DiskLog;
      readonly root: string;
      readonly models: number;
      /** Of these runs with a quorum an approver is taken off the policy in between. */
      readonly revocations: number;
    },
  ) {
    this.#revocationsLeft = options.revocations;
  }

  start(): void {
    this.#done = (async () => {
      while (!this.#stopped) {
        try {
          await this.#round();
        } catch {
          // The gateway is away, or an answer did not come in time: the same again at the next round.
        }
        await sleep(TICK_MS);
      }
    })();
  }
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
    await Promise.allSettled(this.#busy.values());
  }

  async #call<T>(path: string, body?: object): Promise<T> {
    const response = await fetch(`${this.options.url}/api/v1${path}`, {
      signal: AbortSignal.timeout(15_000),
      ...(body === undefined
        ? {}
        : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
    return JSON.parse(text) as T;
  }

  /** Registers documents and files; repeated until it is answered, or it is clear that nobody will. */
  async apply(yaml: string, files: Readonly<Record<string, Buffer>> = {}): Promise<void> {
    const all = { 'refit.yaml': Buffer.from(yaml), ...files };
    const encoded = Object.fromEntries(Object.entries(all).map(([name, bytes]) => [name, bytes.toString('base64')]));
    for (const deadlineMs = Date.now() + APPLY_PATIENCE_MS; ; ) {
      try {
        await this.#call('/apply', { files: encoded, root: this.options.root, actor: 'olga' });
        return;
      } catch (error) {
        if ((error instanceof Error && / 400 /.test(error.message)) || Date.now() > deadlineMs) throw error;
        await sleep(TICK_MS);
      }
    }
  }

  async #round(): Promise<void> {
    for (const one of await this.#call<readonly Waiting[]>('/approvals')) {
      if (this.#busy.has(one.run)) continue;
      // Each for itself: nobody waits until all others have had their say.
      const said = this.#goOn(one).finally(() => this.#busy.delete(one.run));
      this.#busy.set(one.run, said);
      // Lost or refused: what was not said is said at a later round.
      said.catch(() => undefined);
    }
  }

  async #goOn(one: Waiting): Promise<void> {
    if (this.#revoking.has(one.model)) return;
    const script = this.#scripts.get(one.run) ?? this.#script(one);
    this.#scripts.set(one.run, script);
    // After the last word the run ends by itself; should it still wait, the quorum was not reached: others are asked.
    if (script.length === 0) {
      this.#scripts.set(
        one.run,
        EVERYBODY.map((actor) => this.#approval(one, actor)),
      );
      return;
    }
    for (let act = script[0]; act && !this.#stopped; act = script[0]) {
      await act();
      script.shift();
      if (this.#revoking.has(one.model)) return;
    }
  }

  #approval(one: Waiting, actor: string, change: object = {}): Act {
    this.#count += 1;
    const body = {
      requestId: `${one.run}:${actor}:${this.#count}`,
      actor,
      decision: 'approve',
      bundleDigest: one.bundleDigest,
      ...change,
    };
    const bySignal = this.options.random.chance(0.3);
    return async () => {
      this.options.log.add({ decision: { run: one.run, ...body }, via: bySignal ? 'signal' : 'update', at: now() });
      if (bySignal) {
        const { decision: _, ...message } = body;
        const handle = this.options.client().workflow.getHandle(`run/${one.model}/${one.run}`);
        await this.options.client().withDeadline(Date.now() + 5_000, () => handle.signal('approve', message));
      } else await this.#call(`/runs/${one.run}/decisions`, body);
    };
  }

  #script(one: Waiting): Act[] {
    const { random } = this.options;
    const acts: Act[] = [];
    // Those that may not count: a stranger, the same person twice, another bundle, who asked for the run.
    if (random.chance(0.4)) acts.push(this.#approval(one, 'mallory'));
    // For the first candidates for certain, so that a short run tries it as well: one of them may be superseded a moment later.
    if (this.#othersTried < 4 || random.chance(0.3)) {
      this.#othersTried += 1;
      acts.push(this.#approval(one, 'ana', { bundleDigest: this.#lastDigest }));
    }
    this.#lastDigest = one.bundleDigest;
    const rejects = random.chance(0.08) && one.version > 1;
    if (rejects) {
      acts.push(async () => {
        await this.#call(`/runs/${one.run}/decisions`, {
          requestId: `${one.run}:no`,
          actor: 'eve',
          decision: 'reject',
          bundleDigest: one.bundleDigest,
          reason: 'not convinced',
        });
      });
      return acts;
    }
    if (one.required > 1 && this.#revocationsLeft > 0) {
      this.#revocationsLeft -= 1;
      // The one who approves first is taken off the policy before the second does, whoever that is now.
      const first = (this.#policies.get(one.model) ?? APPROVERS).find((name) => name !== 'ana') ?? 'ben';
      const left = EVERYBODY.filter((name) => name !== first);
      acts.push(this.#approval(one, first), () => this.#revoke(one.model, left));
      acts.push(...left.map((name) => this.#approval(one, name)));
      return acts;
    }
    acts.push(this.#approval(one, 'ana'));
    if (one.required > 1) acts.push(this.#approval(one, 'ana'));
    acts.push(this.#approval(one, 'ben'));
    if (random.chance(0.3)) acts.push(this.#approval(one, 'ben'));
    return acts;
  }

  async #revoke(model: string, approvers: readonly string[]): Promise<void> {
    this.#revoking.add(model);
    this.options.log.add({ policy: { model, approvers }, from: now() });
    await this.apply(policyYaml(model, approvers));
    this.options.log.add({ policy: { model, approvers }, since: now() });
    this.#policies.set(model, approvers);
    this.#revoking.delete(model);
  }

  /** A model with a champion and a rollout under way, where a rollback has most to break; null when there was none for a while. */
  async #inRollout(): Promise<string | null> {
    for (let attempt = 0; attempt < 40 && !this.#stopped; attempt += 1) {
      const models = await this.#call<readonly Shown[]>('/models').catch(() => []);
      const found = models.find((one) => one.champion !== null && one.rollout !== null);
      if (found) return found.model;
      await sleep(250);
    }
    return null;
  }

  /** A start by hand, or a rollback, under a request id that is kept over all attempts. */
  async operate(kind: 'start' | 'rollback'): Promise<void> {
    let model = modelName(this.options.random.below(this.options.models));
    if (kind === 'rollback') model = (await this.#inRollout()) ?? model;
    this.#count += 1;
    const request = { requestId: `op-${this.#count}`, actor: 'ana', reason: 'chaos' };
    this.options.log.add({ operation: kind, model, ...request, at: now() });
    for (let attempt = 0; attempt < 20; attempt += 1) {
      try {
        const answer = await this.#call<object>(`/models/${model}/${kind}`, request);
        this.options.log.add({ operation: kind, requestId: request.requestId, model, answer });
        return;
      } catch {
        await sleep(1_000);
      }
    }
  }
}

interface Shown {
  readonly model: string;
  readonly champion: object | null;
  readonly rollout: object | null;
}
type Act = () => Promise<void>;
const now = (): string => new Date().toISOString();
