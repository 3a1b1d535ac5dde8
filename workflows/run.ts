/**
 * run/MODEL/RUN: from snapshot to decision. A failed gate or a rejection is an outcome, not an exception; whatever happens,
 * the run ends with an outcome in the registry and a signal to its lifecycle.
 */
import {
  ActivityFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
} from '@temporalio/workflow';
import type { EvaluateActivities } from '../activities/evaluate.ts';
import type { RunActivities } from '../activities/run.ts';
import type { SnapshotActivities } from '../activities/snapshot.ts';
import type { TrainActivities } from '../activities/train.ts';
import type {
  DecideUpdate,
  DecisionAnswer,
  DecisionMessage,
  RegisterResult,
  RunInput,
  RunSettings,
} from '../src/contracts/messages.ts';
import type { RunOutcome, Stage } from '../src/contracts/values.ts';
import { isDataRefused, rootMessage } from './failure.ts';
import {
  approveSignal,
  cancelUpdate,
  decideUpdate,
  rejectSignal,
  runStatusQuery,
  supersedeSignal,
} from './messages.ts';
import { data, quick, training } from './profiles.ts';
import { show } from './visibility.ts';

const control = proxyActivities<RunActivities>(quick);
const { buildSnapshot } = proxyActivities<SnapshotActivities>(data);
const { evaluateRun, registerVersion } = proxyActivities<EvaluateActivities>(data);

interface End {
  readonly outcome: RunOutcome;
  readonly reason: string;
}

const isText = (value: unknown): value is string =>
  typeof value === 'string' && value.length > 0 && value.length <= 512;

/** Signals come from people's hands: what lacks a field becomes an empty text, which verification refuses with a reason. */
function tidy(message: DecisionMessage | undefined, decision: DecideUpdate['decision']): DecideUpdate {
  const text = (value: unknown): string => (isText(value) ? value : '');
  return {
    requestId: text(message?.requestId),
    actor: text(message?.actor),
    bundleDigest: text(message?.bundleDigest),
    reason: isText(message?.reason) ? message.reason : null,
    decision,
  };
}

export async function run(input: RunInput): Promise<End> {
  const request = { model: input.model, run: input.run, definitionDigest: input.definitionDigest };
  let stage: Stage = 'snapshot';
  let candidate: RegisterResult | null = null;
  let stopped: End | null = null;
  let superseded: End | null = null;
  let closing = false;
  let outcome: RunOutcome | null = null;
  let waitsFor: string | null = null;
  let lastAnswer = '';
  const signalled: DecideUpdate[] = [];
  const work = new CancellationScope();
  // Read through a function: handlers change it between awaits, which the compiler cannot see.
  const end = (): End | null => stopped;
  const yields = (): End | null => superseded;

  async function decide(decision: DecideUpdate, via: 'signal' | 'update'): Promise<DecisionAnswer> {
    // While the outcome is on its way to the registry, a decision would be accepted there and then not count.
    if (closing) await condition(() => outcome !== null);
    const answer = await control.submitDecision({ ...request, decision, via });
    lastAnswer = `${decision.decision} by ${decision.actor || '(nobody)'} via ${via}: ${answer.status}, ${answer.reason}`;
    // Committed as accepted, so it counts, also where a newer run asked this one to give way meanwhile.
    if (answer.settles && (stopped === null || stopped.outcome === 'superseded'))
      stopped = { outcome: answer.settles, reason: answer.reason };
    return answer;
  }
  setHandler(approveSignal, (message) => {
    signalled.push(tidy(message, 'approve'));
  });
  setHandler(rejectSignal, (message) => {
    signalled.push(tidy(message, 'reject'));
  });
  setHandler(supersedeSignal, ({ reason }) => {
    // Only what waits for a decision gives way. Told a moment too early it does so later: it is told once.
    superseded ??= { outcome: 'superseded', reason };
    if (stage === 'decide') stopped ??= superseded;
  });
  setHandler(decideUpdate, (message) => decide(tidy(message, message.decision), 'update'), {
    validator: (message: DecideUpdate | undefined) => {
      if (message?.decision !== 'approve' && message?.decision !== 'reject')
        throw new Error("decision must be 'approve' or 'reject'");
      if (!isText(message.requestId) || !isText(message.actor))
        throw new Error('requestId and actor must be texts of 1 to 512 characters');
    },
  });
  setHandler(cancelUpdate, ({ actor, reason }) => {
    if (outcome !== null || stopped !== null) return { status: 'refused', reason: `${input.run} has ended` };
    stopped = { outcome: 'cancelled', reason: `cancelled by ${actor}${reason ? `: ${reason}` : ''}` };
    work.cancel();
    return { status: 'cancelled', reason: stopped.reason };
  });
  setHandler(runStatusQuery, () => ({
    run: input.run,
    stage,
    outcome,
    version: candidate?.version ?? null,
    bundleDigest: candidate?.bundleDigest ?? null,
    waitsFor,
  }));

  const headline = `${input.run}, started by ${input.trigger}${input.reason ? `: ${input.reason}` : ''}.`;
  const enter = (next: Stage, text: string): void => {
    stage = next;
    show({ stage: next });
    setCurrentDetails(`${headline}\n\n${text}`);
  };

  async function build(settings: RunSettings): Promise<End | RegisterResult> {
    enter('snapshot', 'Reads the data window, checks it, computes features and splits.');
    const snapshot = await buildSnapshot(request);
    if (snapshot.status === 'data_rejected') return { outcome: 'data_rejected', reason: snapshot.reason };
    enter('train', `Trains on ${snapshot.trainRows} rows; ${snapshot.testRows} are held out.`);
    const { train } = proxyActivities<TrainActivities>({
      ...training(settings.trainTimeoutMs),
      summary: `${snapshot.trainRows} rows`,
    });
    const trained = await train({ ...request, snapshot: snapshot.snapshot });
    enter('evaluate', 'Evaluates the ONNX file on held-out rows, compares it with the champion, runs the gates.');
    const evaluated = await evaluateRun({
      ...request,
      snapshot: snapshot.snapshot,
      onnx: trained.onnx,
      predictions: trained.predictions,
    });
    if (evaluated.status !== 'passed') {
      return { outcome: evaluated.status === 'failed' ? 'gate_failed' : 'inconclusive', reason: evaluated.reason };
    }
    enter('register', `${evaluated.metric.name} ${evaluated.metric.value.toFixed(4)}; ${evaluated.reason}.`);
    return registerVersion({ ...request, snapshot: snapshot.snapshot, onnx: trained.onnx });
  }

  async function awaitDecision(registered: RegisterResult, settings: RunSettings): Promise<End> {
    const { expiresAtMs, settled } = await control.requestApproval({ ...request, ...registered });
    stage = 'decide';
    show({ stage, version: registered.version });
    // Decided while the request was asked for again, or before this execution.
    const decided = end();
    if (settled) return decided?.outcome === settled.outcome ? decided : settled;
    stopped ??= yields();
    // No time between reminders means no reminders.
    let remindAtMs = settings.remindMs > 0 ? Date.now() + settings.remindMs : Number.POSITIVE_INFINITY;
    for (;;) {
      waitsFor = `${settings.approvalRequired} approval(s) of bundle ${registered.bundleDigest}`;
      setCurrentDetails(
        `${headline}\n\nVersion ${registered.version} waits for ${waitsFor} until ${new Date(expiresAtMs).toISOString()}.` +
          `\n\nApprove with \`refit approve ${input.run}\` or the signal \`approve\` with {"requestId", "actor", "bundleDigest"}.${lastAnswer ? `\n\nLast answer: ${lastAnswer}` : ''}`,
      );
      const next = Math.min(expiresAtMs, remindAtMs);
      await condition(() => signalled.length > 0 || end() !== null, Math.max(1, next - Date.now()));
      for (let message = signalled.shift(); message; message = signalled.shift()) await decide(message, 'signal');
      // An update that is being judged may have settled the run: let it finish before time decides.
      await condition(allHandlersFinished);
      const ended = end();
      if (ended) return ended;
      if (Date.now() >= expiresAtMs)
        return { outcome: 'expired', reason: `no decision until ${new Date(expiresAtMs).toISOString()}` };
      if (Date.now() >= remindAtMs) {
        remindAtMs += settings.remindMs;
        await control.remind({ ...request, version: registered.version });
      }
    }
  }

  async function play(): Promise<End> {
    const settings = await control.loadRunSettings(request);
    const built = await build(settings);
    if ('outcome' in built) return built;
    candidate = built;
    return awaitDecision(built, settings);
  }

  show({ model: input.model, trigger: input.trigger });
  let last: End;
  try {
    last = await work.run(play);
  } catch (error) {
    if (isCancellation(error))
      last = end() ?? { outcome: 'cancelled', reason: 'the workflow was cancelled in Temporal' };
    else if (error instanceof ActivityFailure)
      last = { outcome: isDataRefused(error) ? 'data_rejected' : 'failed', reason: rootMessage(error) };
    else throw error;
  }
  waitsFor = null;
  closing = true;
  await CancellationScope.nonCancellable(async () => {
    const finished = await control.finishRun({ ...request, outcome: last.outcome, reason: last.reason });
    // The registry's first outcome stays, for instance one that the lifecycle gave a run it took for lost.
    last = finished;
    outcome = last.outcome;
    setCurrentDetails(`${headline}\n\n${last.outcome}: ${last.reason}`);
    show({ outcome: last.outcome });
    for (const message of signalled.splice(0)) await decide(message, 'signal');
    await condition(allHandlersFinished);
  });
  return last;
}
