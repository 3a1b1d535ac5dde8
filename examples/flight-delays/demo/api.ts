/** Shapes of the CLI's --json documents, as far as the story reads them. */
export interface Run {
  readonly run: string;
  readonly trigger: string;
  readonly eventCount: number;
  /** In lists only the first. */
  readonly eventKeys: readonly string[];
  readonly stage: string;
  readonly outcome: string | null;
  readonly outcomeReason: string | null;
  readonly version: number | null;
  readonly metric: { readonly name: string; readonly value: number } | null;
  readonly snapshot: string | null;
  readonly startedAt: string;
  readonly finishedAt: string | null;
  readonly training: { readonly attempt: number; readonly seconds: number } | null;
}
export interface Approval {
  readonly run: string;
  readonly version: number;
  readonly bundleDigest: string;
  readonly decisions: readonly {
    readonly actor: string;
    readonly decision: string;
    readonly status: string;
    readonly via: string;
  }[];
}
export interface Status {
  readonly champion: { readonly version: number } | null;
  readonly run: { readonly run: string; readonly stage: string } | null;
  readonly rollout: { readonly deployment: number; readonly step: string | null } | null;
}
export interface Sweep {
  readonly windowEnd: string;
  readonly version: number | null;
  readonly verdict: 'stable' | 'suspected' | 'confirmed' | null;
  readonly reason: string;
  readonly features: readonly { readonly name: string; readonly score: number; readonly drifted: boolean }[];
}
export interface Version {
  readonly version: number;
  readonly role: string;
  readonly bundleDigest: string;
  readonly run: string;
  readonly metric: { readonly name: string; readonly value: number };
}
export interface Deployment {
  readonly deployment: number;
  readonly kind: string;
  readonly fromVersion: number | null;
  readonly toVersion: number;
  readonly outcome: string | null;
  readonly outcomeReason: string | null;
  readonly steps: readonly { readonly step: string; readonly status: string; readonly detail: string }[];
}
export interface ShownEvent {
  readonly id: string;
  readonly type: string;
  readonly source: string;
  readonly fates: readonly {
    readonly model: string;
    readonly fate: string;
    readonly run: string | null;
    readonly reason: string | null;
    readonly waitsFor: string | null;
  }[];
}
export interface Counts {
  readonly published: number;
  readonly counts: Readonly<Record<string, number>>;
}
