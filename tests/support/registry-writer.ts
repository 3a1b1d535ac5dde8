/** A process that writes to a registry and says what was acknowledged: `registry-writer.ts URL NAME COUNT`. */
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { delivery, event, openRun } from './registry-fixtures.ts';

const [url = '', name = '', count = '0'] = process.argv.slice(2);
const registry = await openRegistry(url);
const base = name === 'a' ? 0 : 1_000_000;
for (let index = 0; index < Number(count); index += 1) {
  const id = `${name}-${index}`;
  await registry.receive([delivery(base + index, event('drift', id, 'm'))]);
  const { run } = await openRun(registry, 'm', id, [`test ${id}`]);
  process.stdout.write(`${id} ${run}\n`);
}
await registry.close();
