/** The tests' real Temporal server, in a namespace of the test file's own: workers of one file never see workflows of another. */
import { randomUUID } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { NativeConnection } from '@temporalio/worker';
import { afterAll, beforeAll, inject } from 'vitest';
import { ensureSearchAttributes } from '../../src/local/search-attributes.ts';
import { eventually, Loop } from './workflow-loop.ts';
import { quietRuntime } from './workflow-runtime.ts';

export function onDevServer(): () => Loop {
  const closing: (() => Promise<void>)[] = [];
  let loop: Loop | undefined;
  beforeAll(async () => {
    quietRuntime();
    const address = inject('temporalAddress');
    const namespace = `test-${randomUUID()}`;
    const connection = await Connection.connect({ address });
    closing.push(() => connection.close());
    const workflowExecutionRetentionPeriod = msToTs('1 day');
    await connection.workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod });
    // The server's parts learn of a namespace one after another.
    await eventually('the namespace has its attributes', () =>
      ensureSearchAttributes(connection, namespace).then(
        () => true,
        () => false,
      ),
    );
    const native = await NativeConnection.connect({ address });
    closing.push(() => native.close());
    const client = new Client({ connection, namespace });
    await eventually('the namespace can be used', () =>
      client.workflow.count().then(
        () => true,
        () => false,
      ),
    );
    loop = await Loop.start({ client, connection: native, namespace, nowMs: async () => Date.now() });
    closing.push(() => loop?.stop() ?? Promise.resolve());
  });
  afterAll(async () => {
    for (const close of closing.reverse()) await close();
  });
  return () => {
    if (!loop) throw new Error('the loop has not started');
    return loop;
  };
}
