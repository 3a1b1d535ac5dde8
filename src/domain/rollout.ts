/** Plans of a rollout's steps and the judgement of what the servers counted. Pure. */
import type { RolloutStepPlan, StepVerdict, WatchRequest } from '../contracts/messages.ts';
import { LATENCY_BUCKETS_MS, type PlanEntry, type ReplicaReport, type ServingCounts } from '../contracts/plan.ts';

/** A replica that reported within this time is live. */
export const LIVE_MS = 10_000;

export const stepName = (step: Pick<RolloutStepPlan, 'type' | 'weight'>): string =>
  step.type === 'shadow' ? 'shadow' : `canary ${Math.round(step.weight * 100)} %`;

/** The step that a plan carries out, by the same names. */
export function planStep(entries: readonly PlanEntry[]): string {
  const challenger = entries.find((entry) => entry.role !== 'champion');
  if (!challenger) return 'champion only';
  return stepName({ type: challenger.role === 'shadow' ? 'shadow' : 'canary', weight: challenger.weight });
}

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
 * A clear failure ends the step at once, but only on a sample that carries it; a bound that is broken without certainty
 * keeps the step open until more requests decide or the patience is over.
 */
export function judgeStep(request: WatchRequest, live: readonly ReplicaReport[], heldMs: number | null): StepJudgement {
  const { step, analysis, challengerVersion, championVersion } = request;
  if (live.length === 0) return { state: 'waiting', confirmed: false, detail: 'no live inference server' };
  const current = live.filter(
    (report) => report.deployment === request.deployment && report.revision === request.revision,
  );
  const unloadable = current
    .flatMap((report) => report.failures)
    .find((failure) => failure.version === challengerVersion);
  if (unloadable)
    return {
      state: 'done',
      verdict: 'failed',
      detail: `version ${challengerVersion} does not load: ${unloadable.reason}`,
    };
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
  const broken = breach(challenger, champion, analysis, step.minRequests);
  if (broken?.isCertain) return { state: 'done', verdict: 'failed', detail: `${broken.text} (${numbers})` };
  if (heldMs === null || heldMs < step.holdMs)
    return { state: 'waiting', confirmed: true, detail: `holding, ${numbers}` };
  const short = challenger.requests < step.minRequests || champion.requests < Math.min(step.minRequests, 1);
  if (!short && dropped === 0 && broken === null) {
    const p95 = [histogramQuantile(challenger.latency, 0.95), histogramQuantile(champion.latency, 0.95)].map((value) =>
      value === null ? 'none' : `${value.toFixed(2)} ms`,
    );
    return { state: 'done', verdict: 'passed', detail: `${numbers}, p95 ${p95[0]} against ${p95[1]}` };
  }
  const lack = short
    ? `${numbers}, ${step.minRequests} are needed`
    : (broken?.text ?? `${dropped} predictions were dropped from the log`);
  if (heldMs >= step.holdMs + request.patienceMs) return { state: 'done', verdict: 'inconclusive', detail: lack };
  return { state: 'waiting', confirmed: true, detail: lack };
}

/** A breach of a bound: certain ones end the step, others keep it open until more requests decide. */
interface Breach {
  readonly isCertain: boolean;
  readonly text: string;
}

/** One in about 700 by chance; a step that is looked at many times needs more than the usual 1.64. */
const CERTAIN_Z = 3;

function breach(
  challenger: Totals,
  champion: Totals,
  analysis: WatchRequest['analysis'],
  minRequests: number,
): Breach | null {
  if (challenger.requests === 0) return null;
  const rate = challenger.errors / challenger.requests;
  const base = champion.requests === 0 ? 0 : champion.errors / champion.requests;
  if (rate - base > analysis.maxErrorRateIncrease) {
    const text = `error rate ${rate.toFixed(3)} against ${base.toFixed(3)}, at most ${analysis.maxErrorRateIncrease} more`;
    return { isCertain: challenger.requests >= Math.min(20, Math.max(minRequests, 1)), text };
  }
  // A ratio of two small samples says nothing: latency is judged on the step's full sample only.
  if (challenger.requests < Math.max(minRequests, 20) || champion.requests < 20) return null;
  return latencyBreach(challenger, champion, analysis.maxLatencyP95Ratio);
}

/**
 * The ratio of the 95th percentiles breaks the bound when it is above it; that is certain when significantly more than 5 % of
 * the challenger's requests lie above bound times the champion's percentile (two-proportion z-test, with the champion's 5 %
 * as the other sample).
 */
function latencyBreach(challenger: Totals, champion: Totals, maxRatio: number): Breach | null {
  const slow = histogramQuantile(challenger.latency, 0.95);
  const usual = histogramQuantile(champion.latency, 0.95);
  if (slow === null || usual === null || usual <= 0 || slow / usual <= maxRatio) return null;
  const above = shareAbove(challenger.latency, usual * maxRatio);
  const pooled = (above * challenger.requests + 0.05 * champion.requests) / (challenger.requests + champion.requests);
  const deviation = Math.sqrt(pooled * (1 - pooled) * (1 / challenger.requests + 1 / champion.requests));
  const text = `latency p95 ${slow.toFixed(2)} ms against ${usual.toFixed(2)} ms, ratio ${(slow / usual).toFixed(2)}, at most ${maxRatio}`;
  return { isCertain: (above - 0.05) / deviation >= CERTAIN_Z, text };
}

/** Share of a histogram's observations above a bound, linear within a bucket; the last bucket counts in full. */
function shareAbove(buckets: readonly number[], boundMs: number): number {
  let above = 0;
  let count = 0;
  for (const [index, value] of buckets.entries()) {
    const low = index === 0 ? 0 : (LATENCY_BUCKETS_MS[index - 1] ?? 0);
    const high = LATENCY_BUCKETS_MS[index] ?? Number.POSITIVE_INFINITY;
    count += value;
    if (boundMs <= low) above += value;
    else if (boundMs < high) above += Number.isFinite(high) ? (value * (high - boundMs)) / (high - low) : value;
  }
  return count === 0 ? 0 : above / count;
}
