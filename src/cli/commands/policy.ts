/** refit policy simulate: past events through other retraining policies, side by side with what happened. */
import { resolve } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import { schedules } from '../../adapters/schedule.ts';
import type { DatasetDocument, ModelDocument } from '../../contracts/documents.ts';
import { durationMs } from '../../contracts/duration.ts';
import type { PendingEvent } from '../../contracts/messages.ts';
import { figuresOf, type PolicyFigures, type PolicyHistory, reigns } from '../../domain/policy-report.ts';
import { type Course, type PastInput, simulate } from '../../domain/simulation.ts';
import type { ModelHistory } from '../../gateway/history.ts';
import { modelPath } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { JSON_OPTION, numberOf, print, printJson, say, table } from '../output.ts';
import type { PastEvents } from '../simulation/events.ts';
import type { Plotted } from '../simulation/plot.ts';
import type { NamedPolicy } from '../simulation/policies.ts';
import type { Worth } from '../simulation/training.ts';

interface Column extends Plotted {
  readonly figures: PolicyFigures;
  readonly worth: Worth | null;
}

const DAY_HOURS = 24;
const days = (hours: number): string => `${(hours / DAY_HOURS).toFixed(1)} d`;
const count = (value: number): string => value.toLocaleString('en-US');

const ROWS: readonly (readonly [string, (figures: PolicyFigures) => string])[] = [
  ['runs', ({ runs }) => String(runs)],
  [
    'started by',
    ({ byTrigger }) =>
      Object.entries(byTrigger)
        .map(([trigger, runs]) => `${trigger} ${runs}`)
        .join(', ') || '-',
  ],
  ['promoted', ({ promoted }) => String(promoted)],
  ['new rows trained on', ({ rows }) => count(rows)],
  ['CPU hours', ({ cpuHours }) => cpuHours.toFixed(2)],
  ['staleness, mean', ({ staleHours }) => (staleHours ? days(staleHours.mean) : '-')],
  ['staleness, most', ({ staleHours }) => (staleHours ? days(staleHours.most) : '-')],
  ['unseen rows, most', ({ unseenRows }) => count(unseenRows)],
  ['alerts answered', ({ alerts }) => `${alerts.answered} of ${alerts.all}`],
  ['alerts refused, waiting', ({ alerts }) => `${alerts.refused}, ${alerts.waiting}`],
  [
    'alert to champion',
    ({ alerts }) => (alerts.hoursToChampion === null ? '-' : `${alerts.hoursToChampion.toFixed(1)} h`),
  ],
  ['events held at the end', ({ held }) => String(held)],
];

function printTable(columns: readonly Column[]): void {
  const rows = ROWS.map(([name, text]) => [name, ...columns.map(({ figures }) => text(figures))]);
  const [first] = columns.flatMap(({ worth }) => worth ?? []);
  if (first) {
    const text = (worth: Worth | null): string => (worth?.value == null ? '-' : worth.value.toFixed(4));
    rows.push([`${first.metric} while serving`, ...columns.map(({ worth }) => text(worth))]);
    rows.push(['on rows', ...columns.map(({ worth }) => (worth ? count(worth.rows) : '-'))]);
  }
  print(table(['', ...columns.map(({ name }) => name)], rows));
}

const spanOf = (times: readonly number[]): { readonly startMs: number; readonly endMs: number } => ({
  startMs: times.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
  endMs: times.reduce((a, b) => Math.max(a, b), 0),
});

function played(policy: NamedPolicy, inputs: readonly PastInput[], course: Course, untilMs: number): PolicyHistory {
  const { schedule } = policy.config;
  const { startMs, endMs } = spanOf(inputs.map(({ atMs }) => atMs));
  // What the last events start still goes to its end.
  const lastMs = Math.max(
    untilMs,
    endMs + policy.config.debounceMs + course.runMs + course.decisionMs + course.rolloutMs,
  );
  const { runs, fates } = simulate({
    ...{ config: policy.config, inputs, course: () => course, endMs: lastMs },
    nextMoment: (afterMs) => (schedule ? schedules.nextMoment(schedule, Math.max(afterMs, startMs)) : null),
  });
  const events = inputs.flatMap((one) => (one.type === 'event' ? [one.event] : []));
  const unique = [...new Map(events.map((event) => [event.key, event])).values()];
  return { runs, fates, events: unique, startMs, endMs: lastMs };
}

const inputsOf = ({ events, outcomes }: ModelHistory): readonly PastInput[] => [
  ...events.map(
    (event): PastInput => ({
      ...{ type: 'event', atMs: event.receivedAtMs },
      // Versions have other numbers under another policy: an alert speaks of whoever serves.
      event: event.drift ? { ...event, drift: { ...event.drift, version: null } } : event,
    }),
  ),
  ...outcomes.map((one): PastInput => ({ type: 'outcomes', ...one })),
];

function happened(history: ModelHistory): PolicyHistory {
  const events: readonly PendingEvent[] = history.events;
  const ends = history.runs.flatMap(({ endedMs, servesFromMs }) => [endedMs ?? 0, servesFromMs ?? 0]);
  const span = spanOf([...events.map(({ receivedAtMs }) => receivedAtMs), ...ends.filter((at) => at > 0)]);
  return { runs: history.runs, fates: new Map(history.fates), events, ...span };
}

interface Source {
  readonly document: ModelDocument;
  readonly inputs: readonly PastInput[];
  readonly past: PastEvents | null;
  readonly actual: PolicyHistory | null;
  readonly dataset: DatasetDocument | null;
  readonly featuresSql: string | null;
  readonly datasets: readonly DatasetDocument[];
}

export function policyCommands(program: Command, { api, cwd, settings }: Context): void {
  async function sourceOf(model: string, events: string | undefined, project: string | undefined): Promise<Source> {
    const { readModel } = await import('../project.ts');
    const local = project === undefined ? null : await readModel(resolve(cwd, project), model);
    const needsGateway = events === undefined || local === null;
    const history = needsGateway ? await api.get<ModelHistory>(`${modelPath(model)}/history`) : null;
    if (history?.isCut) say('only the newest events are simulated: there are more than are read at once');
    const document = local?.document ?? history?.document;
    if (!document) throw new CliError(EXIT.usage, `there is no definition of ${model}`);
    const rest = {
      dataset: local?.dataset ?? null,
      featuresSql: local?.featuresSql ?? null,
      document,
      datasets: local?.datasets ?? [],
    };
    if (events !== undefined) {
      const { readEvents } = await import('../simulation/events.ts');
      const past = await readEvents(resolve(cwd, events), {
        ...{ model, dataset: document.dataset, joined: (document.joins ?? []).map((join) => join.dataset) },
      });
      return { ...rest, inputs: past.inputs, past, actual: null };
    }
    if (!history || history.events.length === 0)
      throw new CliError(EXIT.no, `no event of ${model} is in the registry; name a file with --events`);
    return { ...rest, inputs: inputsOf(history), past: null, actual: happened(history) };
  }

  async function worths(source: Source, project: string, columns: readonly Plotted[]): Promise<readonly Worth[]> {
    const { past, dataset, featuresSql, document, datasets } = source;
    if (!past || !dataset || featuresSql === null)
      throw new CliError(
        EXIT.usage,
        '--train needs --events FILE and --project DIR: it trains on the files that the events name',
      );
    const [{ PolicyTrainer }, tools] = await Promise.all([
      import('../simulation/training.ts'),
      import('../simulation/tools.ts').then(({ trainingTools }) => trainingTools(settings)),
    ]);
    const folder = resolve(cwd, project);
    const trainer = await PolicyTrainer.open({ model: document, dataset, featuresSql, folder, datasets }, past, {
      ...tools,
      say,
    });
    try {
      const served = columns.map(({ history }) => reigns(history));
      const fromMs = Math.max(...served.map((reign) => reign[0]?.fromMs ?? 0));
      const found: Worth[] = [];
      for (const reign of served) found.push(await trainer.worth(reign, fromMs));
      return found;
    } finally {
      await trainer.close();
    }
  }

  const policy = program.command('policy').description('retraining policies');
  policy
    .command('simulate')
    .description(
      'past events through other retraining policies: runs, rows, cost, staleness, alerts answered and missed',
    )
    .argument('<model>')
    .option('--events <file>', 'CloudEvents, one a line; else what the registry has')
    .option('--project <dir>', 'take the definition from a project folder; else the registered one')
    .option(
      '--policy <file>',
      'a file with the fields of `retraining`; may be given several times',
      (file: string, all: readonly string[]) => [...all, file],
      [] as readonly string[],
    )
    .option('--run-time <duration>', 'from the start of a run to its candidate', '10m')
    .option('--decision-time <duration>', 'from the candidate to the approval', '1h')
    .option('--rollout-time <duration>', 'from the approval to the champion', '1h')
    .option('--cpu-hours <n>', 'what a run costs', '0.1')
    .option('--train', 'train what each policy would have trained, and score what it would have served')
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      '\nEvery run is taken to be approved and promoted.\n\nExample:\n  refit policy simulate flight-delays --policy weekly.yaml --policy on-drift.yaml\n',
    )
    .action(async (model, options) => {
      const source = await sourceOf(model, options.events, options.project);
      const { policyOf, readPolicy } = await import('../simulation/policies.ts');
      const course: Course = {
        ...{ outcome: 'approved', rolloutOutcome: 'promoted' },
        runMs: durationMs(options.runTime),
        decisionMs: durationMs(options.decisionTime),
        rolloutMs: durationMs(options.rolloutTime),
        cpuSeconds: numberOf('--cpu-hours', options.cpuHours) * 3_600,
      };
      const files = await Promise.all(options.policy.map((file) => readPolicy(resolve(cwd, file), source.document)));
      const policies = [policyOf('as defined', source.document), ...files];
      const untilMs = source.actual?.endMs ?? 0;
      const columns: Plotted[] = [
        ...(source.actual ? [{ name: 'what happened', history: source.actual }] : []),
        ...policies.map((one) => ({ name: one.name, history: played(one, source.inputs, course, untilMs) })),
      ];
      const worth = options.train ? await worths(source, options.project ?? '.', columns) : null;
      const told: Column[] = columns.map((column, index) => ({
        ...column,
        figures: figuresOf(column.history),
        worth: worth?.[index] ?? null,
      }));
      if (options.json)
        return printJson(
          told.map(({ name, figures, worth: value, history }) => ({
            policy: name,
            ...figures,
            worth: value,
            runsStarted: history.runs,
          })),
        );
      printTable(told);
      const { plot } = await import('../simulation/plot.ts');
      const label = Math.max(...told.map(({ name }) => name.length));
      print(plot(told, Math.max(40, Math.min(120, (process.stdout.columns ?? 100) - label - 4))));
    });
}
