/** H: every history that Temporal has, run again by the workflows of the bundle. */
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import type { Where } from './evidence.ts';
import type { Tally } from './report.ts';

export async function checkHistories({ temporal, bundle }: Where, tally: Tally): Promise<number> {
  try {
    Runtime.install({ logger: new DefaultLogger('ERROR', () => undefined) });
  } catch {
    // Somebody in this process was first; only the log differs.
  }
  const connection = await Connection.connect({ address: temporal.address });
  try {
    const client = new Client({ connection, namespace: temporal.namespace });
    const histories = client.workflow.list().intoHistories({ concurrency: 4 });
    let count = 0;
    for await (const result of Worker.runReplayHistories(
      { workflowBundle: { codePath: bundle }, replayName: 'oracle' },
      histories,
    )) {
      count += 1;
      tally.check('H', result.error === undefined, `${result.workflowId}: ${result.error?.message.slice(0, 300)}`);
    }
    tally.check('H', count > 0, 'Temporal has no history at all');
    return count;
  } finally {
    await connection.close();
  }
}
