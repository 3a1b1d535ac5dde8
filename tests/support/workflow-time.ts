/** A server of its own on which time is skipped: one for each test file. */
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { afterAll, afterEach, beforeAll, inject } from 'vitest';
import { SEARCH_ATTRIBUTES } from '../../src/local/search-attributes.ts';
import type { Messenger } from '../../src/ports/messenger.ts';
import { Loop } from './workflow-loop.ts';

/** Workers warn of what these tests do on purpose, such as ending a workflow from outside. */
export function quietRuntime(): void {
  Runtime.install({ logger: new DefaultLogger('WARN'), telemetryOptions: { logging: { filter: { core: 'ERROR', other: 'ERROR' } } } });
}

export interface SkippedTime {
  readonly loop: Loop;
  readonly skip: (duration: string) => Promise<void>;
  readonly nowMs: () => Promise<number>;
}

/** Workflows that a test leaves open are ended after it, or every later skip of time would wake them. */
export function inSkippedTime(messenger?: () => Messenger): () => SkippedTime {
  let env: TestWorkflowEnvironment | undefined;
  let found: SkippedTime | undefined;
  beforeAll(async () => {
    quietRuntime();
    const path = inject('testServerPath');
    env = await TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } });
    const { client, nativeConnection: connection } = env;
    const nowMs = () => (env ? env.currentTimeMs() : Promise.reject(new Error('the server has stopped')));
    const skip = async (duration: string) => env?.sleep(duration);
    // This server refuses an attribute that it does not know, and cannot list those it knows.
    const searchAttributes = Object.fromEntries(Object.entries(SEARCH_ATTRIBUTES).map(([name, { code }]) => [name, code]));
    await env.connection.operatorService.addSearchAttributes({ namespace: 'default', searchAttributes });
    found = { loop: await Loop.start({ client, connection, nowMs, ...(messenger ? { messenger: messenger() } : {}) }), skip, nowMs };
  });
  afterEach(async () => {
    if (found) await endOpenWorkflows(found.loop);
  });
  afterAll(async () => {
    await found?.loop.stop();
    await env?.teardown();
  });
  return () => {
    if (!found) throw new Error('the server has not started');
    return found;
  };
}

async function endOpenWorkflows(loop: Loop): Promise<void> {
  const models = await loop.registry.models();
  for (const { name } of models) {
    const runs = await loop.registry.runs({ model: name, limit: 100 });
    const deployments = await loop.registry.deployments(name, 100);
    const handles = [
      loop.lifecycleHandle(name),
      ...runs.map((run) => loop.runHandle(run.run)),
      ...deployments.map((one) => loop.rolloutHandle(name, one.deployment)),
    ];
    // Those that have ended cannot be ended again.
    await Promise.allSettled(handles.map((handle) => handle.terminate('the test is over')));
  }
}
