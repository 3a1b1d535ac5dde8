/** refit batch: a version of a dataset scored by a version of a model, durably. */
import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from '@commander-js/extra-typings';
import type { BatchRecord } from '../../ports/registry/batches.ts';
import { modelPath } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { AS_OPTION, JSON_OPTION, print, printJson, say } from '../output.ts';

const POLL_MS = 500;

/** NAME or NAME@VERSION. */
function split(ref: string, what: string): { readonly name: string; readonly version: string | undefined } {
  const [, name, version] = /^([^@]+)(?:@([^@]+))?$/.exec(ref) ?? [];
  if (name === undefined) throw new CliError(EXIT.usage, `${what} is a name, or name@version, not '${ref}'`);
  return { name, version };
}

function bodyOf(model: string | undefined, dataset: string | undefined): object {
  const data = dataset === undefined ? undefined : split(dataset, 'DATASET');
  if (data?.version !== undefined && !/^[1-9]\d{0,8}$/.test(data.version))
    throw new CliError(EXIT.usage, `the version of dataset ${data.name} must be a number, not '${data.version}'`);
  return {
    ...(model === undefined ? {} : { version: model }),
    ...(data === undefined ? {} : { dataset: data.name }),
    ...(data?.version === undefined ? {} : { datasetVersion: Number(data.version) }),
  };
}

const titleOf = ({ model, version, dataset, datasetVersion, batch }: BatchRecord): string =>
  `batch ${batch} of ${model}: ${dataset}@${datasetVersion} by ${model}@${version}`;

export function batchCommands(program: Command, { api, cwd, actor, exit }: Context): void {
  program
    .command('batch')
    .description(
      'score a version of a dataset with a version of a model, file by file on the workers: Parquet with id, time, model_version and p0, p1, … (the classes in their order) or prediction',
    )
    .argument('<model>', 'MODEL, MODEL@3, MODEL@champion or MODEL@challenger; the champion by default')
    .argument('[dataset]', "DATASET or DATASET@N; by default the newest version of the model's own")
    .option('--output <file>', 'also copy the scores to this Parquet file')
    .option('--no-wait', 'do not wait until it is done')
    .option(...AS_OPTION)
    .option(...JSON_OPTION)
    .addHelpText('after', '\nExample:\n  refit batch flight-delays@3 flights@12 --output scores.parquet\n')
    .action(async (ref, dataset, { output, wait, as, json }) => {
      if (output !== undefined && !wait)
        throw new CliError(EXIT.usage, '--output needs the scores, which --no-wait does not wait for');
      const model = split(ref, 'MODEL');
      const path = `${modelPath(model.name)}/batches`;
      let found = await api.post<BatchRecord>(path, {
        ...bodyOf(model.version, dataset),
        actor: actor(as),
        requestId: randomUUID(),
      });
      const own = `${path}/${found.batch}`;
      if (wait) say(`${titleOf(found)}: under way`);
      while (wait && found.finishedAt === null) {
        await sleep(POLL_MS);
        found = await api.get<BatchRecord>(own);
      }
      if (found.output !== null && output !== undefined) await api.download(`${own}/file`, resolve(cwd, output));
      if (json) printJson(found);
      else if (found.failure !== null) print(`${titleOf(found)} failed: ${found.failure}`);
      else if (found.output === null) print(`${titleOf(found)} is under way; see GET ${own}`);
      else {
        print(`${titleOf(found)}: ${found.rows} rows in artifact ${found.output}`);
        if (output !== undefined) print(`copied to ${output}`);
      }
      if (found.failure !== null) exit(EXIT.no);
    });
}
