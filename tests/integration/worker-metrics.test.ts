/** A worker tells Prometheus what Temporal's SDK measures, once it has a port for that; a port that is taken is said so. */
import { createServer } from 'node:net';
import { afterAll, expect, inject, it } from 'vitest';
import { type PartProcess, quietPorts, runRefit, startPart } from '../support/e2e-refit.ts';
import { makeWorld, TIMEOUT_MS, useGatewayWorlds } from '../support/gateway-world.ts';

useGatewayWorlds();
const parts: PartProcess[] = [];
afterAll(async () => {
  for (const part of parts) await part.end();
}, TIMEOUT_MS);

it(
  'serves the metrics of its queues on the loopback address',
  async () => {
    const [port] = await quietPorts(1);
    const world = await makeWorld({ REFIT_WORKER_METRICS_PORT: String(port), REFIT_PYTHON: inject('pythonPath') });
    parts.push(await startPart('worker', { cwd: world.folder, env: world.environment }));
    const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
    expect(answer.status).toBe(200);
    const text = await answer.text();
    for (const queue of ['refit-control', 'refit-data', 'refit-train']) expect(text).toContain(`task_queue="${queue}"`);
    expect(text).toMatch(/^temporal_worker_start/m);
  },
  TIMEOUT_MS,
);

it(
  'says which setting to change when the port is taken',
  async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const world = await makeWorld({ REFIT_WORKER_METRICS_PORT: String(port), REFIT_PYTHON: inject('pythonPath') });
    const ended = await runRefit(['worker'], { cwd: world.folder, env: world.environment });
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toContain(
      `metrics cannot be served on 127.0.0.1:${port}; give REFIT_WORKER_METRICS_PORT another port`,
    );
    await new Promise((resolve) => server.close(resolve));
  },
  TIMEOUT_MS,
);
