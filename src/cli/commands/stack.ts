/** refit up, down, doctor: the local stack. */
import type { Command } from '@commander-js/extra-typings';
import { doctor, down, stderrProgress, up } from '../../local/index.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../exit.ts';
import { JSON_OPTION, print, printJson, say, table } from '../output.ts';

export function stackCommands(program: Command, { settings, exit }: Context): void {
  program
    .command('up')
    .description('start the local stack: Temporal with its UI, Kafka, gateway, worker, inference server')
    .option('--detach', 'return once everything is ready; `refit down` stops it')
    .addHelpText('after', '\nExamples:\n  refit up --detach\n  REFIT_KAFKA_PORT=19092 refit up\n')
    .action(async ({ detach }) => {
      await up(settings, {
        detach: detach === true,
        progress: stderrProgress(),
        onReady: () => {
          say(`gateway          ${settings.url}`);
          say(`inference        http://127.0.0.1:${settings.ports.serve}`);
          if (!settings.temporal.addressGiven) say(`Temporal's UI    http://127.0.0.1:${settings.ports.temporalUi}`);
          say(detach === true ? 'refit down stops it.' : 'Ctrl-C stops it.');
        },
      });
    });
  program
    .command('down')
    .description('stop the local stack, also when its supervisor has died; `up` continues where it was')
    .action(async () => {
      const { stopped } = await down(settings, { progress: stderrProgress() });
      say(stopped.length > 0 ? `stopped ${stopped.join(', ')}` : 'nothing was running');
    });
  program
    .command('doctor')
    .description('say what is missing and how to mend it')
    .option(...JSON_OPTION)
    .action(async ({ json }) => {
      const { describeRegistry } = await import('../../adapters/registry/index.ts');
      const { describeStore } = await import('../../adapters/store/index.ts');
      const checks = await doctor(settings, {
        registry: () => describeRegistry(settings.databaseUrl.reveal()),
        store: () => describeStore(settings),
      });
      const rows = checks.map((check) => [check.name, check.ok ? 'ok' : 'failed', check.detail, check.mend ?? '']);
      if (json) printJson(checks);
      else print(table(['check', 'state', 'detail', 'how to mend it'], rows));
      if (checks.some((check) => !check.ok)) exit(EXIT.no);
    });
}
