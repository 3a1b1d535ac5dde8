/** refit data erase: a person's rows leave data, snapshots, predictions, outcomes and reports. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from '@commander-js/extra-typings';
import type { ErasureRecord } from '../../ports/registry/erasures.ts';
import { datasetPath } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { AS_OPTION, JSON_OPTION, print, printJson, say, table, when } from '../output.ts';

const POLL_MS = 500;

async function idsOf(given: readonly string[], file: string | undefined, cwd: string): Promise<readonly string[]> {
  let lines: readonly string[] = [];
  if (file !== undefined) {
    const text = await readFile(resolve(cwd, file), 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw new CliError(EXIT.usage, `--ids-file ${file} cannot be read (${error.code ?? error.message})`);
    });
    lines = text.split(/\r?\n/).filter((line) => line !== '');
  }
  const ids = [...new Set([...given, ...lines])];
  if (ids.length === 0)
    throw new CliError(EXIT.usage, 'whose rows? name them with --id ID (several times) or --ids-file FILE');
  return ids;
}

function printReport({ dataset, erasure, report }: ErasureRecord): void {
  if (!report) {
    print(`erasure ${erasure} of ${dataset} is under way; see refit data erasures ${dataset}`);
    return;
  }
  if (report.failure !== undefined)
    throw new CliError(EXIT.no, `nothing was erased: ${report.failure}; once that is mended, ask for it again`);
  const { rows, version, lostVersions, unrepeatable, heldElsewhere } = report;
  print(
    table(
      ['erased from', 'rows'],
      [
        ['the newest version', rows.data],
        ['snapshots of runs', rows.snapshots],
        ['log of predictions', rows.predictions],
        ['outcomes', rows.labels],
        ['files of batches', rows.batches ?? 0],
      ],
    ),
  );
  print(
    version === null
      ? `the newest version of ${dataset} had none of these rows`
      : `version ${version} of ${dataset} is without them`,
  );
  if (lostVersions.length > 0) print(`no longer to be rebuilt: versions ${lostVersions.join(', ')} of ${dataset}`);
  if (unrepeatable.length > 0) print(`no longer to be repeated: ${unrepeatable.map((one) => one.run).join(', ')}`);
  if (heldElsewhere > 0)
    print(`${heldElsewhere} files are held by other datasets too, and were left there: erase from these as well`);
}

export function addErase(data: Command, { api, cwd, actor }: Context): void {
  data
    .command('erase')
    .description(
      "erase rows by the dataset's id: from all its versions, the snapshots of runs, the log of predictions, stored outcomes and reports; says what can no longer be repeated",
    )
    .argument('<dataset>')
    .option('--id <id...>', 'an id, or several')
    .option('--ids-file <file>', 'a file with one id a line')
    .option('--reason <text>', 'for the audit; must not name the person')
    .option('--no-wait', 'do not wait until it is done')
    .option(...AS_OPTION)
    .option(...JSON_OPTION)
    .addHelpText('after', '\nExample:\n  refit data erase patients --id P-1042 --reason "request 77"\n')
    .action(async (dataset, { id, idsFile, reason, wait, as, json }) => {
      const ids = await idsOf(id ?? [], idsFile, cwd);
      const { erasure } = await api.post<{ readonly erasure: number }>(`${datasetPath(dataset)}/erasures`, {
        ids,
        actor: actor(as),
        reason: reason ?? null,
        requestId: randomUUID(),
      });
      const look = (): Promise<ErasureRecord> => api.get<ErasureRecord>(`${datasetPath(dataset)}/erasures/${erasure}`);
      if (wait)
        say(`erasure ${erasure} of ${dataset}: waits for arrivals under way, then rewrites what holds these rows`);
      let found = await look();
      while (wait && found.finishedAt === null) {
        await sleep(POLL_MS);
        found = await look();
      }
      if (json) printJson(found);
      else printReport(found);
    });
  data
    .command('erasures')
    .description('erasures of a dataset, newest first; none of them names an id')
    .argument('<dataset>')
    .option(...JSON_OPTION)
    .action(async (dataset, { json }) => {
      const found = await api.get<readonly ErasureRecord[]>(`${datasetPath(dataset)}/erasures`);
      if (json) return printJson(found);
      if (found.length === 0) return print(`nothing was ever erased from ${dataset}`);
      const rows = found.map((one) => [
        one.erasure,
        when(one.requestedAt),
        one.actor,
        one.reason,
        one.count,
        one.report ? one.report.rows.data : null,
        when(one.finishedAt),
      ]);
      print(table(['erasure', 'asked for', 'by', 'reason', 'ids', 'rows', 'done'], rows));
    });
}
