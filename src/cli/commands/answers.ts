/** refit why, audit: the registry's answers. */
import type { Command } from '@commander-js/extra-typings';
import type { Why } from '../../gateway/why.ts';
import type { AuditRow } from '../../ports/registry/audit.ts';
import { modelPath } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { JSON_OPTION, print, printJson, short, table, when } from '../output.ts';

interface Verified {
  readonly ok: boolean;
  readonly rows: number;
  readonly head: { readonly sequence: number; readonly hash: string } | null;
  readonly problem: string | null;
}

export function answerCommands(program: Command, { api, exit }: Context): void {
  program
    .command('why')
    .description('why this version, run or event is what it is')
    .argument('<ref>', 'MODEL@3, MODEL@champion, a run, or an event id')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nExamples:\n  refit why flight-delays@champion\n  refit why flight-delays-000002\n')
    .action(async (ref, { json }) => {
      const why = await api.get<Why>('/api/v1/why', { ref });
      if (json) printJson(why);
      else print([why.answer, ...why.because.map((line) => `  - ${line}`)].join('\n'));
    });

  const audit = program.command('audit').description('the audit chain of a model');
  audit
    .command('show')
    .description('the newest rows')
    .argument('<model>')
    .option('--limit <n>', 'at most so many', '50')
    .option(...JSON_OPTION)
    .action(async (model, { limit, json }) => {
      const rows = await api.get<AuditRow[]>(`${modelPath(model)}/audit`, { limit });
      if (json) return printJson(rows);
      const cells = rows.map((row) => [row.sequence, when(row.at), row.action, row.actor, short(row.hash)]);
      print(table(['#', 'at', 'action', 'actor', 'hash'], cells));
    });
  audit
    .command('verify')
    .description('recompute the chain; with --head also against a head kept elsewhere')
    .argument('<model>')
    .option('--head <sequence:hash>', 'a head that you kept, for example from a lifecycle event')
    .option(...JSON_OPTION)
    .action(async (model, { head, json }) => {
      const given = head === undefined ? null : /^(\d+):([0-9a-f]{64})$/.exec(head);
      if (head !== undefined && !given) {
        throw new CliError(EXIT.usage, `--head must be SEQUENCE:HASH with 64 hexadecimal digits, not '${head}'`);
      }
      const query = given ? { sequence: given[1], hash: given[2] } : {};
      const verified = await api.get<Verified>(`${modelPath(model)}/audit/verify`, query);
      const at = verified.head ? `; head ${verified.head.sequence}:${verified.head.hash}` : '';
      if (json) printJson(verified);
      else print(verified.ok ? `${verified.rows} rows verify${at}` : `broken: ${verified.problem}`);
      if (!verified.ok) exit(EXIT.no);
    });
}
