/**
 * Records the histories that every later version must replay: `npx tsx tests/replay/record.ts`. Plays the scenarios on a
 * Temporal server of its own and writes histories/SCENARIO@VERSION.json. Recorded files are never written over: they are
 * what running workflows look like.
 */
import { execFile } from 'node:child_process';
import { access, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { promisify } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { QUEUES } from '../../src/contracts/values.ts';
import {
  datasetWorkflowId,
  lifecycleWorkflowId,
  rolloutWorkflowId,
  runWorkflowId,
  sweepWorkflowId,
} from '../../src/domain/ids.ts';
import { startTestServers, temporaryHome, testSettings, testTools } from '../support/stack.ts';
import { workflowBundle } from '../support/workflow-bundle.ts';
import { Loop } from '../support/workflow-loop.ts';
import { quietRuntime } from '../support/workflow-runtime.ts';
import { batchActivities, datasetActivities, playBatches, playRules, playScenarios, playSlices } from './scenarios.ts';

const root = new URL('../../', import.meta.url);
const { version } = JSON.parse(await readFile(new URL('package.json', root), 'utf8')) as { version: string };

/** Stacks and identities say where they were made; that is nobody's business. */
const tidy = (json: string): string =>
  json
    .replaceAll(root.pathname, '/')
    .replaceAll(hostname(), 'host')
    .replace(/\b\d+@host/g, '1@host');

async function save(scenario: string, workflowId: string): Promise<void> {
  const file = new URL(`histories/${scenario}@${version}.json`, import.meta.url);
  const exists = await access(file).then(
    () => true,
    () => false,
  );
  if (exists) return;
  const show = [
    'workflow',
    'show',
    '--workflow-id',
    workflowId,
    '--output',
    'json',
    '--address',
    servers.temporalAddress,
  ];
  const { stdout } = await promisify(execFile)(temporalCli, show, { maxBuffer: 2 ** 26 });
  await writeFile(file, `${tidy(JSON.stringify({ workflowId, history: JSON.parse(stdout) }))}\n`);
  process.stdout.write(`${scenario}\n`);
}

async function recordWithoutLoop(): Promise<void> {
  const shared = { connection: native, activities: { ...batchActivities(), ...datasetActivities() } };
  const workers = await Promise.all([
    Worker.create({ ...shared, taskQueue: QUEUES.control, workflowBundle: await workflowBundle() }),
    Worker.create({ ...shared, taskQueue: QUEUES.data }),
  ]);
  const done = Promise.all(workers.map((worker) => worker.run()));
  for (const { scenario, workflowId } of await playBatches(client)) await save(scenario, workflowId);
  const sliced = await playSlices(client);
  await save(sliced.scenario, sliced.workflowId);
  for (const worker of workers) worker.shutdown();
  await done;
}

quietRuntime();
const { temporalCli } = await testTools(await testSettings(await temporaryHome('record')));
const servers = await startTestServers();
const connection = await Connection.connect({ address: servers.temporalAddress });
const native = await NativeConnection.connect({ address: servers.temporalAddress });
const client = new Client({ connection });

async function recordLoop(): Promise<void> {
  const loop = await Loop.start({ client, connection: native, nowMs: async () => Date.now() });
  try {
    await saveAll(loop);
  } finally {
    await loop.stop();
  }
}

async function saveAll(loop: Loop): Promise<void> {
  const { scenario: rules, model: patient } = await playRules(loop);
  await save(`lifecycle-${rules}`, lifecycleWorkflowId(patient));
  for (const { scenario, model, run, deployment, dataset } of await playScenarios(loop)) {
    if (dataset !== undefined) await save(scenario, datasetWorkflowId(dataset));
    else if (run !== undefined) await save(scenario, runWorkflowId(model, run));
    else if (deployment !== undefined) await save(scenario, rolloutWorkflowId(model, deployment));
    else {
      await save(`lifecycle-${scenario}`, lifecycleWorkflowId(model));
      await save(`dataset-${scenario}`, datasetWorkflowId(`${model}-data`));
      await save(`sweep-${scenario}`, sweepWorkflowId(model));
    }
  }
}

try {
  await recordLoop();
  await recordWithoutLoop();
} finally {
  await native.close();
  await connection.close();
  await servers.stop();
}
