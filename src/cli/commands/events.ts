/** refit events: what came in, and its fate for each model. */
import type { Command } from '@commander-js/extra-typings';
import type { ShownEvent } from '../../gateway/routes/events.ts';
import type { DeliveryCounts, Origin } from '../../ports/registry.ts';
import type { Context } from '../context.ts';
import { JSON_OPTION, print, printJson, table, when } from '../output.ts';

interface DeadLetter {
  readonly origin: Origin;
  readonly reason: string;
  readonly detail: string;
  readonly at: string;
}

function fateText({ fates }: ShownEvent): string {
  const told = fates.map(({ model, fate, run }) => `${model ? `${model}: ` : ''}${fate}${run ? ` (${run})` : ''}`);
  return told.join('\n') || 'received';
}

function printEvent(event: ShownEvent): void {
  print(`${event.id} of ${event.source}: ${event.type}`);
  print(
    `about ${event.target.kind} ${event.target.name}, received ${when(event.receivedAt)}, ${event.settled ? 'settled' : 'not settled'}`,
  );
  const fates = event.fates.map((one) => [one.model || '-', one.fate, one.run, one.waitsFor, one.reason, when(one.at)]);
  print(table(['model', 'fate', 'run', 'waits for', 'why', 'at'], fates));
  const deliveries = event.deliveries.map(({ origin, fate, at }) => [
    `${origin.topic}/${origin.partition}/${origin.offset}`,
    fate ?? 'as the event',
    when(at),
  ]);
  print(table(['topic/partition/offset', 'delivery', 'at'], deliveries));
}

export function eventCommands(program: Command, { api }: Context): void {
  const events = program.command('events').description('what came in, and its fate for each model');
  events
    .command('list')
    .description('events, newest first')
    .option('--model <model>')
    .option('--fate <fate>')
    .option('--limit <n>', 'at most so many', '20')
    .option(...JSON_OPTION)
    .action(async ({ model, fate, limit, json }) => {
      const found = await api.get<ShownEvent[]>('/api/v1/events', { model, fate, limit });
      if (json) return printJson(found);
      const rows = found.map((event) => [
        event.id,
        event.type.replace('dev.refit.', ''),
        event.target.name,
        when(event.receivedAt),
        fateText(event),
        event.fates.map((one) => one.reason ?? '').join('\n'),
      ]);
      print(table(['id', 'type', 'about', 'received', 'fate', 'why'], rows));
    });
  events
    .command('show')
    .description('one event: its deliveries, its fate for each model')
    .argument('<id>', 'the id, or "SOURCE ID"')
    .option(...JSON_OPTION)
    .action(async (id, { json }) => {
      const event = await api.get<ShownEvent>('/api/v1/events/show', { ref: id });
      if (json) printJson(event);
      else printEvent(event);
    });
  events
    .command('counts')
    .description('deliveries by fate, each counted once')
    .option(...JSON_OPTION)
    .action(async ({ json }) => {
      const { counts, published } = await api.get<DeliveryCounts>('/api/v1/events/counts');
      if (json) printJson({ published, counts });
      else print(table(['fate', 'deliveries'], [...Object.entries(counts), ['all', published]]));
    });
  events
    .command('dead-letters')
    .description('records that are no events of ours, with reason and origin')
    .option(...JSON_OPTION)
    .action(async ({ json }) => {
      const letters = await api.get<readonly DeadLetter[]>('/api/v1/dead-letters');
      if (json) return printJson(letters);
      if (letters.length === 0) return print('none');
      const rows = letters.map(({ origin, reason, detail, at }) => [
        `${origin.topic}/${origin.partition}/${origin.offset}`,
        reason,
        detail,
        when(at),
      ]);
      print(table(['topic/partition/offset', 'reason', 'detail', 'at'], rows));
    });
}
