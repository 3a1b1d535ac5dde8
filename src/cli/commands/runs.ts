/** refit runs: list, show, logs, cancel, rerun. */
import type { Command } from '@commander-js/extra-typings';
import type { StartRunAnswer } from '../../contracts/messages.ts';
import type { AuditRow } from '../../ports/registry/audit.ts';
import type { RunRecord } from '../../ports/registry/runs.ts';
import { runPath } from '../client.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../exit.ts';
import { AS_OPTION, JSON_OPTION, metricText, print, printJson, table, when } from '../output.ts';

interface RunLogs {
  readonly outcomeReason: string | null;
  readonly audit: readonly AuditRow[];
  readonly trainer: string | null;
}

function eventsText({ eventKeys, eventCount }: RunRecord): string {
  if (eventCount === 0) return 'none';
  return [...eventKeys.slice(0, 3), ...(eventCount > 3 ? [`and ${eventCount - 3} more`] : [])].join('\n');
}

/** Differences: of a repetition to what it repeats; null for other runs. */
type ShownRun = RunRecord & { readonly differences: readonly string[] | null };

function printRun(run: ShownRun): void {
  const by = run.requester ? ` by ${run.requester}` : '';
  const rows = [
    ['run', run.run],
    ['trigger', `${run.trigger}${by}${run.reason ? `: ${run.reason}` : ''}`],
    ['events', eventsText(run)],
    ['stage', run.stage],
    ['outcome', run.outcome ? `${run.outcome}: ${run.outcomeReason}` : 'under way'],
    ['metric', metricText(run.metric)],
    ['version', run.version],
    [
      'training',
      run.training ? `${run.training.trainer}, ${run.training.seconds} s, attempt ${run.training.attempt}` : null,
    ],
    ['dataset version', run.datasetVersion],
    ['snapshot', run.snapshot],
    ['repeats', run.repeats === null ? null : [run.repeats, ...(run.differences ?? [])].join('\n')],
    ['started', when(run.startedAt)],
    ['finished', when(run.finishedAt)],
  ];
  print(table(['what', 'value'], rows));
  if (run.gates.length > 0)
    print(
      table(
        ['gate', 'status', 'detail'],
        run.gates.map((one) => [one.gate, one.status, one.detail]),
      ),
    );
  const checks = run.checks.map((one) => [one.check, one.column, one.severity, one.detail]);
  if (checks.length > 0) print(table(['check', 'column', 'severity', 'detail'], checks));
}

export function runCommands(program: Command, { api, actor, exit }: Context): void {
  const runs = program.command('runs').description('runs');
  runs
    .command('list')
    .description('runs, newest first')
    .argument('[model]')
    .option('--limit <n>', 'at most so many', '20')
    .option(...JSON_OPTION)
    .action(async (model, { limit, json }) => {
      const found = await api.get<RunRecord[]>('/api/v1/runs', { model, limit });
      if (json) return printJson(found);
      const rows = found.map((run) => [
        run.run,
        run.trigger,
        run.eventCount,
        run.stage,
        run.outcome,
        run.version,
        metricText(run.metric),
        when(run.startedAt),
      ]);
      print(table(['run', 'trigger', 'events', 'stage', 'outcome', 'version', 'metric', 'started'], rows));
    });
  runs
    .command('show')
    .description('one run: why it started, how far it came, its gates and checks')
    .argument('<run>')
    .option(...JSON_OPTION)
    .action(async (name, { json }) => {
      const run = await api.get<ShownRun>(runPath(name));
      if (json) printJson(run);
      else printRun(run);
    });
  runs
    .command('logs')
    .description('what the run did, and what its trainer said')
    .argument('<run>')
    .option(...JSON_OPTION)
    .action(async (name, { json }) => {
      const logs = await api.get<RunLogs>(`${runPath(name)}/logs`);
      if (json) return printJson(logs);
      for (const row of [...logs.audit].sort((a, b) => a.sequence - b.sequence)) {
        print(`${when(row.at)} ${row.action}${row.actor ? ` by ${row.actor}` : ''}`);
      }
      if (logs.trainer === null)
        print(`no trainer log${logs.outcomeReason ? `; the run ended: ${logs.outcomeReason}` : ''}`);
      else print(logs.trainer || 'the trainer wrote nothing');
    });
  runs
    .command('rerun')
    .description(
      'repeat a run: the same dataset version, definition and seed; `runs show` of the new one names what came out otherwise',
    )
    .argument('<run>')
    .option('--reason <text>')
    .option(...AS_OPTION)
    .option(...JSON_OPTION)
    .action(async (name, { reason, as, json }) => {
      const answer = await api.post<StartRunAnswer>(`${runPath(name)}/rerun`, {
        actor: actor(as),
        reason: reason ?? null,
      });
      if (json) printJson(answer);
      else if (answer.status === 'started')
        print(`${answer.run} repeats ${name}; follow it: refit runs show ${answer.run}`);
      else if (answer.status === 'held') print(`${name} will be repeated; that waits for ${answer.waitsFor}`);
      else print(`${name} is not repeated: ${answer.reason}`);
      if (answer.status === 'refused') exit(EXIT.no);
    });
  runs
    .command('cancel')
    .description('end a run that is under way or waits')
    .argument('<run>')
    .option('--reason <text>')
    .option(...AS_OPTION)
    .action(async (name, { reason, as }) => {
      const body = { actor: actor(as), reason: reason ?? null };
      const answer = await api.post<{ readonly status: string; readonly reason: string }>(
        `${runPath(name)}/cancel`,
        body,
      );
      print(`${name}: ${answer.status}, ${answer.reason}`);
      if (answer.status === 'refused') exit(EXIT.no);
    });
}
