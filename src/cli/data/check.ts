/** refit data check: all that ingestion and a run would say of files, without any service. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import type { CheckFailure } from '../../contracts/data.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { JSON_OPTION, print, printJson, say, table } from '../output.ts';
import type { DataReport } from './check-files.ts';
import { profilePage } from './profile-page.ts';
import { profileTable } from './profile-text.ts';

const failureRows = (stage: string, failures: readonly CheckFailure[]) =>
  failures.map(({ check, column, severity, detail, examples }) => [
    stage,
    severity,
    check,
    column,
    examples.length > 0 ? `${detail} (for example ${examples.join('; ')})` : detail,
  ]);

function printReport(report: DataReport): void {
  const rows = [
    ...failureRows(report.dataset, report.failures),
    ...report.models.flatMap(({ model, failures }) => failureRows(model, failures)),
  ];
  if (rows.length > 0) print(table(['of', '', 'check', 'column', 'found'], rows));
  if (report.profile) print(profileTable(report.profile));
  for (const { model, rows: parts } of report.models) {
    if (parts) say(`${model}: ${parts.train} train, ${parts.validation} validation and ${parts.test} test rows`);
  }
  say(
    report.rejected
      ? `data rejected: these files would not become a version of ${report.dataset}, or no run could use them`
      : `${report.rows} rows of ${report.dataset} pass`,
  );
}

function namedFile(text: string): { readonly dataset: string; readonly uri: string } {
  const at = text.indexOf('=');
  if (at < 1) throw new CliError(EXIT.usage, `--other must be DATASET=URI, not '${text}'`);
  return { dataset: text.slice(0, at), uri: text.slice(at + 1) };
}

export function addCheck(data: Command, { cwd, exit }: Context): void {
  data
    .command('check')
    .description(
      'check files as ingestion and the runs of each model would, without any service; exit 1 where rejected',
    )
    .argument('<dir>', 'folder of the model project that defines the dataset')
    .argument('<uris...>', 'paths or file:// addresses of Parquet, CSV or JSON Lines files')
    .option('--dataset <name>', 'which dataset of the project, if it has several')
    .option(
      '--before <uris...>',
      'files that the dataset has already: ids, schema and distributions are compared with them',
    )
    .option('--other <dataset=uri...>', 'files of other datasets, which a `foreign_key` looks into')
    .option('--html <file>', 'write the profile as a page with plots')
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      '\nExample:\n  refit data check examples/flight-delays examples/flight-delays/data/flights-2013-01.parquet\n',
    )
    .action(async (dir, uris, { dataset, before = [], other = [], html, json }) => {
      const { checkFiles } = await import('./check-files.ts');
      const report = await checkFiles({
        ...{ folder: resolve(cwd, dir), uris, cwd, dataset, before },
        others: other.map(namedFile),
      });
      if (html !== undefined && report.profile) {
        const path = resolve(cwd, html);
        await writeFile(path, profilePage(`${report.dataset}: ${uris.join(', ')}`, report.profile));
        say(`wrote ${path}`);
      }
      if (json) printJson(report);
      else printReport(report);
      if (report.rejected) exit(EXIT.no);
    });
}
