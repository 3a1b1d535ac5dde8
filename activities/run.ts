/** The run's own bookkeeping: settings, approval, outcome. */
import { Context } from '@temporalio/activity';
import type * as m from '../src/contracts/messages.ts';
import type { RunOutcome } from '../src/contracts/values.ts';
import { judgeDecision } from '../src/domain/approval.ts';
import { runSettings } from '../src/domain/config.ts';
import { blockingRejection, withoutExamples } from '../src/domain/rejection.ts';
import { required } from './failures.ts';
import type { Ports } from './ports.ts';

export type RunActivities = ReturnType<typeof createRunActivities>;

export function createRunActivities({ registry, messenger, notifier, surroundings }: Ports) {
  const now = (): string => surroundings.now().toISOString();

  async function settingsOf({ model, definitionDigest }: m.StageRequest): Promise<m.RunSettings> {
    return runSettings(
      required(await registry.definition(model, definitionDigest), `definition ${definitionDigest} of ${model}`)
        .document,
    );
  }

  return {
    loadRunSettings: settingsOf,

    /**
     * The deadline is set once: a repeated request keeps the first. A request that was settled already, in an execution of the workflow that
     * Temporal lost, gives back how: nobody could decide it a second time.
     */
    async requestApproval(request: m.StageRequest & m.RegisterResult): Promise<{
      readonly expiresAtMs: number;
      readonly settled?: { readonly outcome: RunOutcome; readonly reason: string };
    }> {
      const { model, run, version, bundleDigest } = request;
      const settings = await settingsOf(request);
      const requestedAt = surroundings.now();
      await registry.requestApproval({
        run,
        model,
        version,
        bundleDigest,
        required: settings.approvalRequired,
        requestedAt: requestedAt.toISOString(),
        expiresAt: new Date(requestedAt.getTime() + settings.expiresMs).toISOString(),
      });
      await registry.updateRun(run, { stage: 'decide' }, now());
      const approval = required(await registry.approval(run), `approval request of ${run}`);
      const expiresAtMs = Date.parse(approval.expiresAt);
      if (approval.outcome !== null) {
        const accepted = approval.decisions
          .filter(
            (one) => one.status === 'accepted' && (one.decision === 'approve') === (approval.outcome === 'approved'),
          )
          .map((one) => one.actor);
        const reason = `${approval.outcome} by ${accepted.join(', ')} before the workflow was started again`;
        return { expiresAtMs, settled: { outcome: approval.outcome, reason } };
      }
      await notifier.notify({
        model,
        event: 'approval.requested',
        text: `${run}: version ${version} (${bundleDigest}) waits for ${approval.required} approval(s) until ${approval.expiresAt}`,
      });
      await messenger.runAwaits(model, { run });
      return { expiresAtMs };
    },

    async submitDecision({
      run,
      decision,
      via,
    }: m.StageRequest & {
      readonly decision: m.DecideUpdate;
      readonly via: 'signal' | 'update';
    }): Promise<m.DecisionAnswer> {
      const { info } = Context.current();
      // A signal without a request id is refused by judgement below, but it is recorded under an id of its own.
      const requestId = decision.requestId || `unnamed:${info.workflowExecution?.runId ?? ''}:${info.activityId}`;
      const { verdict } = await registry.recordDecision(
        run,
        {
          requestId,
          actor: decision.actor,
          decision: decision.decision,
          bundleDigest: decision.bundleDigest,
          reason: decision.reason ?? null,
          via,
        },
        (context) =>
          decision.requestId === '' || decision.actor === ''
            ? { status: 'refused', reason: 'a decision needs requestId, actor and bundleDigest' }
            : judgeDecision(context, { ...decision, requestId, reason: decision.reason ?? null, via }),
        now(),
      );
      if (verdict.status === 'refused') return { status: 'refused', reason: verdict.reason, settles: null };
      return { status: 'accepted', reason: verdict.detail, settles: verdict.settles };
    },

    async remind({ model, run, version }: m.StageRequest & { readonly version: number }): Promise<void> {
      const approval = required(await registry.approval(run), `approval request of ${run}`);
      const text = `${run}: version ${version} still waits for approval until ${approval.expiresAt}`;
      await notifier.notify({ model, event: 'approval.reminder', text });
    },

    /** Commits the outcome and reports it. The first outcome stays, so that a repetition reports the same. */
    async finishRun({
      model,
      run,
      outcome,
      reason,
    }: m.StageRequest & { readonly outcome: RunOutcome; readonly reason: string }): Promise<{
      readonly outcome: RunOutcome;
      readonly reason: string;
    }> {
      // With the examples of its checks, or its trainer's last lines: they may name a person, so they stay in the registry, where an erasure finds them.
      const kept = await registry.run(run);
      const fuller = [blockingRejection(kept?.checks ?? []), kept?.outcomeReason ?? null];
      const whole = fuller.find((one) => one !== null && withoutExamples(one) === reason) ?? reason;
      const record = await registry.finishRun(run, outcome, whole, now());
      const settled = record.outcome ?? outcome;
      const told = record.outcomeReason === null ? null : withoutExamples(record.outcomeReason);
      await notifier.notify({
        model,
        event: 'run.finished',
        text: `${run}: ${settled}${told ? `, ${told}` : ''}${told === record.outcomeReason ? '' : `; more by refit runs show ${run}`}`,
      });
      await messenger.runFinished(model, { run, outcome: settled, version: record.version });
      return { outcome: settled, reason: told ?? reason };
    },
  };
}
