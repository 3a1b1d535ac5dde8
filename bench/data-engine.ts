/** Checks or profile by the data engine, in a process of their own: `data-engine.ts checks|unique|profile FILE ROUNDS` prints JSON. */
import { createDataEngine } from '../src/adapters/duckdb/engine.ts';
import { expectationSchema } from '../src/contracts/documents.ts';

const [what = '', file = '', rounds = '1'] = process.argv.slice(2);
const engine = createDataEngine();
const columns = await engine.columns(file);
const expectations = [
  { type: 'not_null', column: 'id' },
  { type: 'not_null', column: 'seen' },
  { type: 'not_null', column: 'amount' },
  { type: 'between', column: 'amount', min: 0, max: 1000 },
  { type: 'between', column: 'hour', min: 0, max: 23 },
  { type: 'in', column: 'origin', values: ['EWR', 'JFK', 'LGA'] },
  { type: 'matches', column: 'code', pattern: '^c[0-9]+$' },
  { type: 'null_share', column: 'score', max: 0.1 },
  ...(what === 'unique' ? [{ type: 'unique', column: 'id' }] : []),
].map((one) => expectationSchema.parse(one));

const seconds: number[] = [];
for (let round = 0; round < Number(rounds); round += 1) {
  const start = performance.now();
  if (what === 'profile') await engine.profile([file], columns);
  else {
    const found = await engine.check({
      ...{ files: [file], columns, expectations, idColumn: null, timeColumn: 'seen', kept: [], before: null },
      ...{ others: new Map(), arrivedAt: null },
    });
    if (found.length > 0) throw new Error(`good data was found bad: ${JSON.stringify(found)}`);
  }
  seconds.push((performance.now() - start) / 1_000);
}
process.stdout.write(`${JSON.stringify({ seconds, peakMiB: process.resourceUsage().maxRSS / 1_024 })}\n`);
