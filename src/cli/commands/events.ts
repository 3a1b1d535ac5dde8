/** refit events: what came in, its fate for each model, and what came and was no event. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import { parseDurationMs } from '../../contracts/duration.ts';
import { EVENT_TYPES } from '../../contracts/events.ts';
import type { RetryAnswer } from '../../gateway/retry.ts';
import type { ShownEvent } from '../../gateway/routes/events.ts';
import type { DeadLetterRecord, DeliveryCounts, Origin } from '../../ports/registry/events.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { JSON_OPTION, print, printJson, say, table, when } from '../output.ts';

const originText = ({ topic, partition, offset }: Origin): string => `${topic}/${partition}/${offset}`;

function fateText({ fates }: ShownEvent): string {
  const told = fates.map(({ model, fate, run }) => `${model ? `${model}: ` : ''}${fate}${run ? ` (${run})` : ''}`);
  return told.join('\n') || 'received';
}

/** Milliseconds below a second, else seconds. */
function latencyText(ms: number | null): string {
  if (ms === null) return '-';
  return ms < 1_000 ? `${ms} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

function printEvent(event: ShownEvent): void {
  print(`${event.id} of ${event.source}: ${event.type}`);
  const kept = event.expiresAt === null ? '' : `, kept until ${when(event.expiresAt)}`;
  print(
    `about ${event.target.kind} ${event.target.name}, published ${when(event.publishedAt)}, received ${when(event.receivedAt)}, ${event.settled ? 'settled' : 'not settled'}${kept}`,
  );
  const fates = event.fates.map((one) => [
    one.model || '-',
    one.fate,
    one.run,
    one.waitsFor,
    one.reason,
    when(one.at),
    latencyText(one.latencyMs),
  ]);
  print(table(['model', 'fate', 'run', 'waits for', 'why', 'at', 'after'], fates));
  const deliveries = event.deliveries.map(({ origin, fate, at, attempt, retryOf }) => [
    originText(origin),
    fate ?? 'as the event',
    attempt,
    retryOf === null ? '-' : originText(retryOf),
    when(at),
  ]);
  print(table(['topic/partition/offset', 'delivery', 'attempt', 'mends', 'at'], deliveries));
}

/** A time as a person names it: a moment, or how long ago. */
function sinceTime(text: string): string {
  const ago = parseDurationMs(text);
  const ms = ago === undefined ? Date.parse(text) : Date.now() - ago;
  if (Number.isNaN(ms))
    throw new CliError(
      EXIT.usage,
      `--since is '${text}'; it must be a time such as 2026-03-01T00:00:00Z, or how long ago, such as 24h`,
    );
  return new Date(ms).toISOString();
}

const SHORT_TYPES: Readonly<Record<string, string>> = {
  data: EVENT_TYPES.dataArrived,
  labels: EVENT_TYPES.labelsArrived,
  drift: EVENT_TYPES.driftDetected,
};

function retriesText({ retries }: DeadLetterRecord): string {
  return retries.map(({ origin, fate }) => `${originText(origin)}: ${fate ?? 'taken in'}`).join('\n') || 'no';
}

function printDeadLetters(letters: readonly DeadLetterRecord[], limit: string): void {
  const rows = letters.map((letter) => [
    originText(letter.origin),
    letter.reason,
    letter.detail,
    letter.identity === null ? '-' : `${letter.identity.id} of ${letter.identity.source}`,
    when(letter.publishedAt),
    letter.attempt,
    retriesText(letter),
  ]);
  print(table(['origin', 'reason', 'detail', 'event', 'published', 'attempt', 'sent again'], rows));
  const last = letters.at(-1);
  if (last && letters.length === Number(limit))
    say(`there may be more: refit events dead-letters --before ${originText(last.origin)}`);
}

async function readMended(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CliError(
      EXIT.usage,
      `${path} is no JSON file with a CloudEvent: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** Under both of its names. */
function retryCommand(parent: Command, { api, cwd, exit }: Context): void {
  parent
    .command('retry')
    .description('send dead letters again, as they were or mended; each as the next attempt of the same event')
    .argument('[origins...]', 'TOPIC/PARTITION/OFFSET of dead letters')
    .option('--all', 'all that were not sent again yet, at most 500 at once')
    .option('--reason <reason>', 'with --all: only those dead for this reason')
    .option('--file <file>', 'a mended CloudEvent in place of the original bytes of one dead letter')
    .option('--dry-run', 'say what would be sent, and send nothing')
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      '\nExamples:\n  $ refit events dead-letters retry data/0/17 --file mended.json\n  $ refit events dead-letters retry --all --reason type',
    )
    .action(async (origins, { all, reason, file, dryRun }, command) => {
      // `dead-letters` has this option too, and takes it wherever it stands.
      const { json } = command.optsWithGlobals() as { readonly json?: boolean };
      if ((all === true) === origins.length > 0)
        throw new CliError(
          EXIT.usage,
          'name dead letters by their origins, or give --all; refit events dead-letters lists them',
        );
      if (reason !== undefined && !all) throw new CliError(EXIT.usage, '--reason goes with --all');
      if (file !== undefined && origins.length !== 1)
        throw new CliError(EXIT.usage, '--file stands in for exactly one dead letter; name its origin');
      const answers = await api.post<readonly RetryAnswer[]>('/api/v1/dead-letters/retry', {
        origins,
        all: all === true,
        dryRun: dryRun === true,
        ...(reason === undefined ? {} : { reason }),
        ...(file === undefined ? {} : { mended: await readMended(resolve(cwd, file)) }),
      });
      if (answers.some((one) => one.status === 'refused')) exit(EXIT.no);
      if (json) return printJson(answers);
      if (answers.length === 0) return print('none');
      const rows = answers.map((one) => [one.origin, one.status, one.reason, one.attempt, one.delivery]);
      print(table(['origin', 'status', 'what became of it', 'attempt', 'now at'], rows));
    });
}

function deadLetterCommands(events: Command, context: Context): void {
  const letters = events
    .command('dead-letters')
    .description('records that are no events of ours, with reason and origin; `retry` sends them again')
    .option('--limit <n>', 'at most so many', '50')
    .option('--before <origin>', 'the page after this one: TOPIC/PARTITION/OFFSET')
    .option(...JSON_OPTION)
    .action(async ({ limit, before, json }) => {
      const found = await context.api.get<readonly DeadLetterRecord[]>('/api/v1/dead-letters', { limit, before });
      if (json) printJson(found);
      else if (found.length === 0) print('none');
      else printDeadLetters(found, limit);
    });
  retryCommand(letters, context);
  retryCommand(events, context);
}

export function eventCommands(program: Command, context: Context): void {
  const { api } = context;
  const events = program.command('events').description('what came in, and its fate for each model');
  events
    .command('list')
    .description('events, newest first')
    .option('--model <model>')
    .option('--fate <fate>')
    .option('--run <run>', 'those behind a run')
    .option('--type <type>', 'data, labels, drift, or a whole type')
    .option('--since <time>', 'received since a time, or since so long ago, such as 24h')
    .option('--limit <n>', 'at most so many', '20')
    .option('--before <ref>', 'the page after this event: "SOURCE ID"')
    .option(...JSON_OPTION)
    .action(async ({ model, fate, run, type, since, limit, before, json }) => {
      const found = await api.get<ShownEvent[]>('/api/v1/events', {
        ...{ model, fate, run, limit, before },
        type: type === undefined ? undefined : (SHORT_TYPES[type] ?? type),
        since: since === undefined ? undefined : sinceTime(since),
      });
      if (json) return printJson(found);
      const rows = found.map((event) => [
        event.id,
        event.type.replace('dev.refit.', ''),
        event.target.name,
        when(event.receivedAt),
        fateText(event),
        event.fates.map((one) => latencyText(one.latencyMs)).join('\n'),
        event.fates.map((one) => one.waitsFor ?? one.reason ?? '').join('\n'),
      ]);
      print(table(['id', 'type', 'about', 'received', 'fate', 'after', 'why'], rows));
      const last = found.at(-1);
      if (last && found.length === Number(limit))
        say(`there may be more: refit events list --before "${last.source} ${last.id}"`);
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
  deadLetterCommands(events, context);
}
