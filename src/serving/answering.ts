/**
 * Answers a request by the plan. The champion stands behind the canary: a failure of the canary is counted against it and
 * answered by the champion. Shadows run after the answer.
 */
import { randomUUID } from 'node:crypto';
import type { ServingRole } from '../contracts/values.ts';
import { type Deployment, entryOf } from './deployment.ts';
import type { LoadedVersion, Output } from './loaded-version.ts';
import { messageOf } from './ports.ts';
import type { PredictionLog } from './prediction-log.ts';
import { routeOf } from './routing.ts';
import type { ServingMetrics } from './serving-metrics.ts';
import { BadRequest, type InferenceRequest, parseRequest } from './tensors.ts';

/** A canary that takes longer than this has failed: the caller gets the champion's answer. */
const CANARY_LIMIT_MS = 2_000;
/** Shadow rows under way; more are left out, so that a slow shadow cannot eat the champion's memory. */
const SHADOW_ROWS = 5_000;

export interface Answer {
  readonly requestId: string;
  readonly version: number;
  readonly role: ServingRole;
  readonly width: number;
  readonly count: number;
  readonly values: Float64Array;
  readonly output: 'probabilities' | 'prediction';
  /** To be called once the answer is on its way. */
  readonly afterwards: () => void;
}

/** The model cannot answer: neither the caller's fault nor anybody's to hide. */
export class InferenceFailed extends Error {
  override readonly name = 'InferenceFailed';
}

export interface Answerer {
  answer(deployment: Deployment, body: unknown, pinned: number | null, championOnly: boolean): Promise<Answer>;
}

interface Attempt {
  readonly deployment: Deployment;
  readonly loaded: LoadedVersion;
  readonly role: ServingRole;
  readonly requestId: string;
  readonly request: InferenceRequest;
}

function withLimit<T>(work: Promise<T>, milliseconds: number, problem: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(problem)), milliseconds);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

export function createAnswerer(log: PredictionLog, metrics: ServingMetrics, clock: () => Date): Answerer {
  let shadowRows = 0;

  /** Runs one version, and counts and logs what came of it. @throws InferenceFailed */
  const attempt = async ({ deployment, loaded, role, requestId, request }: Attempt): Promise<Output> => {
    const { model } = deployment.plan;
    const { version } = loaded;
    const started = performance.now();
    const common = {
      model,
      version,
      deployment: deployment.plan.deployment,
      role,
      requestId,
      request,
      time: clock(),
      dropped: (rows: number) => {
        deployment.tally.dropped(rows);
        metrics.dropped(model, rows);
      },
    };
    try {
      const work = loaded.infer(request.rows, request.count);
      const result = await (role === 'canary'
        ? withLimit(work, CANARY_LIMIT_MS, `no answer within ${CANARY_LIMIT_MS} ms`)
        : work);
      deployment.tally.counter(version, role).answered(result.latencyMs);
      metrics.answered(model, version, role, result.latencyMs);
      log.add({
        ...common,
        width: result.width,
        values: result.values,
        lookedUp: result.lookedUp,
        latencyMs: result.latencyMs,
      });
      return result;
    } catch (error) {
      const reason = messageOf(error);
      deployment.tally.counter(version, role).failed();
      metrics.failed(model, version, role);
      log.add({
        ...common,
        width: 0,
        values: new Float64Array(0),
        latencyMs: performance.now() - started,
        error: reason,
      });
      throw new InferenceFailed(`version ${version} of ${model}: ${reason}`);
    }
  };

  const runShadows = (shadows: readonly Attempt[]): void => {
    for (const shadow of shadows) {
      const { count } = shadow.request;
      if (shadowRows + count > SHADOW_ROWS) {
        metrics.shadowSkipped(shadow.deployment.plan.model);
        continue;
      }
      shadowRows += count;
      // Its failure is counted and logged by `attempt`; nobody waits for it.
      attempt(shadow)
        .catch(() => undefined)
        .finally(() => {
          shadowRows -= count;
        });
    }
  };

  const toAnswer = (one: Attempt, result: Output, shadows: readonly Attempt[]): Answer => ({
    requestId: one.requestId,
    version: one.loaded.version,
    role: one.role,
    width: result.width,
    count: one.request.count,
    values: result.values,
    output: one.loaded.manifest.task === 'regression' ? 'prediction' : 'probabilities',
    afterwards: () => runShadows(shadows),
  });

  return {
    async answer(deployment, body, pinned, championOnly) {
      const { plan, versions, shape } = deployment;
      if (shape === null)
        throw new BadRequest(
          `${plan.model} has no champion that could be loaded; see the failures in \`refit rollout show ${plan.model}\``,
          503,
        );
      const request = parseRequest(body, shape);
      const requestId = request.id ?? randomUUID();
      const of = (version: number, role: ServingRole): Attempt | null => {
        const loaded = versions.get(version);
        return loaded === undefined ? null : { deployment, loaded, role, requestId, request };
      };
      if (pinned !== null) {
        const entry = entryOf(plan, pinned);
        const one = entry === undefined ? null : of(pinned, entry.role);
        if (one === null)
          throw new BadRequest(
            `version ${pinned} of ${plan.model} is not served; served are ${[...versions.keys()].join(', ')}`,
            404,
          );
        return toAnswer(one, await attempt(one), []);
      }
      const route = routeOf(plan, requestId, (version) => versions.has(version), championOnly);
      const champion = route === null ? null : of(route.champion.version, 'champion');
      if (route === null || champion === null)
        throw new BadRequest(`${plan.model} has no champion yet: nothing was promoted`, 503);
      const shadows = route.shadows.flatMap(({ version }) => of(version, 'shadow') ?? []);
      const canary = route.canary === null ? null : of(route.canary.version, 'canary');
      if (canary !== null) {
        try {
          return toAnswer(canary, await attempt(canary), shadows);
        } catch (error) {
          if (!(error instanceof InferenceFailed)) throw error;
        }
      }
      return toAnswer(champion, await attempt(champion), shadows);
    },
  };
}
