/** `npm run schedules -- [--count N] [--seed S]`: the long form of schedules.test.ts. A failure prints the seed and the path to it. */
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { simulate } from '../../src/domain/simulation.ts';
import { anyLife, violations } from '../support/schedules.ts';

/** Lives in one go, so that progress shows. */
const CHUNK = 20_000;

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
    path: { type: 'string' },
  },
});
const count = Number(values.count);
const seed = Number(values.seed);
if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(seed))
  throw new Error('--count and --seed are whole numbers, --count at least 1');

let lives = 0;
let runs = 0;
const started = performance.now();
for (let chunk = 0; lives < count; chunk++) {
  fc.assert(
    fc.property(anyLife, ({ simulation, restarts }) => {
      const played = simulate(simulation);
      const wrong = violations(simulation, played);
      if (wrong.length > 0) throw new Error(wrong.join('\n'));
      const restarted = restarts.map((atMs) => ({ type: 'restart' as const, atMs }));
      const again = simulate({ ...simulation, inputs: [...simulation.inputs, ...restarted] });
      if (JSON.stringify(again.runs) !== JSON.stringify(played.runs))
        throw new Error(`built anew at ${JSON.stringify(restarts)} it decides otherwise`);
      runs += played.runs.length;
    }),
    {
      numRuns: Math.min(CHUNK, count - lives),
      seed: seed + chunk,
      ...(values.path === undefined ? {} : { path: values.path }),
    },
  );
  lives += Math.min(CHUNK, count - lives);
  process.stderr.write(`\r${lives} of ${count} schedules`);
}
const seconds = (performance.now() - started) / 1_000;
process.stdout.write(`\n${lives} schedules with ${runs} runs from seed ${seed}: all hold, ${seconds.toFixed(0)} s\n`);
