/** What of a definition steers the workflows, with durations in milliseconds. */

import type { ModelDocument } from '../contracts/documents.ts';
import { durationMs } from '../contracts/duration.ts';
import type { LifecycleConfig, RolloutAnalysisConfig, RolloutStepPlan, RunSettings } from '../contracts/messages.ts';

export function lifecycleConfig(document: ModelDocument, definitionDigest: string): LifecycleConfig {
  const { retraining } = document;
  const { limits } = document.training;
  const cpuHours = retraining.budget?.cpu_hours_per_day;
  return {
    definitionDigest,
    triggers: retraining.triggers,
    debounceMs: durationMs(retraining.debounce),
    maxWaitMs: durationMs(retraining.max_wait),
    cooldownMs: durationMs(retraining.cooldown),
    minNewRows: retraining.min_new_rows,
    confirmDrift: retraining.confirm_drift,
    runsPerDay: retraining.budget?.runs_per_day ?? null,
    onNewer: document.approval.on_newer,
    minNewOutcomes: retraining.min_new_outcomes,
    cpuSecondsPerDay: cpuHours === undefined ? null : cpuHours * 3_600,
    reservedCpuSeconds: (durationMs(limits.time) / 1_000) * limits.cpu,
    schedule: retraining.schedule ?? null,
  };
}

const AROUND_TRAINING_MS = 3_600_000;

export function runSettings(document: ModelDocument): RunSettings {
  const trainMs = durationMs(document.training.limits.time);
  return {
    queueTimeoutMs: 24 * 3_600_000,
    // The trainer is ended at its own limit; the activity outlives it by what fetching the data and storing the files may take, and by an outage meanwhile.
    trainTimeoutMs: trainMs + AROUND_TRAINING_MS,
    approvalRequired: document.approval.required,
    remindMs: durationMs(document.approval.remind),
    expiresMs: durationMs(document.approval.expires),
  };
}

export function rolloutSteps(document: ModelDocument): readonly RolloutStepPlan[] {
  // Without servers nothing could confirm a step: such a model is promoted right after its approval.
  if (document.rollout.type === 'immediate' || document.serving === 'none') return [];
  return document.rollout.steps.map((step) => ({
    type: step.type,
    weight: step.type === 'canary' ? step.weight : 0,
    holdMs: durationMs(step.hold),
    minRequests: step.min_requests,
  }));
}

export function rolloutAnalysis(document: ModelDocument): RolloutAnalysisConfig {
  const { analysis } = document.rollout;
  return { maxErrorRateIncrease: analysis.error_rate.max_increase, maxLatencyP95Ratio: analysis.latency_p95.max_ratio };
}
