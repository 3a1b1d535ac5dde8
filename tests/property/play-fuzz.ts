/** The long form: `npm run fuzz -- --count 20000 --seed 1`. A finding names the file's number: `--from NUMBER --count 1` makes it again. */
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.ts';

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    from: { type: 'string', default: '0' },
  },
});
const [count, seed, from] = [values.count, values.seed, values.from].map(Number);
if (count === undefined || seed === undefined || from === undefined || ![count, seed, from].every(Number.isSafeInteger))
  throw new Error('--count, --seed and --from are whole numbers');
process.stdout.write(`seed ${seed}\n`);
const started = Date.now();
const report = await fuzz({ count, seed, from }, (done) => {
  if (done % 500 === 0) process.stdout.write(`${done} files in ${Math.round((Date.now() - started) / 1_000)} s\n`);
});
process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
const isGood = report.faults.length === 0 && report.unnamed.length === 0 && report.files === count;
process.stdout.write(`${isGood ? 'every file ended as converted or as a named problem' : 'FINDINGS'}\n`);
process.exitCode = isGood ? 0 : 1;
