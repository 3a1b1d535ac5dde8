/** The demo's copy of the project: the same documents with a clock that fits into three minutes. */
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';

type Json = Record<string, unknown>;

/** Merges objects; everything else is replaced. */
function merge(base: unknown, change: unknown): unknown {
  const isObject = (value: unknown): value is Json =>
    value !== null && typeof value === 'object' && !Array.isArray(value);
  if (!isObject(base) || !isObject(change)) return change;
  return Object.fromEntries(
    [...new Set([...Object.keys(base), ...Object.keys(change)])].map((key) => [
      key,
      key in change ? merge(base[key], change[key]) : base[key],
    ]),
  );
}

const STEPS = [
  // Enough for the gain to be told from both versions' answers: 20 flights a request.
  { type: 'shadow', hold: '3s', min_requests: 400 },
  { type: 'canary', weight: 0.2, hold: '3s', min_requests: 30 },
  { type: 'canary', weight: 0.5, hold: '3s', min_requests: 60 },
];

/** Days become seconds; what is decided and why stays as the example has it. */
const QUICK: Json = {
  rollout: {
    steps: STEPS,
    // With so few requests one pause of a busy machine would pass for a bad model. The slow one has a bound of its own.
    analysis: { error_rate: { max_increase: 0.5 }, latency_p95: { max_ratio: 10 } },
  },
  // The window holds the whole story: what is confirmed, is by outcomes, however slowly it is played.
  monitoring: { every: '4s', window: '30m', min_rows: 2_000, performance: { max_drop: 0.03, min_labels: 2_000 } },
  retraining: {
    debounce: '3s',
    max_wait: '20s',
    cooldown: '0s',
    // Above April to June (85,369 rows), so that they are held until drift is confirmed; below July to September (86,326).
    min_new_rows: 86_000,
    // Windows that do not overlap: drift alone is not confirmed within the story.
    confirm_drift: { windows: 3, of: 3 },
    budget: { runs_per_day: 20 },
  },
};

/** Far more trees, straight into canary: passes the gates, but costs time at every answer. */
export const SLOW: Json = {
  training: {
    params: {
      n_estimators: 3_000,
      learning_rate: 0.006,
      // Each tree sees little, so that thousands are trained in seconds; answering with them stays as slow.
      bagging_fraction: 0.15,
      bagging_freq: 1,
      feature_fraction: 0.4,
      max_bin: 63,
      min_child_samples: 50,
    },
  },
  rollout: {
    steps: [{ type: 'canary', weight: 0.5, hold: '3s', min_requests: 100 }],
    analysis: { latency_p95: { max_ratio: 1.2 } },
  },
};

/** Back to the first training; from now on a changed definition starts nothing, and no sweep disturbs the count of events. */
export const CALM: Json = { monitoring: { every: '24h' }, retraining: { triggers: ['data', 'drift'] } };

export async function copyProject(source: string, target: string): Promise<void> {
  await mkdir(target, { recursive: true });
  await cp(join(source, 'features.sql'), join(target, 'features.sql'));
  await cp(join(source, 'data'), join(target, 'data'), { recursive: true });
}

export async function writeDefinition(source: string, target: string, change: Json = {}): Promise<void> {
  const documents = parseAllDocuments(await readFile(join(source, 'refit.yaml'), 'utf8'));
  const texts = (Array.isArray(documents) ? documents : []).map((document) => {
    const value = document.toJS() as Json;
    return stringify(value.kind === 'Model' ? merge(merge(value, QUICK), change) : value);
  });
  await writeFile(join(target, 'refit.yaml'), texts.join('---\n'));
}
