/**
 * Follows the traffic plans of the registry. Versions of a new plan are loaded and verified before traffic moves; the plan
 * goes to the own disk with them. Reports go out on their own beat, so that loading a big model does not make a replica
 * look dead.
 */
import type { ReplicaReport, TrafficPlan } from '../contracts/plan.ts';
import type { KeptPlan, ServingCache } from './cache.ts';
import { createDeployment, type Deployment, type Failure } from './deployment.ts';
import { type LoadedVersion, type Loader, loadVersion } from './loaded-version.ts';
import { messageOf, type ServingRegistry } from './ports.ts';

/** How long a version that left the plan stays loaded: requests routed before the switch may still fall back on it. */
const RETIRE_MS = 30_000;
/** Pause before a version that could not be loaded is tried again. */
const RELOAD_MS = 5_000;
/** How long a start without plans on disk waits for the registry before it listens. */
const START_PATIENCE_MS = 3_000;

export interface FollowerOptions {
  readonly registry: ServingRegistry;
  readonly cache: ServingCache;
  readonly loader: Loader;
  /** Takes up newer keyed stores of the versions in memory. */
  readonly refreshLookups: () => Promise<void>;
  readonly replica: string;
  readonly clock: () => Date;
  readonly pollIntervalMs: number;
  readonly onProblem: (problem: string, error: unknown) => void;
}

export interface Follower {
  deployment(model: string): Deployment | undefined;
  models(): readonly string[];
  /** Since when the registry has not been reached; null before the first time. */
  readonly lastContact: () => Date | null;
  /** True once the plans were read, from the registry or from disk. */
  readonly started: () => boolean;
  start(): Promise<void>;
  stop(): Promise<void>;
}

const isNewer = (plan: TrafficPlan, than: TrafficPlan): boolean =>
  plan.deployment > than.deployment || (plan.deployment === than.deployment && plan.revision > than.revision);

interface Attempt {
  readonly plan: TrafficPlan;
  readonly at: number;
  readonly failures: readonly Failure[];
}

export function createFollower(options: FollowerOptions): Follower {
  const { registry, cache, loader, refreshLookups, replica, clock, pollIntervalMs, onProblem } = options;
  const deployments = new Map<string, Deployment>();
  const adopting = new Map<string, Promise<void>>();
  const attempts = new Map<string, Attempt>();
  const retiring = new Map<LoadedVersion, NodeJS.Timeout>();
  let contact: Date | null = null;
  let ready = false;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let ticking: Promise<void> = Promise.resolve();
  let saving: Promise<void> = Promise.resolve();
  let refreshing: Promise<void> | undefined;

  const closeVersion = (version: LoadedVersion): Promise<void> =>
    version
      .close()
      .catch((error: unknown) =>
        onProblem(
          `version ${version.version} of ${version.manifest.model} could not be closed: ${messageOf(error)}`,
          error,
        ),
      );

  const retire = (version: LoadedVersion): void => {
    const timeout = setTimeout(() => {
      retiring.delete(version);
      void closeVersion(version);
    }, RETIRE_MS);
    timeout.unref();
    retiring.set(version, timeout);
  };

  /** One write at a time, the last one with all plans. */
  const save = (): Promise<void> => {
    saving = saving.then(async () => {
      const kept = [...deployments.values()].map(
        ({ plan, versions }): KeptPlan => ({
          plan,
          bundles: Object.fromEntries(
            [...versions].map(([version, { bundleDigest }]) => [String(version), bundleDigest]),
          ),
        }),
      );
      try {
        await cache.save(kept);
      } catch (error) {
        onProblem(`the plans cannot be kept on disk: ${messageOf(error)}`, error);
      }
    });
    return saving;
  };

  const bundleDigestOf = async (model: string, version: number): Promise<string> => {
    const record = await registry.version(model, version);
    if (record === undefined) throw new Error(`the registry has no version ${version} of ${model}`);
    return record.bundleDigest;
  };

  const adopt = async (plan: TrafficPlan, digestOf: (version: number) => Promise<string>): Promise<void> => {
    const before = deployments.get(plan.model);
    const versions = new Map<number, LoadedVersion>();
    const failures: Failure[] = [];
    for (const { version } of plan.entries) {
      const loaded = before?.versions.get(version);
      try {
        versions.set(version, loaded ?? (await loadVersion(loader, plan.model, version, await digestOf(version))));
      } catch (error) {
        const reason = messageOf(error);
        failures.push({ version, reason });
        onProblem(`version ${version} of ${plan.model} cannot be loaded: ${reason}`, error);
      }
    }
    attempts.set(plan.model, { plan, at: clock().getTime(), failures });
    const champion = plan.entries.find(({ role }) => role === 'champion');
    if (before?.shape && (champion === undefined || !versions.has(champion.version))) {
      // Without its champion the plan cannot be served, and the one that runs still can.
      for (const version of versions.values()) if (before.versions.get(version.version) !== version) retire(version);
      return;
    }
    deployments.set(plan.model, createDeployment(plan, versions, before));
    for (const version of before?.versions.values() ?? [])
      if (versions.get(version.version) !== version) retire(version);
    await save();
  };

  const isDue = (plan: TrafficPlan): boolean => {
    if (adopting.has(plan.model)) return false;
    const current = deployments.get(plan.model);
    if (current !== undefined && isNewer(current.plan, plan)) return false;
    const attempt = attempts.get(plan.model);
    if (attempt !== undefined && isNewer(attempt.plan, plan)) return false;
    const isTried = attempt !== undefined && !isNewer(plan, attempt.plan);
    if (!isTried) return current === undefined || isNewer(plan, current.plan);
    return attempt.failures.length > 0 && clock().getTime() - attempt.at >= RELOAD_MS;
  };

  const beginAdopt = (plan: TrafficPlan, digestOf: (version: number) => Promise<string>): Promise<void> => {
    const work = adopt(plan, digestOf)
      .catch((error: unknown) => onProblem(`the plan of ${plan.model} cannot be taken up: ${messageOf(error)}`, error))
      .finally(() => adopting.delete(plan.model));
    adopting.set(plan.model, work);
    return work;
  };

  /** What runs, with the failures of what was tried since. */
  const reportOf = (model: string): ReplicaReport | undefined => {
    const failures = attempts.get(model)?.failures ?? [];
    const current = deployments.get(model);
    if (current === undefined) return undefined;
    const { deployment, revision } = current.plan;
    return { replica, model, deployment, revision, ...current.tally.read(), failures };
  };

  const beat = async (): Promise<void> => {
    const plans = await registry.plans();
    const work = plans.filter(isDue).map((plan) => beginAdopt(plan, (version) => bundleDigestOf(plan.model, version)));
    // The first answers are worth waiting for; later plans are taken up beside the reports.
    if (!ready) await Promise.all(work);
    for (const model of deployments.keys()) {
      const report = reportOf(model);
      if (report !== undefined) await registry.reportReplica(report, clock().toISOString());
    }
    // Beside the reports: a large store must not make a replica look dead.
    refreshing ??= refreshLookups()
      .catch((error: unknown) => onProblem(`keyed stores cannot be looked for: ${messageOf(error)}`, error))
      .finally(() => {
        refreshing = undefined;
      });
    contact = clock();
    ready = true;
  };

  const tick = async (): Promise<void> => {
    try {
      await beat();
    } catch (error) {
      onProblem(`the registry cannot be reached: ${messageOf(error)}`, error);
    }
    if (!stopped) timer = setTimeout(beginTick, pollIntervalMs);
  };
  const beginTick = (): void => {
    ticking = tick();
  };

  const startFromDisk = async (): Promise<void> => {
    let kept: readonly KeptPlan[] = [];
    try {
      kept = await cache.load();
    } catch (error) {
      onProblem(`the plans on disk cannot be read, the registry decides: ${messageOf(error)}`, error);
    }
    await Promise.all(
      kept.map(({ plan, bundles }) =>
        beginAdopt(plan, async (version) => {
          const digest = bundles[String(version)];
          if (digest === undefined) throw new Error(`version ${version} was not kept on disk`);
          return digest;
        }),
      ),
    );
    ready = kept.length > 0;
  };

  return {
    deployment: (model) => deployments.get(model),
    models: () => [...deployments.keys()],
    lastContact: () => contact,
    started: () => ready,
    async start() {
      await startFromDisk();
      beginTick();
      // A registry that hangs must not keep a server from answering with what it has on disk.
      if (!ready)
        await Promise.race([ticking, new Promise((resolve) => setTimeout(resolve, START_PATIENCE_MS).unref())]);
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await ticking;
      await Promise.all(adopting.values());
      await refreshing;
      await saving;
      const versions = new Set([
        ...retiring.keys(),
        ...[...deployments.values()].flatMap((one) => [...one.versions.values()]),
      ]);
      for (const timeout of retiring.values()) clearTimeout(timeout);
      await Promise.all([...versions].map(closeVersion));
    },
  };
}
