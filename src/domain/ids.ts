/** Identifiers and idempotency keys. All of them come from here; a test freezes them, since they are stored for years. */

/** CloudEvents identity. A source is a URI reference and so has no space: the first space separates. */
export const eventKey = (source: string, id: string): string => `${source} ${id}`;

export function parseEventKey(key: string): { source: string; id: string } {
  const at = key.indexOf(' ');
  return { source: key.slice(0, at), id: key.slice(at + 1) };
}

export const runId = (model: string, number: number): string => `${model}-${String(number).padStart(6, '0')}`;

/** The event key of a dataset version that an erasure made. */
export const erasureKey = (erasure: number): string => `refit/erasure ${erasure}`;
/** Why an erasure took an artifact out of a dataset. */
export const erasureReason = (dataset: string, erasure: number): string => `erasure ${erasure} of dataset ${dataset}`;
/** The dataset whose erasure this reason is; undefined for any other reason. */
export const datasetOfReason = (reason: string): string | undefined =>
  /^erasure \d+ of dataset (.+)$/.exec(reason)?.[1];

export const datasetWorkflowId = (dataset: string): string => `dataset/${dataset}`;
export const lifecycleWorkflowId = (model: string): string => `lifecycle/${model}`;
export const runWorkflowId = (model: string, run: string): string => `run/${model}/${run}`;
export const rolloutWorkflowId = (model: string, deployment: number): string => `rollout/${model}/${deployment}`;
export const batchWorkflowId = (model: string, batch: number): string => `batch/${model}/${batch}`;
export const sweepWorkflowId = (model: string): string => `sweep/${model}`;
export const sweepScheduleId = (model: string): string => `sweep/${model}`;
export const retrainScheduleId = (model: string): string => `retrain/${model}`;

/** A run's approval opens at most one deployment. */
export const rolloutRequestKey = (run: string): string => `rollout:${run}`;
export const rollbackRequestKey = (model: string, requestId: string): string => `rollback:${model}:${requestId}`;
