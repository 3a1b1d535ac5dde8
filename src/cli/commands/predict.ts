/** refit predict: the answers of a served model for the rows of a file. */
import { resolve } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import type { Context } from '../context.ts';
import { print } from '../output.ts';

export function predictCommands(program: Command, { cwd, settings }: Context): void {
  program
    .command('predict')
    .description(
      'ask an inference server for the rows of a file; one JSON line a row, with its id where the file has it',
    )
    .argument('<model>')
    .argument('<file>', 'a Parquet, CSV or JSON Lines file with the columns that the model takes')
    .option('--url <address>', 'the inference server, by default that of this host')
    .addHelpText('after', '\nExample:\n  refit predict flight-delays tomorrow.parquet > answers.jsonl\n')
    .action(async (model, file, { url }) => {
      const { predictFile } = await import('../predict.ts');
      await predictFile({
        ...{ model, file: resolve(cwd, file), url: url ?? `http://127.0.0.1:${settings.ports.serve}` },
        onRows: (rows) => print(rows.map((row) => JSON.stringify(row)).join('\n')),
      });
    });
}
