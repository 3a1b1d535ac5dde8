/** npm run chaos: the product under faults, judged by the oracle; with --mutants, planted bugs that the oracle must find. */

import { asRow, readMutants, runMutants } from './harness/mutants.ts';
import { type Command, parseCommand } from './harness/options.ts';
import { removeHome, runChaos } from './harness/run.ts';
import { asText, failed } from './oracle/report.ts';

const tell = (line: string): void => {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`);
};

function commandOf(args: readonly string[]): Command {
  try {
    return parseCommand(args);
  } catch (error) {
    process.stderr.write(
      `${error instanceof Error ? error.message : String(error)}\ntests/chaos/README.md has the options\n`,
    );
    process.exit(2);
  }
}

async function main(): Promise<number> {
  const { options, mutants, clean, keep } = commandOf(process.argv.slice(2));
  if (mutants !== null) return plantedBugs(mutants, clean);
  const result = await runChaos(options, tell);
  const broken = failed(result.report);
  process.stdout.write(`${asText(result.report)}\n`);
  if (broken.length > 0)
    process.stdout.write(
      `\nviolated: ${broken.join(', ')}; the same again: npm run chaos -- ${process.argv.slice(2).join(' ')} --seed ${options.seed}\nkept: ${result.home}\n`,
    );
  else if (keep) process.stdout.write(`kept: ${result.home}\n`);
  else await removeHome(result);
  return broken.length === 0 ? 0 : 1;
}

async function plantedBugs(names: readonly string[], clean: boolean): Promise<number> {
  const all = readMutants(names);
  // Many bugs share a scenario, which without them is one and the same.
  const distinct = new Map(all.map((mutant) => [mutant.flags.join(' '), mutant]));
  const verdicts = await runMutants(clean ? [...distinct.values()] : all, clean, tell);
  process.stdout.write(`${verdicts.map((one) => asRow(one, clean)).join('\n')}\n`);
  const wrong = verdicts.filter((one) => (clean ? one.violated.length > 0 : !one.caught));
  process.stdout.write(
    `${verdicts.length - wrong.length} of ${verdicts.length} ${clean ? 'scenarios hold without the bug' : 'planted bugs were caught'}\n`,
  );
  return wrong.length === 0 ? 0 : 1;
}

process.exitCode = await main();
