/** A server of its own on which time is skipped: one for each test file. */
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, inject } from 'vitest';
import { SEARCH_ATTRIBUTES } from '../../src/local/search-attributes.ts';
import type { Messenger } from '../../src/ports/messenger.ts';
import { Loop } from './workflow-loop.ts';
import { quietRuntime } from './workflow-runtime.ts';

export interface SkippedTime {
  readonly loop: Loop;
  readonly skip: (duration: string) => Promise<void>;
  readonly nowMs: () => Promise<number>;
}

/**
 * Tests leave their workflows open: to end them from outside in the middle of a task would hold the server's time for good.
 * Every skip of time wakes the lifecycles of all tests before it in the file.
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
    const skip = async (duration: string) => env?.sleep(duration);
    // This server refuses an attribute that it does not know, and cannot list those it knows.
    const searchAttributes = Object.fromEntries(
      Object.entries(SEARCH_ATTRIBUTES).map(([name, { code }]) => [name, code]),
    );
    await env.connection.operatorService.addSearchAttributes({ namespace: 'default', searchAttributes });
    found = {
      loop: await Loop.start({ client, connection, nowMs, ...(messenger ? { messenger: messenger() } : {}) }),
      skip,
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
