/** Plans of a rollout's steps and the judgement of what the servers counted. Pure. */
import type { RolloutStepPlan, StepVerdict, WatchRequest } from '../contracts/messages.ts';
import { LATENCY_BUCKETS_MS, type PlanEntry, type ReplicaReport, type ServingCounts } from '../contracts/plan.ts';

/** A replica that reported within this time is live. */
export const LIVE_MS = 10_000;

export const stepName = (step: RolloutStepPlan): string =>
  step.type === 'shadow' ? 'shadow' : `canary ${Math.round(step.weight * 100)} %`;

export function stepEntries(step: RolloutStepPlan, champion: number, challenger: number): readonly PlanEntry[] {
  if (step.type === 'shadow') {
    return [
      { version: champion, role: 'champion', weight: 1 },
      { version: challenger, role: 'shadow', weight: 0 },
    ];
  }
  return [
    { version: champion, role: 'champion', weight: 1 - step.weight },
    { version: challenger, role: 'canary', weight: step.weight },
  ];
}

export const onlyChampion = (version: number): readonly PlanEntry[] => [{ version, role: 'champion', weight: 1 }];

interface Totals {
  readonly requests: number;
  readonly errors: number;
  readonly latency: readonly number[];
}

function total(reports: readonly ReplicaReport[], matches: (counts: ServingCounts) => boolean): Totals {
  const latency = new Array<number>(LATENCY_BUCKETS_MS.length + 1).fill(0);
  let requests = 0;
  let errors = 0;
  for (const counts of reports.flatMap((report) => report.counts).filter(matches)) {
    requests += counts.requests;
    errors += counts.errors;
    for (const [index, count] of counts.latencyBuckets.entries()) latency[index] = (latency[index] ?? 0) + count;
  }
  return { requests, errors, latency };
}

/** Quantile from a histogram, linear within a bucket (as Prometheus does); null when it is empty. */
export function histogramQuantile(buckets: readonly number[], quantile: number): number | null {
  const count = buckets.reduce((sum, value) => sum + value, 0);
  if (count === 0) return null;
  const rank = quantile * count;
  let seen = 0;
  for (const [index, value] of buckets.entries()) {
    if (seen + value >= rank && value > 0) {
      const low = index === 0 ? 0 : (LATENCY_BUCKETS_MS[index - 1] ?? 0);
      const high = LATENCY_BUCKETS_MS[index];
      return high === undefined ? low : low + ((high - low) * (rank - seen)) / value;
    }
    seen += value;
  }
  return LATENCY_BUCKETS_MS.at(-1) ?? null;
}

export type StepJudgement =
  | { readonly state: 'waiting'; readonly detail: string; readonly confirmed: boolean }
  | ({ readonly state: 'done' } & StepVerdict);

/**
 * Judges a step by the live replicas' reports. `heldMs`: time since all of them had the revision, null before.
 * A clear failure ends the step at once, but only on a sample that carries it: at least 20 requests or a model that
 * does not load.
 */
export function judgeStep(request: WatchRequest, live: readonly ReplicaReport[], heldMs: number | null): StepJudgement {
  const { step, analysis, challengerVersion, championVersion } = request;
  if (live.length === 0) return { state: 'waiting', confirmed: false, detail: 'no live inference server' };
  const current = live.filter(
    (report) => report.deployment === request.deployment && report.revision === request.revision,
  );
  const broken = current.flatMap((report) => report.failures).find((failure) => failure.version === challengerVersion);
  if (broken)
    return { state: 'done', verdict: 'failed', detail: `version ${challengerVersion} does not load: ${broken.reason}` };
  if (current.length < live.length) {
    return {
      state: 'waiting',
      confirmed: false,
      detail: `${current.length} of ${live.length} servers have revision ${request.revision}`,
    };
  }
  const challenger = total(current, (counts) => counts.version === challengerVersion && counts.role !== 'champion');
  const champion = total(current, (counts) => counts.version === championVersion && counts.role === 'champion');
  const dropped = current.reduce((sum, report) => sum + report.droppedLogs, 0);
  const numbers = `${challenger.requests} requests of version ${challengerVersion}, ${champion.requests} of version ${championVersion}`;
  const failure = breach(challenger, champion, analysis, step.minRequests);
  if (failure && challenger.requests >= Math.min(20, Math.max(step.minRequests, 1)))
    return { state: 'done', verdict: 'failed', detail: `${failure} (${numbers})` };
  if (heldMs === null || heldMs < step.holdMs)
    return { state: 'waiting', confirmed: true, detail: `holding, ${numbers}` };
  const short = challenger.requests < step.minRequests || champion.requests < Math.min(step.minRequests, 1);
  if (!short && dropped === 0) {
    const p95 = [histogramQuantile(challenger.latency, 0.95), histogramQuantile(champion.latency, 0.95)].map((value) =>
      value === null ? 'none' : `${value.toFixed(2)} ms`,
    );
    return { state: 'done', verdict: 'passed', detail: `${numbers}, p95 ${p95[0]} against ${p95[1]}` };
  }
  const lack = short
    ? `${numbers}, ${step.minRequests} are needed`
    : `${dropped} predictions were dropped from the log`;
  if (heldMs >= step.holdMs + request.patienceMs) return { state: 'done', verdict: 'inconclusive', detail: lack };
  return { state: 'waiting', confirmed: true, detail: lack };
}

function breach(
  challenger: Totals,
  champion: Totals,
  analysis: WatchRequest['analysis'],
  minRequests: number,
): string | null {
  if (challenger.requests === 0) return null;
  const rate = challenger.errors / challenger.requests;
  const base = champion.requests === 0 ? 0 : champion.errors / champion.requests;
  if (rate - base > analysis.maxErrorRateIncrease) {
    return `error rate ${rate.toFixed(3)} against ${base.toFixed(3)}, at most ${analysis.maxErrorRateIncrease} more`;
  }
  // A ratio of two small samples says nothing: latency is judged on the step's full sample only.
  if (challenger.requests < Math.max(minRequests, 20) || champion.requests < 20) return null;
  const slow = histogramQuantile(challenger.latency, 0.95);
  const usual = histogramQuantile(champion.latency, 0.95);
  if (slow !== null && usual !== null && usual > 0 && slow / usual > analysis.maxLatencyP95Ratio) {
    return `latency p95 ${slow.toFixed(2)} ms against ${usual.toFixed(2)} ms, ratio ${(slow / usual).toFixed(2)}, at most ${analysis.maxLatencyP95Ratio}`;
  }
  return null;
}
