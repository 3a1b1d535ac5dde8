/** The demo's report: what the public interfaces say at the end. */
import type { Approval, Deployment, Run, Sweep } from './api.ts';
import type { Flight } from './flights.ts';
import { auc, type LoggedPrediction } from './gain.ts';
import { MODEL, type Story } from './story.ts';
import type { TimedStep } from './tools.ts';
import type { TrafficCounts } from './traffic.ts';

export const FATES = ['acted_on', 'coalesced', 'duplicate', 'refused', 'ignored', 'dead_lettered'] as const;
export type EventCounts = Readonly<Record<'published' | (typeof FATES)[number], number>>;

export interface Report {
  readonly ok: boolean;
  readonly seconds: number;
  readonly setupSeconds: number;
  readonly steps: readonly TimedStep[];
  readonly events: EventCounts;
  readonly runs: readonly {
    readonly run: string;
    readonly trigger: string;
    readonly eventIds: readonly string[];
    readonly outcome: string | null;
    readonly metric: { readonly name: string; readonly value: number } | null;
    readonly snapshot: string | null;
    readonly seconds: number;
  }[];
  readonly versions: readonly {
    readonly version: number;
    readonly bundleDigest: string;
    readonly metric: { readonly name: string; readonly value: number };
    readonly approvedBy: readonly string[];
    readonly via: readonly string[];
    readonly role: string;
  }[];
  readonly predictions: Pick<TrafficCounts, 'sent' | 'failed' | 'byVersion'>;
  readonly verdicts: readonly {
    readonly windowEnd: string;
    readonly verdict: string;
    readonly features: readonly string[];
  }[];
  readonly rollbacks: readonly { readonly from: number; readonly to: number; readonly reason: string }[];
  readonly kills: readonly { readonly part: string; readonly at: string }[];
  readonly gain: { readonly metric: string; readonly value: number };
  readonly temporalUi: string;
}

export async function eventCounts(story: Story): Promise<EventCounts> {
  const { published, counts } = await story.counts();
  const of = (fate: string): number => counts[fate] ?? 0;
  return {
    published,
    acted_on: of('acted_on'),
    coalesced: of('coalesced'),
    duplicate: of('duplicate'),
    refused: of('refused'),
    ignored: of('ignored'),
    dead_lettered: of('dead_lettered'),
  };
}

/** What retraining gained: both versions answered the same flights of July while the challenger ran in the shadow. */
export function gainOf(
  predictions: readonly LoggedPrediction[],
  july: readonly Flight[],
): { readonly metric: string; readonly value: number } {
  const late = new Map(july.flatMap((flight) => (flight.late === null ? [] : [[flight.id, flight.late] as const])));
  const challenger = new Map(
    predictions.filter((one) => one.role === 'shadow' && one.version === 2).map((one) => [one.id, one.score]),
  );
  const champion = new Map(
    predictions.filter((one) => one.role === 'champion' && one.version === 1).map((one) => [one.id, one.score]),
  );
  const both = [...challenger].flatMap(([id, score]) => {
    const other = champion.get(id);
    const label = late.get(id);
    return other === undefined || label === undefined ? [] : [{ score, other, label }];
  });
  const value =
    auc(both.map(({ score, label }) => ({ score, label }))) -
    auc(both.map(({ other, label }) => ({ score: other, label })));
  return { metric: 'roc_auc', value };
}

const rolledBack = (deployments: readonly Deployment[]) =>
  deployments
    .filter((one) => one.outcome === 'rolled_back')
    .map((one) => ({ from: one.toVersion, to: one.fromVersion ?? 0, reason: one.outcomeReason ?? '' }));

const told = (sweeps: readonly Sweep[]) =>
  sweeps.flatMap((sweep) =>
    sweep.verdict === null
      ? []
      : [
          {
            windowEnd: sweep.windowEnd,
            verdict: sweep.verdict,
            features: sweep.features.filter((one) => one.drifted).map((one) => one.name),
          },
        ],
  );

export async function makeReport(
  story: Story,
  known: Pick<Report, 'seconds' | 'setupSeconds' | 'steps' | 'gain' | 'events'>,
): Promise<Omit<Report, 'ok'>> {
  const listed = [...(await story.runs())].reverse();
  const runs = await Promise.all(listed.map(({ run }) => story.read<Run>(`/runs/${run}`)));
  const versions = await Promise.all(
    [...(await story.versions())].reverse().map(async (version) => {
      const { approval } = await story.read<{ readonly approval: Approval | null }>(`/runs/${version.run}`);
      const accepted = (approval?.decisions ?? []).filter(
        (one) => one.status === 'accepted' && one.decision === 'approve',
      );
      const { version: number, bundleDigest, metric, role } = version;
      return {
        version: number,
        bundleDigest,
        metric,
        approvedBy: accepted.map((one) => one.actor),
        via: accepted.map((one) => one.via),
        role,
      };
    }),
  );
  const { sent, failed, byVersion } = story.traffic;
  return {
    ...known,
    runs: runs.map((run) => ({
      run: run.run,
      trigger: run.trigger,
      eventIds: run.eventKeys.map((key) => key.slice(key.indexOf(' ') + 1)),
      outcome: run.outcome,
      metric: run.metric,
      snapshot: run.snapshot,
      seconds: run.finishedAt === null ? 0 : (Date.parse(run.finishedAt) - Date.parse(run.startedAt)) / 1_000,
    })),
    versions,
    predictions: { sent, failed, byVersion },
    verdicts: told([...(await story.sweeps())].reverse()),
    rollbacks: rolledBack(await story.deployments()),
    kills: story.kills,
    temporalUi: `${story.options.addresses.temporalUi}/namespaces/default/workflows?query=${encodeURIComponent(`RefitModel="${MODEL}"`)}`,
  };
}
