/** refit publish: data arrivals, drift alerts, any CloudEvent; by the gateway's HTTP binding. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Command, Option } from '@commander-js/extra-typings';
import { type DataArrived, type DriftDetected, EVENT_TYPES } from '../../contracts/events.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { JSON_OPTION, numberOf, print, printJson } from '../output.ts';

interface Accepted {
  readonly accepted: readonly { readonly source: string; readonly id: string }[];
}

const DAY_MS = 86_400_000;

/** The same content gives the same id, so that repeating a command is a duplicate. */
const idOf = (data: unknown): string => createHash('sha256').update(canonicalJson(data)).digest('hex').slice(0, 32);

async function digestOf(path: string): Promise<string> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (!found?.isFile()) throw new CliError(EXIT.usage, `${path} is not a file; name the files that have arrived`);
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** The address of what was named, and its path where it is one file of this host. */
function addressOf(given: string, cwd: string): { readonly uri: string; readonly path: string | null } {
  if (/^(s3|https?):\/\//.test(given) || given.startsWith('query:')) return { uri: given, path: null };
  const path = given.startsWith('file://') ? fileURLToPath(given) : resolve(cwd, given);
  const isPattern = path.includes('*') && !existsSync(path);
  return { uri: pathToFileURL(path).href, path: isPattern ? null : path };
}

export function publishCommands(program: Command, { api, cwd, actor, settings }: Context): void {
  const publish = program.command('publish').description('publish events');

  async function send(given: unknown, json: boolean | undefined): Promise<void> {
    const kind = Array.isArray(given) ? 'cloudevents-batch' : 'cloudevents';
    const { publishTraced } = await import('../../telemetry/publisher.ts');
    const answer = await publishTraced(settings.tracing, given, (event) =>
      api.post<Accepted>('/events', event, `application/${kind}+json`),
    );
    if (json) return printJson(answer);
    for (const { id, source } of answer.accepted)
      print(`published ${id} of ${source}; its fate: refit events show ${id}`);
  }
  const envelope = (type: string, source: string, subject: string, id: string | undefined, data: unknown) => ({
    specversion: '1.0',
    id: id ?? idOf(data),
    source,
    type,
    subject,
    time: new Date().toISOString(),
    datacontenttype: 'application/json',
    data,
  });

  publish
    .command('data')
    .description(
      'tell that data of a dataset has arrived; with files of this host, the same command again is a duplicate',
    )
    .argument('<dataset>')
    .argument('<uris...>', 'paths, patterns in quotes, or addresses: file://, s3://, https://, query:NAME')
    .option('--partition <name>', 'replaces this partition; else the files are appended')
    .addOption(
      new Option('--format <format>', 'told from the name when left out').choices(['parquet', 'csv', 'jsonl'] as const),
    )
    .option('--id <id>', 'the event id; by default made of the content')
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      '\nExample:\n  refit publish data flights examples/flight-delays/data/flights-2013-01.parquet --partition 2013-01\n',
    )
    .action(async (dataset, uris, { partition, format, id, json }) => {
      const addressed = uris.map((uri) => addressOf(uri, cwd));
      const digests = await Promise.all(
        addressed.map(async ({ path }) => (path === null ? null : await digestOf(path))),
      );
      const sha256 = digests.filter((one) => one !== null);
      const isWhole = sha256.length === digests.length;
      const data: DataArrived = {
        dataset,
        uris: addressed.map(({ uri }) => uri),
        // One for each, or none: what lies elsewhere is seen by the worker only.
        ...(isWhole ? { sha256 } : {}),
        ...(partition === undefined ? {} : { partition }),
        ...(format === undefined ? {} : { format }),
      };
      // What cannot be seen from here may have changed since: each command is an event of its own.
      const own = id ?? (isWhole ? undefined : idOf({ data, at: Date.now() }));
      await send(envelope(EVENT_TYPES.dataArrived, 'refit/cli', dataset, own, data), json);
    });

  publish
    .command('drift')
    .description('publish a drift alert, as an outside detector would')
    .argument('<model>')
    .requiredOption('--feature <name>', 'the feature that drifted')
    .requiredOption('--score <x>', 'the value of the test')
    .option('--threshold <x>', 'from which it counts as drifted', '0.1')
    .option('--test <name>', 'the name of the test', 'jensen_shannon')
    .addOption(
      new Option('--verdict <verdict>', 'without one, confirm_drift of the model decides').choices([
        'stable',
        'suspected',
        'confirmed',
      ] as const),
    )
    .option('--window-start <time>', 'ISO 8601; one day before the end by default')
    .option('--window-end <time>', 'ISO 8601; now by default')
    .option('--id <id>', 'the event id; by default made of the content')
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      '\nExample:\n  refit publish drift flight-delays --feature temp --score 0.31 --verdict confirmed\n',
    )
    .action(async (model, options) => {
      const { feature, test: name, verdict, id, json } = options;
      const end = options.windowEnd ?? new Date().toISOString();
      if (!Number.isFinite(Date.parse(end)))
        throw new CliError(EXIT.usage, `--window-end must be ISO 8601, not '${end}'`);
      const start = options.windowStart ?? new Date(Date.parse(end) - DAY_MS).toISOString();
      const score = numberOf('--score', options.score);
      const threshold = numberOf('--threshold', options.threshold);
      const data: DriftDetected = {
        model,
        kind: 'data',
        window: { start, end },
        features: [{ name: feature, test: name, score, threshold }],
        ...(verdict === undefined ? {} : { verdict }),
      };
      const source = `refit/cli/${encodeURIComponent(actor(undefined))}`;
      await send(envelope(EVENT_TYPES.driftDetected, source, model, id, data), json);
    });

  publish
    .command('file', { isDefault: true })
    .description('publish the CloudEvent (or the array of them) in a JSON file')
    .argument('<file>')
    .option(...JSON_OPTION)
    .action(async (file, { json }) => {
      let event: unknown;
      try {
        event = JSON.parse(await readFile(resolve(cwd, file), 'utf8'));
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new CliError(EXIT.usage, `${file} is no JSON file with a CloudEvent: ${why}`);
      }
      await send(event, json);
    });
}
