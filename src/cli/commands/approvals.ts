/** refit approvals, approve, reject. */
import type { Command } from '@commander-js/extra-typings';
import type { DecisionAnswer } from '../../contracts/messages.ts';
import type { ShownApproval } from '../../gateway/routes/runs.ts';
import type { RunRecord } from '../../ports/registry/runs.ts';
import type { ApprovalRecord } from '../../ports/registry/versions.ts';
import { runPath } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { AS_OPTION, JSON_OPTION, metricText, print, printJson, short, table, when } from '../output.ts';

const MOST_SLICES = 20;

function comparisonText({ evaluation, model }: ShownApproval): string {
  const compared = evaluation?.comparison;
  if (!compared)
    return evaluation?.notCompared === undefined
      ? 'there is no champion to compare with'
      : `not compared with the champion: ${evaluation.notCompared}`;
  const { champion, challenger, difference, interval } = compared;
  return (
    `${compared.metric} on ${compared.rows} rows that neither saw: ${challenger.toFixed(4)} against ${champion.toFixed(4)} ` +
    `of champion ${model}@${compared.championVersion}; difference ${difference.toFixed(4)} ` +
    `[${interval.low.toFixed(4)}, ${interval.high.toFixed(4)}] at ${interval.confidence}`
  );
}

/** What an approver must see: champion and challenger on rows that neither saw, with interval and slices. */
function approvalPage(approval: ShownApproval): string {
  const { evaluation, gates, decisions } = approval;
  const parts = [
    `${approval.run} asks for ${approval.required} approval(s) of ${approval.model}@${approval.version} until ${when(approval.expiresAt)}`,
    `started by ${approval.trigger}${approval.reason ? `: ${approval.reason}` : ''}`,
    `bundle ${approval.bundleDigest}`,
    `${metricText(approval.metric)} on ${evaluation?.rows ?? 0} held-out rows`,
    comparisonText(approval),
    table(
      ['gate', 'status', 'detail'],
      gates.map((gate) => [gate.gate, gate.status, gate.detail]),
    ),
  ];
  if (evaluation && evaluation.slices.length > 0) {
    const largest = [...evaluation.slices].sort((a, b) => b.rows - a.rows).slice(0, MOST_SLICES);
    const rows = largest.map((slice) => [slice.slice, slice.value, slice.rows, slice.score?.toFixed(4)]);
    parts.push(table(['slice', 'value', 'rows', evaluation.metric], rows));
  }
  if (decisions.length > 0) {
    const rows = decisions.map((one) => [one.decision, one.actor, one.via, one.status, one.refusal ?? one.reason]);
    parts.push(table(['decision', 'by', 'via', 'answer', 'why'], rows));
  }
  return parts.join('\n');
}

export function approvalCommands(program: Command, { api, actor, exit }: Context): void {
  program
    .command('approvals')
    .description('decisions that are waited for, with champion and challenger side by side')
    .option(...JSON_OPTION)
    .action(async ({ json }) => {
      const approvals = await api.get<ShownApproval[]>('/api/v1/approvals');
      if (json) printJson(approvals);
      else print(approvals.length === 0 ? 'nothing waits for a decision' : approvals.map(approvalPage).join('\n\n'));
    });

  interface Decision {
    readonly decision: 'approve' | 'reject';
    readonly as: string | undefined;
    readonly reason: string | null;
    readonly digest: string | undefined;
    readonly json: boolean | undefined;
  }
  async function decide(run: string, { decision, as, reason, digest, json }: Decision): Promise<void> {
    const record = await api.get<RunRecord & { readonly approval: ApprovalRecord | null }>(runPath(run));
    const bundleDigest = digest ?? record.approval?.bundleDigest;
    if (bundleDigest === undefined) {
      const state = record.outcome === null ? `it is at stage ${record.stage}` : `it ended ${record.outcome}`;
      throw new CliError(EXIT.no, `${run} does not wait for a decision: ${state}`);
    }
    const body = { actor: actor(as), decision, bundleDigest, reason };
    const answer = await api.post<DecisionAnswer>(`${runPath(run)}/decisions`, body);
    const settled = answer.settles ? `; ${record.model}@${record.version ?? '?'} is ${answer.settles}` : '';
    if (json) printJson(answer);
    else print(`${run}, ${decision} bundle ${short(bundleDigest)}: ${answer.status}, ${answer.reason}${settled}`);
    if (answer.status === 'refused') exit(EXIT.no);
  }
  program
    .command('approve')
    .description('approve the candidate of a run')
    .argument('<run>')
    .option(...AS_OPTION)
    .option('--comment <text>')
    .option('--digest <sha256>', 'the bundle that you looked at; refused when the run waits for another')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nExample:\n  refit approve flight-delays-000001 --as ana --comment "slices look right"\n')
    .action((run, { as, comment, digest, json }) =>
      decide(run, { decision: 'approve', as, reason: comment ?? null, digest, json }),
    );
  program
    .command('reject')
    .description('reject the candidate of a run')
    .argument('<run>')
    .requiredOption('--reason <text>', 'why; it is audited')
    .option(...AS_OPTION)
    .option('--digest <sha256>', 'the bundle that you looked at')
    .option(...JSON_OPTION)
    .action((run, { as, reason, digest, json }) => decide(run, { decision: 'reject', as, reason, digest, json }));
}
