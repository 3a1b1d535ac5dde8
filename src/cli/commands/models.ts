/** refit models, status, start, pause, resume, versions. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from '@commander-js/extra-typings';
import type { StartRunAnswer } from '../../contracts/messages.ts';
import type { ModelStatus } from '../../gateway/status.ts';
import type { RunRecord } from '../../ports/registry/runs.ts';
import type { VersionRecord } from '../../ports/registry/versions.ts';
import { modelPath } from '../client.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../exit.ts';
import { AS_OPTION, JSON_OPTION, metricText, print, printJson, say, short, table, when } from '../output.ts';

const STATUS_HEAD = ['model', 'champion', 'run', 'waits for', 'rollout', 'drift', 'paused'];

function waitsFor({ approval, held }: ModelStatus): string | null {
  if (approval)
    return `${approval.required} approval(s) of version ${approval.version} until ${when(approval.expiresAt)}`;
  return held.events > 0 ? `${held.events} events held: ${held.reason}` : null;
}

const statusRow = (status: ModelStatus): readonly (string | null)[] => [
  status.model,
  status.champion ? `version ${status.champion.version}, ${metricText(status.champion.metric)}` : null,
  status.run ? `${status.run.run} (${status.run.trigger}), ${status.run.stage}` : null,
  waitsFor(status),
  status.rollout
    ? `deployment ${status.rollout.deployment} to version ${status.rollout.toVersion}, ${status.rollout.step ?? 'starting'}`
    : null,
  status.verdict,
  status.paused ? `by ${status.paused.by}` : null,
];

function sweepLine({ model, lastSweep, nextSweep }: ModelStatus): string | null {
  if (!lastSweep) return null;
  const verdict = lastSweep.verdict ?? 'no verdict';
  return `${model}: ${verdict} at ${when(lastSweep.windowEnd)}: ${lastSweep.reason}; next sweep ${when(nextSweep)}`;
}

const scheduleLine = ({ model, nextSchedule }: ModelStatus): string | null =>
  nextSchedule === null ? null : `${model}: next scheduled run ${when(nextSchedule)}`;

export function modelCommands(program: Command, { api, actor, exit }: Context): void {
  program
    .command('models')
    .description('all models')
    .option(...JSON_OPTION)
    .action(async ({ json }) => {
      const models = await api.get<ModelStatus[]>('/api/v1/models');
      if (json) printJson(models);
      else if (models.length === 0) print('no models yet; register one with refit apply DIR');
      else print(table(STATUS_HEAD, models.map(statusRow)));
    });
  program
    .command('status')
    .description('champion, run under way, what waits for whom, last verdict, next schedule and sweep')
    .argument('[model]')
    .option(...JSON_OPTION)
    .action(async (model, { json }) => {
      const all = model === undefined;
      const found = all
        ? await api.get<ModelStatus[]>('/api/v1/models')
        : [await api.get<ModelStatus>(modelPath(model))];
      if (json) return printJson(all ? found : found[0]);
      print(table(STATUS_HEAD, found.map(statusRow)));
      for (const line of found.flatMap((one) => [scheduleLine(one), sweepLine(one)])) if (line !== null) print(line);
    });

  /** Follows a run until it needs a person or has ended. */
  async function follow(run: string, json: boolean | undefined): Promise<void> {
    for (let stage = ''; ; ) {
      const record = await api.get<RunRecord>(`/api/v1/runs/${run}`);
      if (record.stage !== stage) say(`${run}: ${record.stage}`);
      stage = record.stage;
      if (record.outcome === null && stage !== 'decide') {
        await sleep(500);
        continue;
      }
      if (json) printJson(record);
      else if (record.outcome === null) print(`${run} waits for a decision; refit approve ${run}`);
      else print(`${run}: ${record.outcome}, ${record.outcomeReason}`);
      if (record.outcome !== null && record.outcome !== 'approved') exit(EXIT.no);
      return;
    }
  }
  program
    .command('start')
    .description('start a run by hand')
    .argument('<model>')
    .option('--reason <text>')
    .option(...AS_OPTION)
    .option('--wait', 'wait until the run needs a decision or has ended')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nExample:\n  refit start flight-delays --reason "new carrier codes" --wait\n')
    .action(async (model, { reason, as, wait, json }) => {
      const body = { actor: actor(as), reason: reason ?? null };
      const answer = await api.post<StartRunAnswer>(`${modelPath(model)}/start`, body);
      if (answer.status === 'refused') exit(EXIT.no);
      if (answer.status === 'started' && wait) return follow(answer.run, json);
      if (json) return printJson(answer);
      if (answer.status === 'started') print(`started ${answer.run}`);
      else print(answer.status === 'held' ? `held: ${answer.waitsFor}` : `refused: ${answer.reason}`);
    });
  for (const verb of ['pause', 'resume'] as const) {
    program
      .command(verb)
      .description(verb === 'pause' ? 'hold retraining; events are kept' : 'release retraining')
      .argument('<model>')
      .option('--reason <text>')
      .option(...AS_OPTION)
      .action(async (model, { reason, as }) => {
        const body = { actor: actor(as), reason: reason ?? null };
        const answer = await api.post<{ readonly status: string }>(`${modelPath(model)}/${verb}`, body);
        print(`${model}: ${answer.status}`);
      });
  }

  program
    .command('versions')
    .description('registered versions with their roles')
    .argument('<model>')
    .option(...JSON_OPTION)
    .action(async (model, { json }) => {
      const versions = await api.get<VersionRecord[]>(`${modelPath(model)}/versions`);
      if (json) return printJson(versions);
      const rows = versions.map((one) => [
        one.version,
        one.role,
        metricText(one.metric),
        one.run,
        when(one.createdAt),
        when(one.promotedAt),
        short(one.bundleDigest),
      ]);
      print(table(['version', 'role', 'metric', 'run', 'registered', 'champion from', 'bundle'], rows));
    });
}
