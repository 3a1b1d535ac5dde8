/**
 * A crash loses no work: kill -9 of the worker in training, of the gateway while events are published, of the inference server in a
 * canary, of everything at once. The story ends as it would have: one run a trigger, one version and one deployment a
 * decision, plan numbers only grow, each delivery has one fate, the audit verifies, the champion is what was approved.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { until } from '../support/e2e-refit.ts';
import {
  copyProject,
  E2eStack,
  gardenRequest,
  type Rollout,
  type ShownEvent,
  writeGarden,
} from '../support/e2e-stack.ts';

// How long it takes is not what is proven here, and the machine may be busy.
const MINUTES_MS = 60_000;
const MODEL = 'blooms';
const ROWS = 2_000;

let stack: E2eStack;
let project: string;
/** Heads of the audit chain, kept outside of the registry before each kill. */
const heads: string[] = [];
/** Every plan that was seen while the tests ran. */
const plans: { readonly deployment: number; readonly revision: number }[] = [];
let watching = true;
let watcher: Promise<void> = Promise.resolve();

beforeAll(async () => {
  stack = await E2eStack.create(inject('pythonPath'));
  project = await copyProject('one', stack.folder);
  await stack.up();
  await stack.refit('apply', project, '--as', 'dev');
  watcher = watchPlans();
}, 10 * MINUTES_MS);
afterAll(async () => {
  watching = false;
  await watcher;
  await stack?.close();
}, 10 * MINUTES_MS);

async function watchPlans(): Promise<void> {
  while (watching) {
    const plan = (await stack.readOrNull<Rollout>(`/models/${MODEL}/rollout`).catch(() => null))?.plan;
    if (plan) plans.push(plan);
    await sleep(200);
  }
}
async function keepHead(): Promise<void> {
  const { head } = await stack.verifyAudit(MODEL);
  if (head) heads.push(`${head.sequence}:${head.hash}`);
}
async function publishData(part: number): Promise<void> {
  const file = await writeGarden(join(project, 'data', `${part}.parquet`), part * ROWS, ROWS);
  await stack.refit('publish', 'data', 'beds', file, '--partition', String(part), '--id', `part-${part}`);
}

/** Processes of the trainer: those that the spec of this stack's home was given to. */
function trainers(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('train.py') &&
          readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`REFIT_SPEC=${stack.home}`) &&
          !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
        );
      } catch {
        // It ended between listing and reading.
        return false;
      }
    });
}
const training = (): Promise<number[]> =>
  until('a trainer is at work', () => {
    const pids = trainers();
    return pids.length > 0 ? pids : null;
  });

const drift = (id: string, model: string) => ({
  specversion: '1.0',
  id,
  source: 'test/kills',
  type: 'dev.refit.drift.detected.v1',
  data: {
    model,
    kind: 'data',
    window: { start: '2026-01-01T00:00:00Z', end: '2026-01-02T00:00:00Z' },
    features: [],
    verdict: 'stable',
  },
});

/** A publisher as it should be: a batch counts once it was answered 202; until then it is sent again. */
async function publishThrough(
  prefix: string,
  batches: number,
  onBatch: (index: number) => Promise<void>,
): Promise<number> {
  let retried = 0;
  for (let index = 0; index < batches; index += 1) {
    const events = Array.from({ length: 10 }, (_, place) =>
      drift(`${prefix}-${index * 10 + place}`, place % 2 === 0 ? MODEL : 'never-applied'),
    );
    const send = async (): Promise<true | null> => {
      try {
        const response = await fetch(`${stack.gateway}/events`, {
          method: 'POST',
          headers: { 'content-type': 'application/cloudevents-batch+json' },
          body: JSON.stringify(events),
        });
        if (response.status === 202) return true;
        if (response.status !== 503) throw new Error(`${response.status}: ${await response.text()}`);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
      }
      retried += 1;
      return null;
    };
    const sent = until(`batch ${index} is taken`, send);
    await onBatch(index);
    await sent;
  }
  return retried;
}

async function fatesOf(prefix: string, count: number): Promise<Record<string, number>> {
  const fates: Record<string, number> = {};
  for (let index = 0; index < count; index += 1) {
    const event = await stack.read<ShownEvent>(
      `/events/show?ref=${encodeURIComponent(`test/kills ${prefix}-${index}`)}`,
    );
    expect(event.settled, event.id).toBe(true);
    // One delivery carries the event's fate, all others are duplicates of it.
    expect(
      event.deliveries.filter((one) => one.fate !== 'duplicate'),
      event.id,
    ).toHaveLength(1);
    const told = event.fates.map((one) => one.fate).join();
    fates[told] = (fates[told] ?? 0) + 1;
  }
  return fates;
}

interface Traffic {
  answered: number;
  /** Answers with an error, which nobody may get: the process that was asked was alive. */
  readonly errors: string[];
  readonly versions: Set<string>;
  /** No answer: the server was down. */
  refused: number;
  /** When the last request that was refused began. */
  lastRefusedMs: number;
  readonly stop: () => Promise<void>;
}
function startTraffic(name: string): Traffic {
  let stopped = false;
  const traffic: Traffic = {
    answered: 0,
    errors: [],
    versions: new Set(),
    refused: 0,
    lastRefusedMs: 0,
    stop: async () => {
      stopped = true;
      await Promise.all(callers);
    },
  };
  const call = async (caller: number): Promise<void> => {
    for (let number = 0; !stopped; number += 1) {
      let response: Response;
      let text: string;
      const begunMs = Date.now();
      try {
        response = await fetch(`${stack.inference}/v2/models/${MODEL}/infer`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(gardenRequest(`${name}-${caller}-${number}`, 2)),
        });
        text = await response.text();
      } catch {
        traffic.refused += 1;
        traffic.lastRefusedMs = Math.max(traffic.lastRefusedMs, begunMs);
        await sleep(50);
        continue;
      }
      if (response.ok) {
        traffic.answered += 1;
        traffic.versions.add((JSON.parse(text) as { model_version: string }).model_version);
      } else if (traffic.errors.length < 5) traffic.errors.push(`${response.status} ${text}`);
      await sleep(15);
    }
  };
  const callers = [call(0), call(1)];
  return traffic;
}

/** The traffic plan is the one thing that says which step is under way: `steps` has those that are over. */
const inCanary = () =>
  until(
    'the canary is under way',
    async () => {
      const rollout = await stack.readOrNull<Rollout>(`/models/${MODEL}/rollout`);
      return rollout?.plan?.entries.some((entry) => entry.role === 'canary') || null;
    },
    300_000,
    async () => JSON.stringify((await stack.rollout(MODEL)).deployments[0]),
  );

describe('kill -9', () => {
  it(
    'of the worker in training: its trainer ends with it, the run goes on, one version',
    async () => {
      await publishData(0);
      const left = await training();
      await stack.kill('worker');
      await until('the trainer of the killed worker has ended', () =>
        trainers().some((pid) => left.includes(pid)) ? null : true,
      );
      const run = await stack.waits(MODEL, 1);
      expect(run.training?.attempt).toBeGreaterThan(1);
      expect(run.eventKeys).toEqual(['refit/cli part-0']);
      expect(await stack.versions(MODEL)).toHaveLength(1);
      await stack.refit('approve', run.run, '--as', 'ana');
      await stack.champion(MODEL, 1);
      await keepHead();
    },
    10 * MINUTES_MS,
  );

  it(
    'of the gateway while events are published: each is taken, none twice',
    async () => {
      let killed = false;
      const retried = await publishThrough('gateway', 30, async (index) => {
        if (index !== 5 && index !== 20) return;
        await until('the gateway runs', async () => ((await stack.readOrNull('/models')) ? true : null));
        await stack.kill('gateway');
        killed = true;
      });
      expect(killed && retried > 0).toBe(true);
      await until('the gateway is back', () => stack.readOrNull('/models'));
      // At least one delivery of each, and of the data before; more where a publisher had to send again.
      await until('all are in', async () => {
        const counts = await stack.readOrNull<{ published: number }>('/events/counts');
        return counts && counts.published >= 301 ? true : null;
      });
      await stack.settled();
      expect(await fatesOf('gateway', 300)).toEqual({ refused: 150, ignored: 150 });
      expect(await stack.runs(MODEL)).toHaveLength(1);
    },
    10 * MINUTES_MS,
  );

  it(
    'of the inference server in a canary: callers miss it only while it is down, and the rollout goes on to its end',
    async () => {
      await publishData(1);
      const run = await stack.waits(MODEL, 2);
      const traffic = startTraffic('canary');
      try {
        await until('callers are answered', () => (traffic.answered > 10 ? true : null));
        // Looked for from before the approval: the step is over soon, and a slow CLI must not miss it.
        await Promise.all([inCanary(), stack.refit('approve', run.run, '--as', 'ben')]);
        await until('the challenger answers', () => (traffic.versions.has('2') ? true : null));
        expect(traffic.refused).toBe(0);
        const pid = await stack.kill('serve');
        expect((await stack.rollout(MODEL)).deployments[0]).toMatchObject({ toVersion: 2, outcome: null });
        await until('the server is back', async () => {
          if ((await stack.pid('serve').catch(() => pid)) === pid) return null;
          return (await fetch(`${stack.inference}/v2/models/${MODEL}/ready`).catch(() => null))?.ok || null;
        });
        const backMs = Date.now();
        const answered = traffic.answered;
        await stack.champion(MODEL, 2);
        await until('callers are answered again', () => (traffic.answered > answered + 50 ? true : null));
        expect(traffic.refused).toBeGreaterThan(0);
        // None that begins once it is back.
        expect(traffic.lastRefusedMs).toBeLessThanOrEqual(backMs);
      } finally {
        await traffic.stop();
      }
      expect(traffic.errors).toEqual([]);
      const [deployment] = (await stack.rollout(MODEL)).deployments;
      expect(deployment).toMatchObject({ deployment: 2, toVersion: 2, outcome: 'promoted' });
      await keepHead();
    },
    10 * MINUTES_MS,
  );

  it(
    'of everything at once, in training and then in a canary: after refit up the story goes on to the same end',
    async () => {
      await publishData(2);
      await training();
      await stack.killEverything();
      await stack.up();
      const run = await stack.waits(MODEL, 3);
      expect(run.eventKeys).toEqual(['refit/cli part-2']);
      const traffic = startTraffic('all');
      try {
        // Looked for from before the approval: the step is over soon, and a slow CLI must not miss it.
        await Promise.all([inCanary(), stack.refit('approve', run.run, '--as', 'ana')]);
        await keepHead();
        await stack.killEverything();
        await stack.up();
        await stack.champion(MODEL, 3);
      } finally {
        await traffic.stop();
      }
      expect(traffic.errors).toEqual([]);
    },
    10 * MINUTES_MS,
  );

  it('leaves one run a trigger, one version and one deployment a decision, and plan numbers that only grew', async () => {
    const runs = (await stack.runs(MODEL)).reverse();
    expect(runs.map((run) => [run.eventKeys, run.outcome, run.version])).toEqual(
      [0, 1, 2].map((part) => [[`refit/cli part-${part}`], 'approved', part + 1]),
    );
    expect((await stack.versions(MODEL)).map((one) => [one.version, one.role])).toEqual([
      [3, 'champion'],
      [2, 'archived'],
      [1, 'archived'],
    ]);
    const { deployments, plan } = await stack.rollout(MODEL);
    expect(deployments.map((one) => [one.deployment, one.toVersion, one.outcome])).toEqual(
      [3, 2, 1].map((number) => [number, number, 'promoted']),
    );
    expect(plan).toMatchObject({ deployment: 3, entries: [{ version: 3, role: 'champion' }] });
    const numbers = plans.map((one) => one.deployment * 1_000 + one.revision);
    // Of the at most seven those that were met while they were in force.
    expect(new Set(numbers).size).toBeGreaterThan(3);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
  });

  it(
    'leaves each delivery with one fate, an audit that verifies against heads kept before, and a champion whose files are what was approved',
    async () => {
      const { published = 0, ...fates } = await stack.settled();
      expect(Object.values(fates).reduce((sum, count) => sum + count, 0)).toBe(published);
      expect(fates).toMatchObject({ acted_on: 3, refused: 150, ignored: 150, dead_lettered: 0 });
      expect(heads).toHaveLength(3);
      for (const head of heads) expect(await stack.verifyAudit(MODEL, head)).toMatchObject({ ok: true });
      const [champion] = await stack.versions(MODEL);
      const { approval } = await stack.read<{ approval: { bundleDigest: string; decisions: { status: string }[] } }>(
        `/runs/${champion?.run}`,
      );
      expect(champion?.bundleDigest).toBe(approval.bundleDigest);
      expect(approval.decisions.map((one) => one.status)).toEqual(['accepted']);
      await stack.verifyBundle(approval.bundleDigest);
    },
    10 * MINUTES_MS,
  );
});
