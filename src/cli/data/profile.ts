/** refit data profile: what the columns of a dataset version, or the features of a model's newest snapshot, look like. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import type { ShownProfile } from '../../gateway/routes/profiles.ts';
import { datasetPath, modelPath } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { JSON_OPTION, print, printJson, say } from '../output.ts';
import { profilePage } from './profile-page.ts';
import { profileTable } from './profile-text.ts';

const titleOf = ({ dataset, version, run }: ShownProfile): string =>
  run === null ? `${dataset}, version ${version}` : `Features of ${run}, on ${dataset} version ${version}`;

export function addProfile(data: Command, { api, cwd }: Context): void {
  data
    .command('profile')
    .description('the profile of a dataset version, in the terminal or as an HTML page')
    .argument('<dataset>')
    .option('--version <number>', 'a version of the dataset; by default the newest')
    .option('--model <name>', "the features of a model's newest snapshot instead, with how they go with the label")
    .option('--html <file>', 'write a page with plots')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nExample:\n  refit data profile flights --html flights.html\n')
    .action(async (dataset, { version, model, html, json }) => {
      if (version !== undefined && !/^[1-9]\d{0,8}$/.test(version))
        throw new CliError(EXIT.usage, `--version must be the number of a version, not '${version}'`);
      if (version !== undefined && model !== undefined)
        throw new CliError(EXIT.usage, '--version is of a dataset; a model shows its newest snapshot');
      const shown =
        model === undefined
          ? await api.get<ShownProfile>(`${datasetPath(dataset)}/profile`, { version })
          : await api.get<ShownProfile>(`${modelPath(model)}/profile`);
      if (shown.dataset !== dataset)
        throw new CliError(EXIT.usage, `${model} learns from dataset ${shown.dataset}, not from ${dataset}`);
      if (html !== undefined) {
        const path = resolve(cwd, html);
        await writeFile(path, profilePage(titleOf(shown), shown.profile));
        say(`wrote ${path}`);
      }
      if (json) printJson(shown);
      else if (html === undefined) {
        print(`${titleOf(shown)}: ${shown.profile.rows.toLocaleString('en')} rows`);
        print(profileTable(shown.profile));
      }
    });
}
