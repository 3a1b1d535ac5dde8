/** A server of its own on which time is skipped: one for each test file. */
import { type WorkflowHandle, WorkflowNotFoundError } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, inject } from 'vitest';
import { SEARCH_ATTRIBUTES } from '../../src/local/search-attributes.ts';
import type { Messenger } from '../../src/ports/messenger.ts';
import { Loop } from './workflow-loop.ts';
import { quietRuntime } from './workflow-runtime.ts';

export interface SkippedTime {
  readonly loop: Loop;
  readonly skip: (duration: string) => Promise<void>;
  /** Until no workflow has a task or an activity in hand: before one is ended from outside. */
  readonly rest: () => Promise<void>;
  readonly nowMs: () => Promise<number>;
}

async function openWorkflows(loop: Loop): Promise<readonly WorkflowHandle[]> {
  // A dataset may still be busy with handing on what its lifecycle has settled already.
  const handles: WorkflowHandle[] = (await loop.registry.datasets()).map(({ name }) => loop.datasetHandle(name));
  for (const { name } of await loop.registry.models()) {
    const deployments = (await loop.registry.deployments(name, 100)).filter((one) => one.outcome === null);
    handles.push(loop.lifecycleHandle(name), ...deployments.map((one) => loop.rolloutHandle(name, one.deployment)));
    handles.push(...(await loop.registry.openRuns(name)).map((one) => loop.runHandle(one.run)));
  }
  return handles;
}

async function isAtRest(handle: WorkflowHandle): Promise<boolean> {
  try {
    const { raw } = await handle.describe();
    return (raw.pendingActivities ?? []).length === 0 && !raw.pendingWorkflowTask;
  } catch (error) {
    // Registered, but nobody has started its workflow.
    if (error instanceof WorkflowNotFoundError) return true;
    throw error;
  }
}

/** An activity in hand when time is skipped would time out, and the server would skip no more after it. */
async function atRest(loop: Loop): Promise<void> {
  // Twice in a row, since one workflow may have woken another meanwhile.
  for (let seen = 0; seen < 2; ) {
    const rest = await Promise.all((await openWorkflows(loop)).map(isAtRest));
    seen = rest.every(Boolean) ? seen + 1 : 0;
  }
}

/**
 * Tests leave their workflows open: to end them from outside in the middle of a task would hold the server's time for good.
 * Every skip of time wakes the lifecycles of all tests before it in the file. Skip to moments at which no timer is due (a
 * lifecycle looks around each 15 minutes): a timer that fires while a workflow cancels it wedges this server.
 */
export function inSkippedTime(messenger?: () => Messenger): () => SkippedTime {
  let env: TestWorkflowEnvironment | undefined;
  let found: SkippedTime | undefined;
  beforeAll(async () => {
    quietRuntime();
    const path = inject('testServerPath');
    env = await TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } });
    const { client, nativeConnection: connection } = env;
    const nowMs = () => (env ? env.currentTimeMs() : Promise.reject(new Error('the server has stopped')));
    const rest = async () => {
      if (found) await atRest(found.loop);
    };
    const skip = async (duration: string) => {
      await rest();
      await env?.sleep(duration);
    };
    // This server refuses an attribute that it does not know, and cannot list those it knows.
    const searchAttributes = Object.fromEntries(
      Object.entries(SEARCH_ATTRIBUTES).map(([name, { code }]) => [name, code]),
    );
    await env.connection.operatorService.addSearchAttributes({ namespace: 'default', searchAttributes });
    found = {
      loop: await Loop.start({ client, connection, nowMs, ...(messenger ? { messenger: messenger() } : {}) }),
      skip,
      rest,
      nowMs,
    };
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
