/** A namespace of a test's own on the shared Temporal server: ids of one test's workflows are never those of another's. */
import { randomUUID } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { ensureSearchAttributes } from '../../src/local/search-attributes.ts';
import { eventually } from './workflow-loop.ts';

const works = (ask: () => Promise<unknown>): Promise<boolean> =>
  ask().then(
    () => true,
    () => false,
  );

/** Its name, once the server's parts have all learned of it. */
export async function newNamespace(address: string): Promise<string> {
  const namespace = `test-${randomUUID()}`;
  const connection = await Connection.connect({ address });
  try {
    const workflowExecutionRetentionPeriod = msToTs('1 day');
    await connection.workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod });
    await eventually('the namespace has its attributes', () =>
      works(() => ensureSearchAttributes(connection, namespace)),
    );
    const client = new Client({ connection, namespace });
    await eventually('the namespace can be used', () => works(() => client.workflow.count()));
    return namespace;
  } finally {
    await connection.close();
  }
}
