/** The closed value lists that users see. No zod here, so that workflows may import them. */
export const FATES = [
  'received',
  'held',
  'acted_on',
  'coalesced',
  'duplicate',
  'refused',
  'ignored',
  'dead_lettered',
] as const;
export type Fate = (typeof FATES)[number];

/** Fates of one (event, model) that never change again. */
export const SETTLED_FATES = ['acted_on', 'coalesced', 'refused', 'ignored'] as const satisfies readonly Fate[];

export const TRIGGERS = ['data', 'drift', 'schedule', 'definition', 'manual'] as const;
export type Trigger = (typeof TRIGGERS)[number];

export const STAGES = ['snapshot', 'features', 'tune', 'train', 'evaluate', 'explain', 'register', 'decide'] as const;
export type Stage = (typeof STAGES)[number];

export const RUN_OUTCOMES = [
  'approved',
  'rejected',
  'expired',
  'superseded',
  'data_rejected',
  'gate_failed',
  'inconclusive',
  'failed',
  'cancelled',
] as const;
export type RunOutcome = (typeof RUN_OUTCOMES)[number];

export const ROLLOUT_OUTCOMES = ['promoted', 'rolled_back', 'aborted', 'superseded'] as const;
export type RolloutOutcome = (typeof ROLLOUT_OUTCOMES)[number];

export const VERSION_ROLES = ['candidate', 'challenger', 'champion', 'archived', 'rejected'] as const;
export type VersionRole = (typeof VERSION_ROLES)[number];

export const SERVING_ROLES = ['champion', 'canary', 'shadow'] as const;
export type ServingRole = (typeof SERVING_ROLES)[number];

export const VERDICTS = ['stable', 'suspected', 'confirmed'] as const;
export type Verdict = (typeof VERDICTS)[number];

export const TASKS = ['binary-classification', 'multiclass-classification', 'regression'] as const;
export type Task = (typeof TASKS)[number];

export const COLUMN_TYPES = ['float64', 'int64', 'string', 'bool', 'timestamp'] as const;
export type ColumnType = (typeof COLUMN_TYPES)[number];

/** Metrics by scikit-learn's names. */
export const METRICS = [
  'roc_auc',
  'log_loss',
  'brier',
  'accuracy',
  'f1',
  'precision',
  'recall',
  'rmse',
  'mae',
  'r2',
] as const;
export type Metric = (typeof METRICS)[number];

/** Task queues, by what their work costs. */
export const QUEUES = { control: 'refit-control', data: 'refit-data', train: 'refit-train' } as const;

/** What a file of data can be; each but Parquet also compressed with gzip. */
export const DATA_FORMATS = ['parquet', 'csv', 'jsonl'] as const;
export type DataFormat = (typeof DATA_FORMATS)[number];
