/** `npm run bench -- [gateway] [lifecycle]`: each figure beside its peer in the same run, each ratio beside its target. */
import { cpus } from 'node:os';
import { startTestServers } from '../tests/support/stack.ts';
import { gatewayBench } from './gateway.ts';
import { lifecycleBench } from './lifecycle.ts';
import { say } from './report.ts';

const BENCHES = { gateway: gatewayBench, lifecycle: lifecycleBench } as const;
type Name = keyof typeof BENCHES;

const isName = (text: string): text is Name => Object.hasOwn(BENCHES, text);
const asked = process.argv.slice(2);
const wrong = asked.filter((name) => !isName(name));
if (wrong.length > 0) throw new Error(`${wrong.join(', ')}: the benches are ${Object.keys(BENCHES).join(', ')}`);
const names = asked.length > 0 ? asked.filter(isName) : (Object.keys(BENCHES) as Name[]);

const servers = await startTestServers();
try {
  for (const name of names) {
    say(`\n${name}, on ${cpus().length} cores`);
    await BENCHES[name](servers);
  }
} finally {
  await servers.stop();
}
