/** The worker with failpoints. */
import { built, decorated, endWithParent, partLogger, partSettings } from './start.ts';

endWithParent();
const { startWorker } = await built<typeof import('../../../workers/worker.ts')>('workers/worker.js');
const python = process.env.CHAOS_PYTHON ?? 'python3';
const worker = await startWorker(
  await partSettings(),
  partLogger('worker'),
  ['control', 'data', 'train'],
  python,
  decorated,
);
process.stdout.write('{"part":"worker","status":"ready"}\n');
process.once('SIGTERM', () => worker.stop());
await worker.done;
