/**
 * `npm test`: two vitest side by side, for tests spend most of their time waiting for servers. Lane a has those that bring a whole stack of their own or
 * need no server (and one more, so that both take as long), lane b all others. Within a lane files run one after another. Arguments are those of a single vitest instead.
 */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FIRST = [
  'tests/e2e',
  'tests/chaos',
  'tests/unit',
  'tests/property',
  'tests/replay',
  'tests/integration/simulate.test.ts',
];
const LANES = {
  a: FIRST,
  b: FIRST.flatMap((path) => ['--exclude', path.endsWith('.ts') ? path : `${path}/**`]),
} as const;
const CLOSING = /^(\d+) passed, (\d+) failed$/;
const FAILURE = /^failed: /;

interface End {
  readonly passed: number;
  readonly failed: number;
  /** What failed and why, to be said once more at the end of all. */
  readonly failures: readonly string[];
}

/** Runs vitest; what it says is said again line by line, but for its failures and its closing line, which are the answer. */
function runLane(args: readonly string[], prefix: string): Promise<End> {
  const vitest = spawn(process.execPath, [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => vitest.kill(signal));
  const failures: string[] = [];
  let end: End | undefined;
  const said = createInterface({ input: vitest.stdout }).on('line', (line) => {
    const [, passed, failed] = CLOSING.exec(line) ?? [];
    if (passed !== undefined) end = { passed: Number(passed), failed: Number(failed), failures };
    else if (FAILURE.test(line)) failures.push(line);
    else process.stdout.write(`${prefix}${line}\n`);
  });
  createInterface({ input: vitest.stderr }).on('line', (line) => process.stderr.write(`${prefix}${line}\n`));
  return new Promise((resolve, reject) => {
    vitest.once('error', reject);
    // After the last line: the process may close before it was read.
    said.once('close', () => {
      const code = vitest.exitCode;
      const told = end ?? { passed: 0, failed: 1, failures: [...failures, 'failed: a run of tests that broke off'] };
      const finish = (exit: number | null): void =>
        resolve(exit === 0 ? told : { ...told, failed: Math.max(1, told.failed) });
      if (code !== null || vitest.signalCode !== null) finish(code);
      else vitest.once('exit', finish);
    });
  });
}

const args = process.argv.slice(2);
const ends = await Promise.all(
  args.length > 0 ? [runLane(args, '')] : Object.entries(LANES).map(([lane, filter]) => runLane(filter, `${lane} | `)),
);
const total = (count: (end: End) => number): number => ends.reduce((sum, end) => sum + count(end), 0);
const failed = total((end) => end.failed);
process.exitCode = failed === 0 ? 0 : 1;
process.stdout.write(ends.flatMap((end) => end.failures.map((line) => `${line}\n`)).join(''));
process.stdout.write(`${total((end) => end.passed)} passed, ${failed} failed\n`);
