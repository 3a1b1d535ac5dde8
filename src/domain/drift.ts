/** The verdict of a sweep: drift alone is suspected, a loss on known outcomes or drift that stays is confirmed. Pure. */
import type { DriftWindow, LifecycleConfig } from '../contracts/messages.ts';
import type { Metric, Verdict } from '../contracts/values.ts';
import { confirmation } from './confirmation.ts';

export interface SweepFacts {
  readonly rows: number;
  readonly minRows: number;
  readonly features: readonly { readonly name: string; readonly score: number; readonly drifted: boolean }[];
  /** Share of drifted features from which a window is suspected. */
  readonly share: number;
  readonly metric: Metric;
  readonly lowerIsBetter: boolean;
  readonly labelled: number;
  readonly minLabels: number;
  readonly performance: number | null;
  /** The metric at evaluation. */
  readonly reference: number;
  readonly maxDrop: number;
  readonly window: { readonly startMs: number; readonly endMs: number };
  /** Earlier windows of this version, this one left out. */
  readonly earlier: readonly DriftWindow[];
  readonly confirm: LifecycleConfig['confirmDrift'];
}

export interface SweepVerdict {
  readonly verdict: Verdict | null;
  readonly reason: string;
  readonly concept: boolean;
}

export function judgeSweep(facts: SweepFacts): SweepVerdict {
  const { metric, performance, reference, labelled } = facts;
  if (facts.rows < facts.minRows)
    return {
      verdict: null,
      reason: `${facts.rows} predictions in the window, ${facts.minRows} are needed`,
      concept: false,
    };
  const isKnown = labelled > 0 && labelled >= facts.minLabels;
  const known = isKnown ? performance : null;
  const loss = known === null ? null : facts.lowerIsBetter ? known - reference : reference - known;
  const told =
    known === null
      ? isKnown
        ? `; ${metric} is undefined on ${labelled} known outcomes`
        : ''
      : `; ${metric} ${known.toFixed(4)} on ${labelled} known outcomes, ${reference.toFixed(4)} at evaluation`;
  const drifted = facts.features.filter((feature) => feature.drifted);
  const isDrifted =
    facts.features.length > 0 && drifted.length > 0 && drifted.length / facts.features.length >= facts.share;
  const names = [...drifted]
    .sort((a, b) => b.score - a.score)
    .slice(0, 5)
    .map((feature) => `${feature.name} ${feature.score.toFixed(2)}`);
  const drift = `${drifted.length} of ${facts.features.length} features drifted${names.length > 0 ? ` (${names.join(', ')})` : ''}`;
  if (loss !== null && loss > facts.maxDrop) {
    return {
      verdict: 'confirmed',
      reason: `${metric} lost ${loss.toFixed(4)}, at most ${facts.maxDrop}${told}; ${drift}`,
      concept: true,
    };
  }
  if (!isDrifted) return { verdict: 'stable', reason: `${drift}${told}`, concept: false };
  if (loss !== null) {
    // Outcomes are known and show no loss: the inputs moved, the model still holds.
    return { verdict: 'suspected', reason: `${drift}, but outcomes show no loss${told}`, concept: false };
  }
  const windows = [...facts.earlier, { ...facts.window, drifted: true }];
  if (confirmation(windows, facts.confirm).confirmed) {
    return {
      verdict: 'confirmed',
      reason: `${drift}, in ${facts.confirm.windows} of the last ${facts.confirm.of} windows${told}`,
      concept: false,
    };
  }
  return { verdict: 'suspected', reason: `${drift}${told}`, concept: false };
}
