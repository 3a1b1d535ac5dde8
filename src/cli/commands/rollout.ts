/** refit rollout, rollback. */
import { randomUUID } from 'node:crypto';
import { type Command, InvalidArgumentError } from '@commander-js/extra-typings';
import type { RollbackAnswer } from '../../contracts/messages.ts';
import type { PlanEntry, TrafficPlan } from '../../contracts/plan.ts';
import type { DeploymentRecord } from '../../ports/registry/deployments.ts';
import { modelPath } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { AS_OPTION, JSON_OPTION, print, printJson, table, when } from '../output.ts';

interface ShownRollout {
  readonly plan: TrafficPlan | null;
  readonly deployments: readonly DeploymentRecord[];
  readonly replicas: readonly { readonly replica: string; readonly deployment: number; readonly revision: number }[];
}

function versionNumber(text: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value === 0) throw new InvalidArgumentError('a version is a number such as 3');
  return value;
}

const entryText = ({ version, role, weight }: PlanEntry): string =>
  `version ${version} ${role} ${Math.round(weight * 100)} %`;

function printRollout({ plan, deployments, replicas }: ShownRollout): void {
  print(
    plan
      ? `plan ${plan.deployment}.${plan.revision}: ${plan.entries.map(entryText).join(', ')}`
      : 'no traffic plan yet',
  );
  for (const one of replicas) print(`server ${one.replica} has plan ${one.deployment}.${one.revision}`);
  const rows = deployments.map((one) => [
    one.deployment,
    one.kind,
    one.fromVersion,
    one.toVersion,
    one.outcome ?? 'under way',
    one.outcomeReason ?? one.reason,
  ]);
  print(table(['deployment', 'kind', 'from', 'to', 'outcome', 'why'], rows));
  const [latest] = deployments;
  if (!latest) return;
  print(`steps of deployment ${latest.deployment}:`);
  print(
    table(
      ['step', 'status', 'detail', 'at'],
      latest.steps.map((step) => [step.step, step.status, step.detail, when(step.at)]),
    ),
  );
}

export function rolloutCommands(program: Command, { api, actor, exit }: Context): void {
  const rollout = program.command('rollout').description('the rollout under way');
  rollout
    .command('show')
    .description('traffic plan, servers, deployments and the steps of the newest')
    .argument('<model>')
    .option(...JSON_OPTION)
    .action(async (model, { json }) => {
      const answer = await api.get<ShownRollout>(`${modelPath(model)}/rollout`);
      if (json) printJson(answer);
      else printRollout(answer);
    });
  const told = {
    pause: 'hold the rollout at its step',
    resume: 'let it go on',
    abort: 'end it; all traffic goes to the champion',
  } as const;
  for (const verb of ['pause', 'resume', 'abort'] as const) {
    rollout
      .command(verb)
      .description(told[verb])
      .argument('<model>')
      .option('--reason <text>')
      .option(...AS_OPTION)
      .action(async (model, { reason, as }) => {
        const body = { actor: actor(as), reason: reason ?? null };
        const path = `${modelPath(model)}/rollout/${verb}`;
        const answer = await api.post<{ readonly deployment: number; readonly status: string }>(path, body);
        print(`deployment ${answer.deployment}: ${answer.status}`);
        if (answer.status === 'refused') exit(EXIT.no);
      });
  }
  program
    .command('rollback')
    .description('back to an earlier champion at once; in the middle of a rollout, back to the champion')
    .argument('<model>')
    .requiredOption('--reason <text>', 'why; it is audited')
    .option('--to <version>', 'the version to go back to', versionNumber)
    .option('--request <id>', 'repeats a request whose answer was lost: under one id it is one rollback')
    .option(...AS_OPTION)
    .option(...JSON_OPTION)
    .addHelpText('after', '\nExample:\n  refit rollback flight-delays --reason "complaints from dispatch"\n')
    .action(async (model, { reason, to, request, as, json }) => {
      const requestId = request ?? randomUUID();
      const body = { actor: actor(as), reason, to: to ?? null, requestId };
      const answer = await api.post<RollbackAnswer>(`${modelPath(model)}/rollback`, body).catch((error: unknown) => {
        if (!(error instanceof CliError) || error.code !== EXIT.unreachable) throw error;
        // It may be under way or over: asked for anew it would go back one version further.
        throw new CliError(
          error.code,
          `${error.message}. The rollback may have been taken; repeat it with --request ${requestId}, so that it is done once`,
        );
      });
      if (json) printJson(answer);
      else if (answer.status === 'refused') print(`refused: ${answer.reason}`);
      else print(`deployment ${answer.deployment} goes back to version ${answer.toVersion}`);
      if (answer.status === 'refused') exit(EXIT.no);
    });
}
