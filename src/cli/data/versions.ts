/** refit data versions and diff: how a dataset grew, and what is other between two of its versions. */
import type { Command } from '@commander-js/extra-typings';
import type { VersionDiff } from '../../domain/dataset-versions.ts';
import type { ShownVersion } from '../../gateway/routes/dataset-versions.ts';
import { datasetPath } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { JSON_OPTION, print, printJson, table, when } from '../output.ts';

function versionNumber(text: string | undefined, what: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new CliError(EXIT.usage, `${what} must be the number of a version, not '${text}'`);
  return Number(text);
}

function printDiff(diff: VersionDiff): void {
  const { dataset, from, to, rows, columns, partitions, unchanged } = diff;
  const grown = rows.to - rows.from;
  print(
    `${dataset}: version ${from} to ${to}, ${rows.from} rows to ${rows.to} (${grown >= 0 ? '+' : ''}${grown}); ${unchanged} partitions are the same`,
  );
  if (partitions.length > 0) {
    const changed = partitions.map((one) => [
      one.partition,
      one.change,
      one.rows.from,
      one.rows.to,
      `${one.files.from.length} to ${one.files.to.length}`,
    ]);
    print(table(['partition', 'change', 'rows before', 'rows now', 'files'], changed));
  }
  const changes = columns.map((one) => [one.column, one.from ?? '(none)', one.to ?? '(none)']);
  if (changes.length > 0) print(table(['column', 'type before', 'type now'], changes));
}

export function addVersions(data: Command, { api }: Context): void {
  data
    .command('versions')
    .description('versions of a dataset, newest first: what each added or corrected, and the event that made it')
    .argument('<dataset>')
    .option('--limit <n>', 'at most so many', '20')
    .option(...JSON_OPTION)
    .action(async (dataset, { limit, json }) => {
      const versions = await api.get<readonly ShownVersion[]>(`${datasetPath(dataset)}/versions`, { limit });
      if (json) return printJson(versions);
      if (versions.length === 0) return print(`${dataset} has no version yet; see refit publish data`);
      const rows = versions.map((one) => [
        one.version,
        when(one.createdAt),
        one.rows,
        one.partitions,
        one.corrects ? `correction: ${one.change}` : one.change,
        one.event,
      ]);
      print(table(['version', 'created', 'rows', 'partitions', 'change', 'event'], rows));
    });
  data
    .command('diff')
    .description('what is other between two versions; by default between the newest and the one before it')
    .argument('<dataset>')
    .argument('[from]', 'number of the older version; 0 is the empty dataset')
    .argument('[to]', 'number of the newer one; the newest by default')
    .option(...JSON_OPTION)
    .action(async (dataset, from, to, { json }) => {
      const diff = await api.get<VersionDiff>(`${datasetPath(dataset)}/diff`, {
        from: versionNumber(from, 'FROM'),
        to: versionNumber(to, 'TO'),
      });
      if (json) printJson(diff);
      else printDiff(diff);
    });
}
