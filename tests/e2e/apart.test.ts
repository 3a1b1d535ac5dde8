/**
 * Publisher, gateway, worker and server as processes of their own, each started in a working directory and with a home of its
 * own: what they share is settings. And a trainer that exits 0 without a model is never a candidate.
 */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type Ended, type PartProcess, quietPorts, runRefit, startPart, until } from '../support/e2e-refit.ts';
import { copyProject, gardenRequest, type Run, writeGarden } from '../support/e2e-stack.ts';
import { newNamespace } from '../support/namespace.ts';

// How long it takes is not what is proven here, and the machine may be busy.
const MINUTES_MS = 60_000;

let folder: string;
let shared: NodeJS.ProcessEnv;
let project: string;
const parts: PartProcess[] = [];

/** A home and a working directory for each. */
async function placeOf(name: string): Promise<{ readonly cwd: string; readonly env: NodeJS.ProcessEnv }> {
  const cwd = join(folder, name);
  await mkdir(cwd, { recursive: true });
  return { cwd, env: { ...shared, REFIT_HOME: join(cwd, 'home') } };
}
const refit = async (who: string, ...args: string[]): Promise<Ended> => runRefit(args, await placeOf(who));
async function json<T>(who: string, ...args: string[]): Promise<T> {
  const ended = await refit(who, ...args, '--json');
  if (ended.code !== 0) throw new Error(`refit ${args.join(' ')} exited with ${ended.code}: ${ended.stderr}`);
  return JSON.parse(ended.stdout) as T;
}
const ended = (model: string): Promise<Run> =>
  until(`${model} waits or has ended`, async () => {
    const [run] = await json<Run[]>('operator', 'runs', 'list', model);
    return run && (run.stage === 'decide' || run.outcome !== null) ? run : null;
  });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-apart-'));
  const [gateway, serve] = await quietPorts(2);
  shared = {
    REFIT_URL: `http://127.0.0.1:${gateway}`,
    REFIT_GATEWAY_PORT: String(gateway),
    REFIT_SERVE_PORT: String(serve),
    REFIT_DATABASE_URL: `file:${join(folder, 'shared', 'refit.db')}`,
    REFIT_ARTIFACTS_URL: `file:${join(folder, 'shared', 'artifacts')}`,
    REFIT_DATA_ROOTS: join(folder, 'lake'),
    REFIT_TOPIC_PREFIX: `apart-${process.pid}-${Date.now()}.`,
    REFIT_PYTHON: inject('pythonPath'),
    KAFKA_BROKERS: inject('kafkaBrokers'),
    TEMPORAL_ADDRESS: inject('temporalAddress'),
    TEMPORAL_NAMESPACE: await newNamespace(inject('temporalAddress')),
  };
  await mkdir(join(folder, 'lake'));
  await mkdir(join(folder, 'shared'));
  project = await copyProject('gardens', join(folder, 'developer'));
  for (const part of ['gateway', 'worker', 'serve']) parts.push(await startPart(part, await placeOf(part)));
}, 10 * MINUTES_MS);

afterAll(async () => {
  for (const part of parts.reverse()) await part.end();
  await rm(folder, { recursive: true, force: true });
}, 10 * MINUTES_MS);

describe('parts that share only settings', () => {
  it(
    'take a model from a publisher’s event to an answer, and leave nothing in each other’s folders',
    async () => {
      // One of the three models gets a trainer that says it is done and has made nothing.
      await writeFile(join(project, 'train.py'), 'print("all done")\n');
      expect((await refit('developer', 'apply', project, '--as', 'dev')).code).toBe(0);
      const lake = (name: string): string => join(folder, 'lake', name);
      await writeGarden(lake('beds.parquet'), 0, 1_500);
      await writeGarden(lake('fields.csv'), 0, 1_500);
      expect((await refit('publisher', 'publish', 'data', 'beds', '../lake/beds.parquet')).code).toBe(0);
      expect((await refit('publisher', 'publish', 'data', 'fields', '../lake/fields.csv')).code).toBe(0);

      expect(await ended('blooms')).toMatchObject({ stage: 'decide', outcome: null, version: 1 });
      const empty = await ended('states');
      expect(empty).toMatchObject({ outcome: 'failed', version: null });
      expect(empty.outcomeReason).toContain('the trainer exited 0 but wrote no model.onnx');
      expect(await json('operator', 'versions', 'states')).toEqual([]);

      expect((await refit('approver', 'approve', 'blooms-000001', '--as', 'ana')).code).toBe(0);
      const inference = `http://127.0.0.1:${shared.REFIT_SERVE_PORT}/v2/models/blooms`;
      await until('the server has it', async () => ((await fetch(`${inference}/ready`)).ok ? true : null));
      const answer = await fetch(`${inference}/infer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(gardenRequest('apart')),
      });
      expect(answer.status).toBe(200);

      for (const who of ['developer', 'publisher', 'approver', 'operator']) {
        const left = (await readdir(join(folder, who))).filter((name) => name !== 'gardens');
        expect(left, who).toEqual([]);
      }
      for (const part of ['gateway', 'worker', 'serve'])
        expect(
          (await readdir(join(folder, part))).filter((name) => name !== 'home'),
          part,
        ).toEqual([]);
      expect((await readdir(join(folder, 'shared'))).filter((name) => !name.startsWith('refit.db'))).toEqual([
        'artifacts',
      ]);
    },
    10 * MINUTES_MS,
  );
});
