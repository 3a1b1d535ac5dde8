/** The gateway with failpoints. */
import { built, decorated, endWithParent, partLogger, partSettings } from './start.ts';

endWithParent();
const { startGateway } = await built<typeof import('../../../src/gateway/gateway.ts')>('src/gateway/gateway.js');
const gateway = await startGateway(await partSettings(), partLogger('gateway'), decorated);
process.stdout.write('{"part":"gateway","status":"ready"}\n');
process.once('SIGTERM', () => void gateway.stop());
