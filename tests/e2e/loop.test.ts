/**
 * The loop in one local stack, through the CLI: three models at once, each on a dataset and with a trainer of its own, go from
 * events over approvals to answers, and a run that waits is not lost by `down` and `up`.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { until } from '../support/e2e-refit.ts';
import { copyProject, E2eStack, gardenRequest, type ShownEvent, writeGarden } from '../support/e2e-stack.ts';

// How long it takes is not what is proven here, and the machine may be busy.
const MINUTES_MS = 60_000;
const ROWS = 2_000;
const MODELS = [
  { model: 'blooms', dataset: 'beds', file: 'beds.parquet', output: 'probabilities', width: 2 },
  { model: 'heights', dataset: 'pots', file: 'pots.csv', output: 'prediction', width: 1 },
  { model: 'states', dataset: 'fields', file: 'fields.jsonl', output: 'probabilities', width: 3 },
] as const;

let stack: E2eStack;
let project: string;
beforeAll(async () => {
  stack = await E2eStack.create(inject('pythonPath'));
  project = await copyProject('gardens', stack.folder);
  for (const { file } of MODELS) await writeGarden(join(project, 'data', file), 0, ROWS);
  await stack.up();
}, 10 * MINUTES_MS);
afterAll(() => stack?.close(), 10 * MINUTES_MS);

const runOf = (model: string, number = 1): string => `${model}-${String(number).padStart(6, '0')}`;
const decideBySignal = async (model: string, actor: string, requestId: string, reason: string | null = null) => {
  const { bundleDigest } = await stack.approval(runOf(model));
  await stack.signal(`run/${model}/${runOf(model)}`, 'approve', { requestId, actor, bundleDigest, reason });
};

describe('the loop', () => {
  it(
    'trains three models at once from events: binary, regression, and multiclass by a command of the project',
    async () => {
      const changes = await stack.json<{ changes: { kind: string; name: string; status: string }[] }>(
        'apply',
        project,
        '--as',
        'dev',
      );
      expect(changes.changes.map((one) => `${one.kind} ${one.name} ${one.status}`).sort()).toEqual([
        ...['beds', 'fields', 'pots'].map((name) => `Dataset ${name} created`),
        ...['blooms', 'heights', 'states'].map((name) => `Model ${name} created`),
        'Policy gardeners created',
      ]);
      for (const { dataset, file } of MODELS)
        await stack.refit('publish', 'data', dataset, join(project, 'data', file));
      const runs = await Promise.all(MODELS.map(({ model }) => stack.waits(model, 1)));
      for (const run of runs) {
        expect(run).toMatchObject({ trigger: 'data', outcome: null, version: 1 });
        expect(run.eventKeys).toHaveLength(1);
      }
      const approvals =
        await stack.json<
          { run: string; required: number; bundleDigest: string; decisions: unknown[]; expiresAt: string }[]
        >('approvals');
      expect(approvals.map((one) => [one.run, one.required, one.decisions.length]).sort()).toEqual([
        ['blooms-000001', 1, 0],
        ['heights-000001', 1, 0],
        ['states-000001', 2, 0],
      ]);
    },
    10 * MINUTES_MS,
  );

  it(
    'refuses a decision of who is not entitled, for another digest, or on a run that does not wait: exit 1, with the reason',
    async () => {
      const stranger = await stack.try('approve', runOf('blooms'), '--as', 'mallory');
      expect(stranger, stranger.stderr).toMatchObject({ code: 1 });
      expect(stranger.stdout).toMatch(/refused, .*mallory/);
      const other = await stack.try('approve', runOf('blooms'), '--as', 'ana', '--digest', 'f'.repeat(64));
      expect(other.code).toBe(1);
      expect(other.stdout).toMatch(/refused, .*f{12}/s);
      const unknown = await stack.try('approve', runOf('blooms', 9), '--as', 'ana');
      expect(unknown.code).toBe(2);
      expect(unknown.stderr).toContain('blooms-000009 is not known; see refit runs list');
      const { decisions } = (
        await stack.json<{ run: string; decisions: { actor: string; status: string }[] }[]>('approvals')
      ).find((one) => one.run === runOf('blooms')) ?? { decisions: [] };
      expect(decisions.map((one) => [one.actor, one.status])).toEqual([
        ['mallory', 'refused'],
        ['ana', 'refused'],
      ]);
      expect(await stack.versions('blooms')).toMatchObject([{ version: 1, role: 'candidate' }]);
    },
    10 * MINUTES_MS,
  );

  it(
    'takes approvals by update and by signal, counts each person once, and promotes',
    async () => {
      const byUpdate = await stack.refit('approve', runOf('blooms'), '--as', 'ana', '--comment', 'looked at it');
      expect(byUpdate.stdout).toContain('blooms@1 is approved');
      await decideBySignal('states', 'ana', 'one');
      const states = () =>
        stack.read<{
          approval: { decisions: { actor: string; via: string; status: string }[] };
          outcome: string | null;
        }>(`/runs/${runOf('states')}`);
      const decided = (count: number) =>
        until(`${count} decisions`, async () => ((await states()).approval.decisions.length >= count ? true : null));
      await decided(1);
      await decideBySignal('states', 'ana', 'two');
      await decideBySignal('states', 'mallory', 'three');
      await decided(3);
      expect((await states()).outcome).toBeNull();
      await decideBySignal('states', 'ben', 'four');
      await until('the quorum approves', async () => ((await states()).outcome === 'approved' ? true : null));
      expect((await states()).approval.decisions.map((one) => [one.actor, one.via, one.status])).toEqual([
        ['ana', 'signal', 'accepted'],
        ['ana', 'signal', 'refused'],
        ['mallory', 'signal', 'refused'],
        ['ben', 'signal', 'accepted'],
      ]);
      await stack.champion('blooms', 1);
      await stack.champion('states', 1);
      const late = await stack.try('approve', runOf('blooms'), '--as', 'ben');
      expect(late.code).toBe(1);
      expect(late.stdout).toMatch(/refused, /);
    },
    10 * MINUTES_MS,
  );

  it(
    'goes down and up, and a run that waits for approval still waits; refit approve completes it',
    async () => {
      const before = await stack.approval(runOf('heights'));
      await stack.refit('down');
      expect((await stack.try('approvals')).code).toBe(3);
      await stack.up();
      expect(await stack.json('approvals')).toMatchObject([
        { run: before.run, version: before.version, bundleDigest: before.bundleDigest },
      ]);
      await stack.refit('approve', runOf('heights'), '--as', 'ben');
      await stack.champion('heights', 1);
    },
    10 * MINUTES_MS,
  );

  it(
    'answers over the Open Inference Protocol for all three, also for what was promoted before the restart',
    async () => {
      for (const { model, output, width } of MODELS) {
        const ready = await fetch(`${stack.inference}/v2/models/${model}/ready`);
        expect(ready.status, model).toBe(200);
        const response = await fetch(`${stack.inference}/v2/models/${model}/infer`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(gardenRequest(`${model}-1`)),
        });
        const answer = (await response.json()) as {
          id: string;
          parameters: { version: number; role: string };
          outputs: { name: string; shape: number[]; data: number[] }[];
        };
        expect(response.status, JSON.stringify(answer)).toBe(200);
        expect(answer).toMatchObject({ id: `${model}-1`, parameters: { version: 1, role: 'champion' } });
        expect(answer.outputs).toMatchObject([{ name: output, shape: [4, width] }]);
        const data = answer.outputs[0]?.data ?? [];
        expect(data.every(Number.isFinite)).toBe(true);
        // Far from constant: a height between those of the data, or shares that add up to 1.
        if (width === 1) for (const height of data) expect(height).toBeGreaterThan(5);
        else expect(data.slice(0, width).reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 5);
      }
    },
    10 * MINUTES_MS,
  );

  it(
    'accounts for every event: duplicates, strangers, unchanged files and files that cannot be read',
    async () => {
      const repeated = await stack.json<{ accepted: { id: string }[] }>(
        'publish',
        'data',
        'beds',
        join(project, 'data', 'beds.parquet'),
      );
      await stack.json('publish', 'data', 'beds', join(project, 'data', 'beds.parquet'), '--id', 'unchanged');
      await stack.json('publish', 'data', 'nobody', join(project, 'data', 'beds.parquet'), '--id', 'stranger');
      await stack.json(
        'publish',
        'drift',
        'heights',
        '--feature',
        'light',
        '--score',
        '0.01',
        '--verdict',
        'stable',
        '--id',
        'calm',
      );
      const missing = join(project, 'data', 'gone.parquet');
      await writeFile(
        join(stack.folder, 'missing.json'),
        JSON.stringify({
          specversion: '1.0',
          id: 'gone',
          source: 'test/loop',
          type: 'dev.refit.data.arrived.v1',
          data: { dataset: 'pots', uris: [`file://${missing}`] },
        }),
      );
      await stack.json('publish', join(stack.folder, 'missing.json'));
      // A publisher can be quicker than its consumer: count once all have come in.
      await until('all deliveries are in', async () =>
        (await stack.read<{ published: number }>('/events/counts')).published >= 8 ? true : null,
      );
      const counts = await stack.settled();
      expect(counts).toMatchObject({
        published: 8,
        acted_on: 3,
        duplicate: 1,
        ignored: 1,
        refused: 3,
        dead_lettered: 0,
      });
      const fate = async (id: string) =>
        (await stack.json<ShownEvent>('events', 'show', id)).fates.map((one) => `${one.fate}: ${one.reason}`);
      expect(await fate('unchanged')).toEqual([expect.stringMatching(/^refused: .*unchanged/)]);
      expect(await fate('stranger')).toEqual([expect.stringMatching(/^ignored: no dataset nobody/)]);
      expect(await fate('gone')).toEqual([expect.stringMatching(/^refused: .*gone\.parquet/)]);
      const first = await stack.json<ShownEvent>('events', 'show', repeated.accepted[0]?.id ?? '');
      expect(first.deliveries.map((one) => one.fate)).toEqual([null, 'duplicate']);
      for (const { model } of MODELS) expect(await stack.runs(model)).toHaveLength(1);
    },
    10 * MINUTES_MS,
  );

  it(
    'says why, and its audit chains verify, also against a head kept elsewhere',
    async () => {
      for (const { model } of MODELS) {
        const verified = await stack.verifyAudit(model);
        expect(verified).toMatchObject({ ok: true, head: { sequence: verified.rows } });
        const head = `${verified.head?.sequence}:${verified.head?.hash}`;
        expect(await stack.verifyAudit(model, head)).toMatchObject({ ok: true });
        const forged = await stack.try('audit', 'verify', model, '--head', `${verified.rows}:${'0'.repeat(64)}`);
        expect(forged.code).toBe(1);
        const why = await stack.refit('why', `${model}@champion`);
        expect(why.stdout).toMatch(
          new RegExp(`${model}@1 is champion.*${model}-000001 was started by data by 1 event`),
        );
        const [version] = await stack.versions(model);
        await stack.verifyBundle(version?.bundleDigest ?? '');
      }
      expect((await stack.refit('why', 'states@champion')).stdout).toContain(
        'approved by ana via signal and ben via signal',
      );
      expect((await stack.refit('why', 'blooms-000001')).stdout).toContain('ended approved');
      expect((await stack.refit('why', 'stranger')).stdout).toContain('ignored');
      expect((await stack.try('why', 'nothing-of-this-name')).code).toBe(2);
    },
    10 * MINUTES_MS,
  );

  it(
    'plays what happened through another policy, side by side with what happened',
    async () => {
      const policy = join(stack.folder, 'monthly.yaml');
      await writeFile(policy, 'triggers: [data]\nschedule: { cron: "0 3 1 * *" }\n');
      const told = await stack.json<
        { policy: string; runs: number; promoted: number; rows: number; alerts: { all: number; refused: number } }[]
      >('policy', 'simulate', 'heights', '--policy', policy);
      expect(told.map((one) => one.policy)).toEqual(['what happened', 'as defined', 'monthly']);
      // One arrival, whose file had all its rows; the alert was calm.
      for (const one of told) expect(one).toMatchObject({ runs: 1, promoted: 1, rows: ROWS });
      expect(told[0]?.alerts).toMatchObject({ all: 1, refused: 1 });
      const table = await stack.refit('policy', 'simulate', 'heights', '--policy', policy);
      expect(table.stdout).toMatch(/│ what happened │ as defined │ monthly +│/);
      const unknown = await stack.try('policy', 'simulate', 'nobody');
      expect(unknown.code).toBe(2);
      expect(unknown.stderr).toMatch(/nobody is not known/);
    },
    10 * MINUTES_MS,
  );
});
