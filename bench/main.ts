/** `npm run bench -- [gateway] [lifecycle] [data]`: each figure beside its peer in the same run, each ratio beside its target. */
import { cpus } from 'node:os';
import { startTestServers, type TestServers } from '../tests/support/stack.ts';
import { dataBench } from './data.ts';
import { gatewayBench } from './gateway.ts';
import { lifecycleBench } from './lifecycle.ts';
import { say } from './report.ts';

/** Those that need Temporal and Kafka, and those that need no service. */
const ON_SERVERS = { gateway: gatewayBench, lifecycle: lifecycleBench } as const;
const ALONE = { data: dataBench } as const;

const known = [...Object.keys(ON_SERVERS), ...Object.keys(ALONE)];
const asked = process.argv.slice(2);
const wrong = asked.filter((name) => !known.includes(name));
if (wrong.length > 0) throw new Error(`${wrong.join(', ')}: the benches are ${known.join(', ')}`);
const names = asked.length > 0 ? asked : known;

let servers: TestServers | undefined;
try {
  for (const name of names) {
    say(`\n${name}, on ${cpus().length} cores`);
    if (Object.hasOwn(ALONE, name)) await ALONE[name as keyof typeof ALONE]();
    else {
      servers ??= await startTestServers();
      await ON_SERVERS[name as keyof typeof ON_SERVERS](servers);
    }
  }
} finally {
  await servers?.stop();
}
