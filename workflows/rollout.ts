/**
 * rollout/MODEL/N: from plan to promoted or rolled back. Every plan it writes carries (deployment, revision); a stale write
 * means that a newer deployment has taken over, and ends it. Reports back by signal.
 */
import {
  allHandlersFinished,
  CancellationScope,
  condition,
  isCancellation,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
} from '@temporalio/workflow';
import type { RolloutActivities } from '../activities/rollout.ts';
import type { RolloutInput, RolloutStepPlan, StepVerdict } from '../src/contracts/messages.ts';
import type { RolloutOutcome } from '../src/contracts/values.ts';
import { onlyChampion, stepEntries, stepName } from '../src/domain/rollout.ts';
import {
  abortRolloutUpdate,
  fenceSignal,
  pauseRolloutUpdate,
  resumeRolloutUpdate,
  rolloutStatusQuery,
} from './messages.ts';
import { quick, watch } from './profiles.ts';
import { show } from './visibility.ts';

const { writePlan, promote, finishRollout, alertRollout } = proxyActivities<RolloutActivities>(quick);
const { watchStep } = proxyActivities<RolloutActivities>(watch);

const ANSWER_WAITS = 'answer-waits-for-writing';
const WATCHED_ANEW = 'watched-anew-after-resume';

interface End {
  readonly outcome: RolloutOutcome;
  readonly reason: string;
}

export async function rollout(input: RolloutInput): Promise<End> {
  const { model, deployment, fromVersion, toVersion } = input;
  let step = 'start';
  let revision = 0;
  let paused: string | null = null;
  let stopped: End | null = null;
  let outcome: RolloutOutcome | null = null;
  let watching: CancellationScope | null = null;
  let writing = false;

  const stop = (end: End): void => {
    stopped ??= end;
    watching?.cancel();
  };
  setHandler(fenceSignal, ({ reason }) => stop({ outcome: 'superseded', reason }));
  // A plan or a promotion under way comes into force or not, whatever is said meanwhile: the answer waits for it, which may be long where the
  // registry is away.
  const written = (): Promise<void> => condition(() => !writing);
  setHandler(abortRolloutUpdate, async ({ actor, reason }): Promise<{ readonly status: 'aborted' | 'refused' }> => {
    if (writing && patched(ANSWER_WAITS)) await written();
    if (outcome !== null || stopped !== null) return { status: 'refused' };
    stop({ outcome: 'aborted', reason: `aborted by ${actor}${reason ? `: ${reason}` : ''}` });
    return { status: 'aborted' };
  });
  setHandler(pauseRolloutUpdate, async ({ actor, reason }): Promise<{ readonly status: 'paused' | 'refused' }> => {
    if (writing && patched(ANSWER_WAITS)) await written();
    if (outcome !== null || stopped !== null) return { status: 'refused' };
    paused = `paused by ${actor}${reason ? `: ${reason}` : ''}`;
    watching?.cancel();
    return { status: 'paused' };
  });
  setHandler(resumeRolloutUpdate, (): { readonly status: 'resumed' | 'refused' } => {
    if (paused === null) return { status: 'refused' };
    paused = null;
    return { status: 'resumed' };
  });
  setHandler(rolloutStatusQuery, () => ({ deployment, step, paused, outcome }));
  // Read through functions: handlers change these between awaits, which the compiler cannot see.
  const end = (): End | null => stopped;
  const isPaused = (): boolean => paused !== null;

  const tell = (text: string): void =>
    setCurrentDetails(
      `Deployment ${deployment}: version ${toVersion}${fromVersion === null ? '' : ` against version ${fromVersion}`}.\n\n${text}`,
    );

  async function whileWriting<T>(write: () => Promise<T>): Promise<T> {
    writing = true;
    try {
      return await write();
    } finally {
      writing = false;
    }
  }

  async function plan(entries: ReturnType<typeof onlyChampion>, note: string): Promise<boolean> {
    revision += 1;
    const what = { plan: { model, deployment, revision, entries }, step, detail: note };
    const answer = await whileWriting(() => writePlan(what));
    if (answer.status === 'stale')
      stop({ outcome: 'superseded', reason: `deployment ${answer.current} has taken over` });
    return answer.status !== 'stale';
  }

  /** Returns when the rollout may go on; a person who was told 'paused' must see no further step, and no promotion. */
  async function unpaused(): Promise<void> {
    if (isPaused()) tell(`Paused before or in step ${step}: ${paused}. Waits for resume or abort.`);
    await condition(() => !isPaused() || end() !== null);
  }

  async function watched(plan: RolloutStepPlan, champion: number): Promise<StepVerdict | null> {
    const scope = new CancellationScope();
    watching = scope;
    try {
      return await scope.run(() =>
        watchStep.executeWithOptions({ summary: step }, [
          {
            model,
            deployment,
            revision,
            championVersion: champion,
            challengerVersion: toVersion,
            step: plan,
            analysis: input.analysis,
            patienceMs: input.patienceMs,
          },
        ]),
      );
    } catch (error) {
      if (isCancellation(error)) return null;
      throw error;
    } finally {
      watching = null;
    }
  }

  /** Null when the step passed. */
  async function take(plan_: RolloutStepPlan, champion: number): Promise<End | null> {
    await unpaused();
    if (end()) return end();
    step = stepName(plan_);
    const entries = stepEntries(plan_, champion, toVersion);
    if (!(await plan(entries, 'starts'))) return end();
    let isAnew = false;
    for (;;) {
      await unpaused();
      if (end()) return end();
      // The servers count from zero for a plan that they have not seen: what made the step inconclusive is past.
      if (isAnew && !(await plan(entries, 'watched anew'))) return end();
      isAnew = false;
      tell(`Step ${step}: waits until every live server has revision ${revision}, holds and compares.`);
      const verdict = await watched(plan_, champion);
      if (end()) return end();
      if (verdict === null) continue;
      if (verdict.verdict === 'passed') {
        await alertRollout({ model, deployment, step, status: 'passed', detail: verdict.detail, alert: false });
        return null;
      }
      if (verdict.verdict === 'failed') return { outcome: 'rolled_back', reason: `${step}: ${verdict.detail}` };
      paused = `inconclusive: ${verdict.detail}`;
      const told = { model, deployment, step, status: 'inconclusive', detail: verdict.detail, alert: true };
      await alertRollout({ ...told, revision });
      isAnew = patched(WATCHED_ANEW);
    }
  }

  async function play(): Promise<End> {
    if (fromVersion !== null && input.kind === 'rollout') {
      for (const one of input.steps) {
        const ended = end() ?? (await take(one, fromVersion));
        if (ended) return ended;
      }
    }
    await unpaused();
    step = input.kind === 'rollback' ? 'rollback' : 'promote';
    tell(input.kind === 'rollback' ? `Goes back to version ${toVersion}: ${input.reason}.` : 'Promotes.');
    const ended = end();
    if (ended) return ended;
    revision += 1;
    const final = { model, deployment, revision, entries: onlyChampion(toVersion) };
    const answer = await whileWriting(() => promote({ plan: final }));
    if (answer.status === 'promoted') {
      // From here on, for those who wait for an answer.
      outcome = 'promoted';
      return { outcome, reason: input.reason };
    }
    return end() ?? { outcome: answer.stale ? 'superseded' : 'rolled_back', reason: answer.reason };
  }

  show({ model, version: toVersion });
  let last = await play();
  if (last.outcome !== 'promoted' && last.outcome !== 'superseded' && fromVersion !== null) {
    step = 'roll back';
    // A newer deployment may have fenced this one off before its signal came.
    if (!(await plan(onlyChampion(fromVersion), last.reason)) && last.outcome !== 'aborted')
      last = { outcome: 'superseded', reason: 'a newer deployment has taken over' };
  }
  outcome = last.outcome;
  await finishRollout({ model, deployment, outcome: last.outcome, reason: last.reason });
  tell(`${last.outcome}: ${last.reason}`);
  show({ outcome: last.outcome });
  await condition(allHandlersFinished);
  return last;
}
