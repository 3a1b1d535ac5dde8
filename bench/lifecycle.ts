/**
 * From an event to the champion that it made, with a trainer that costs nothing, against a bare workflow on the same server with as many
 * activities, each doing one durable write to a registry of the same kind.
 */

import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { bundleWorkflows } from '../src/local/bundle.ts';
import { ensureSearchAttributes } from '../src/local/search-attributes.ts';
import { freshRegistry } from '../tests/support/registry-fixtures.ts';
import type { TestServers } from '../tests/support/stack.ts';
import { definition, Loop } from '../tests/support/workflow-loop.ts';
import { quietRuntime } from '../tests/support/workflow-runtime.ts';
import { median, say, tellRatio, until } from './report.ts';
import { createWriteActivities } from './writes.ts';

const ROUNDS = 15;
const WARM_UP = 3;

/** Activities of all workflows that bring an event to a champion. */
async function activitiesOf(loop: Loop, model: string): Promise<number> {
  const handles = [
    loop.datasetHandle(`${model}-data`),
    loop.lifecycleHandle(model),
    loop.runHandle(`${model}-000001`),
    loop.rolloutHandle(model, 1),
  ];
  let activities = 0;
  for (const handle of handles) {
    const { events } = await handle.fetchHistory();
    activities += (events ?? []).filter((event) => event.activityTaskScheduledEventAttributes).length;
  }
  return activities;
}

async function refitOnce(loop: Loop, model: string): Promise<number> {
  await loop.apply(definition(model));
  const started = performance.now();
  await loop.publishData(model, 'first');
  const approval = await until(`${model} asks`, async () => (await loop.registry.approval(`${model}-000001`)) ?? null);
  // The run takes a decision once it waits for one; a person would take longer.
  await until('the decision is taken', async () =>
    (await loop.decide(approval, 'ana').then(
      ({ status }) => status,
      () => null,
    )) === 'accepted'
      ? true
      : null,
  );
  await until(`${model} has its champion`, async () => (await loop.registry.champion(model)) ?? null);
  return performance.now() - started;
}

export async function lifecycleBench(servers: TestServers): Promise<void> {
  quietRuntime();
  const connection = await Connection.connect({ address: servers.temporalAddress });
  const native = await NativeConnection.connect({ address: servers.temporalAddress });
  await ensureSearchAttributes(connection, 'default');
  const client = new Client({ connection });
  const loop = await Loop.start({ client, connection: native, nowMs: async () => Date.now() });
  const { registry, close } = await freshRegistry();
  const code = await bundleWorkflows(fileURLToPath(new URL('workflows.ts', import.meta.url)));
  const worker = await Worker.create({
    ...{ connection: native, taskQueue: 'bench', activities: createWriteActivities(registry) },
    workflowBundle: { code },
  });
  const working = worker.run();
  const refit: number[] = [];
  const bare: number[] = [];
  let activities = 0;
  try {
    for (let round = 0; round < WARM_UP + ROUNDS; round += 1) {
      const model = `bench-${round}`;
      const took = await refitOnce(loop, model);
      activities = await activitiesOf(loop, model);
      const started = performance.now();
      await client.workflow.execute('writing', {
        taskQueue: 'bench',
        workflowId: `writing-${round}`,
        args: [activities],
      });
      if (round < WARM_UP) continue;
      refit.push(took);
      bare.push(performance.now() - started);
    }
  } finally {
    worker.shutdown();
    await working;
    await loop.stop();
    await close();
    await native.close();
    await connection.close();
  }
  say(`from an event to its champion: ${median(refit).toFixed(0)} ms, ${activities} activities in four workflows`);
  say(`a bare workflow with ${activities} activities: ${median(bare).toFixed(0)} ms`);
  tellRatio({ name: 'lifecycle overhead', value: median(refit) / median(bare), target: 1.3, atLeast: false });
}
