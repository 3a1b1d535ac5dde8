/**
 * What is published, made from the seed alone. Each record says in its plan what it is; the oracle reads that from the input log and
 * knows by it what must become of the record.
 */
import { createHash } from 'node:crypto';
import type { ChaosOptions } from './options.ts';
import { createRandom, type Random } from './random.ts';

/** What the publisher meant, in the words of the input log. */
export interface Planned {
  readonly n: number;
  readonly topic: 'data' | 'labels' | 'drift';
  readonly key: string;
  /** base64; null is a tombstone. */
  readonly value: string | null;
  readonly kind: 'drift' | 'data' | 'labels' | 'malformed';
  /** Source and id with a space between; null for what is no event. */
  readonly event: string | null;
  /** The first body under an id is 0; another number is another body. */
  readonly variant: number;
  /** Model or dataset. */
  readonly target: string;
  /** Nobody applied the target. */
  readonly unknown: boolean;
  readonly verdict: string | null;
  /** Of data: whether its file can be taken in. */
  readonly file: 'good' | 'missing' | 'outside' | 'garbled' | null;
  readonly labels: readonly { readonly id: string; readonly label: number; readonly time: string }[];
  /** Seconds after the start. */
  readonly atSeconds: number;
}

export interface DataFile {
  readonly path: string;
  readonly text: string;
}
export interface Plan {
  readonly records: readonly Planned[];
  readonly files: readonly DataFile[];
}

export const modelName = (index: number): string => `m${index}`;
export const datasetName = (index: number): string => `d${index}`;
export const datasetOf = (index: number, options: Pick<ChaosOptions, 'datasets'>): string =>
  datasetName(index % options.datasets);

const SOURCE = 'chaos/publisher';
const RECORD_BYTES = 1_024;
const DATA_ROWS = 120;
/** Alerts of these verdicts open a run, stand behind one, or are refused: mostly the last, as in a real storm. */
const VERDICTS = ['suspected', 'suspected', 'suspected', 'stable', 'stable', null, 'confirmed'] as const;

function csv(random: Random): string {
  const rows = Array.from({ length: DATA_ROWS }, (_, row) => {
    // Quarters and small numbers are exact in 32 bits, so that the trainer's own predictions agree to the last one.
    const x = random.below(400) / 4;
    // With noise: a feature that gives the label away would be refused, and rightly so.
    return `${row},${x},${2 * x + 1 + random.below(1_200) / 8}`;
  });
  return `row,x,y\n${rows.join('\n')}\n`;
}

export function makePlan(options: ChaosOptions, dataFolder: string): Plan {
  const random = createRandom(options.seed);
  const files: DataFile[] = [];
  const records: Planned[] = [];
  const known: Planned[] = [];
  let made = 0;

  const add = (record: Omit<Planned, 'n' | 'atSeconds'>, atSeconds: number): Planned => {
    const added = { ...record, n: records.length, atSeconds };
    records.push(added);
    return added;
  };
  function fresh(kind: 'drift' | 'data' | 'labels', target: string, unknown: boolean, data: Record<string, unknown>) {
    made += 1;
    const id = `e${made}`;
    const event = {
      specversion: '1.0',
      id,
      source: SOURCE,
      type: `dev.refit.${kind === 'drift' ? 'drift.detected' : `${kind}.arrived`}.v1`,
      time: '2026-01-01T00:00:00Z',
      data,
      padding: '',
    };
    const short = RECORD_BYTES - Buffer.byteLength(JSON.stringify(event));
    const bytes = Buffer.from(JSON.stringify({ ...event, padding: 'x'.repeat(Math.max(0, short)) }));
    return {
      topic: kind,
      key: target,
      value: bytes.toString('base64'),
      kind,
      event: `${SOURCE} ${id}`,
      variant: 0,
      target,
      unknown,
      verdict: null,
      file: null,
      labels: [],
    } satisfies Omit<Planned, 'n' | 'atSeconds'>;
  }
  const drift = (model: string, unknown: boolean, verdict: string | null) => {
    const day = String(1 + random.below(28)).padStart(2, '0');
    const window = { start: `2026-01-${day}T00:00:00Z`, end: `2026-01-${day}T12:00:00Z` };
    const data = { model, kind: 'data', window, features: [], ...(verdict === null ? {} : { verdict }) };
    return { ...fresh('drift', model, unknown, data), verdict };
  };
  const labels = (model: string, unknown: boolean) => {
    const told = Array.from({ length: 1 + random.below(4) }, () => ({
      id: `row-${random.below(options.events)}`,
      label: random.below(1_000),
      time: new Date(Date.UTC(2026, 0, 1) + records.length * 1_000).toISOString(),
    }));
    return { ...fresh('labels', model, unknown, { model, labels: told }), labels: told };
  };
  const data = (dataset: string, file: NonNullable<Planned['file']>) => {
    const number = files.length;
    const path =
      file === 'outside' ? `${dataFolder}/../elsewhere/part-${number}.csv` : `${dataFolder}/part-${number}.csv`;
    if (file === 'good' || file === 'outside') files.push({ path, text: csv(random) });
    if (file === 'garbled') files.push({ path, text: `other,columns\n${number},2\n` });
    const uris = [`file://${file === 'missing' ? `${path}-that-is-not-there` : path}`];
    const partition = `p${random.below(4)}`;
    return { ...fresh('data', dataset, false, { dataset, uris, partition, format: 'csv' }), file };
  };

  // Each dataset has data from the start: a model without any holds its alerts for ever, and rightly so.
  for (let index = 0; index < options.datasets; index += 1) known.push(add(data(datasetName(index), 'good'), 0));

  // At least one of each rare kind, however small the form.
  const rare = (['malformed', 'tombstone', 'other body', 'outside', 'missing', 'garbled'] as const).map(
    (what, index) => [Math.floor(options.events * (0.3 + 0.1 * index)), what] as const,
  );
  const otherBody = (first: Planned, at: number): void => {
    if (first.value === null) return;
    const event = JSON.parse(Buffer.from(first.value, 'base64').toString('utf8')) as { data: object };
    const other = { ...event, data: { ...event.data, reportUri: `other-${records.length}` } };
    add({ ...first, value: Buffer.from(JSON.stringify(other)).toString('base64'), variant: records.length }, at);
  };
  const alerts = (): readonly Planned[] => known.filter((one) => one.kind === 'drift' && !one.unknown);

  const arrivals = Math.max(2, Math.round(options.events * 0.02));
  while (records.length < options.events) {
    const at = (records.length / options.events) * options.seconds;
    const model = modelName(random.below(options.models));
    const due = rare.findIndex(([index]) => index === records.length);
    if (due >= 0) {
      const what = rare.splice(due, 1)[0]?.[1] ?? 'malformed';
      if (what === 'malformed') add(malformed(random, model), at);
      else if (what === 'tombstone') add({ ...malformed(random, model), value: null }, at);
      else if (what === 'other body') otherBody(random.pick(alerts()), at);
      else known.push(add(data(datasetName(random.below(options.datasets)), what), at));
      continue;
    }
    const dice = random.next();
    if (dice < 0.1) {
      // Again, soon or long after.
      const again = random.chance(0.5)
        ? known[known.length - 1 - random.below(Math.min(8, known.length))]
        : random.pick(known);
      if (again) add(again, at);
    } else if (dice < 0.11) add(malformed(random, model), at);
    else if (dice < 0.12) {
      if (alerts().length > 0) otherBody(random.pick(alerts()), at);
    } else if (dice < 0.14)
      known.push(add(random.chance(0.5) ? drift('nobody', true, 'confirmed') : labels('nobody', true), at));
    else if (dice < 0.14 + arrivals / options.events) {
      const file = random.pick(['good', 'good', 'good', 'good', 'missing', 'outside', 'garbled'] as const);
      known.push(add(data(datasetName(random.below(options.datasets)), file), at));
    } else if (dice < 0.26) known.push(add(labels(model, false), at));
    else known.push(add(drift(model, false, random.pick(VERDICTS)), at));
  }
  // Late and out of order: some wait a third of the run before they are sent.
  const sent = records.map((record) =>
    record.kind !== 'data' && random.chance(0.05)
      ? { ...record, atSeconds: Math.min(options.seconds, record.atSeconds + options.seconds / 3) }
      : record,
  );
  return { records: sent.toSorted((a, b) => a.atSeconds - b.atSeconds), files };
}

/** Each in a way of its own; none may stop the others. */
function malformed(random: Random, model: string): Omit<Planned, 'n' | 'atSeconds'> {
  const deep = `{"specversion":"1.0","id":"deep","source":"chaos","type":"dev.refit.drift.detected.v1","data":${'['.repeat(500)}${']'.repeat(500)}}`;
  const bodies: readonly (Buffer | null)[] = [
    null,
    Buffer.from('not json at all'),
    Buffer.from('{"specversion":"1.0"'),
    Buffer.from([0xff, 0xfe, 0x7b, 0x7d]),
    Buffer.from(
      JSON.stringify({ specversion: '1.0', id: 'x', source: 'chaos', type: 'dev.refit.nothing.v1', data: {} }),
    ),
    Buffer.from(JSON.stringify({ specversion: '1.0', id: '', source: 'chaos', type: 'dev.refit.drift.detected.v1' })),
    Buffer.from(deep),
    Buffer.from(JSON.stringify({ __proto__: null, constructor: { prototype: { polluted: true } } })),
    Buffer.alloc(262_145, 0x20),
  ];
  const value = random.pick(bodies);
  return {
    topic: 'drift',
    key: model,
    value: value === null ? null : value.toString('base64'),
    kind: 'malformed',
    event: null,
    variant: 0,
    target: model,
    unknown: false,
    verdict: null,
    file: null,
    labels: [],
  };
}

/** Models with an odd third number need two approvals. */
export const requiredOf = (index: number): number => (index % 3 === 2 ? 2 : 1);
export const APPROVERS = ['ana', 'ben', 'eve'] as const;
export const policyName = (model: string): string => `p-${model}`;

export function policyYaml(model: string, approvers: readonly string[]): string {
  return `---\napiVersion: refit.dev/v1\nkind: Policy\nname: ${policyName(model)}\nmodels: [${model}]\napprovers: [${approvers.join(', ')}]\n`;
}

/** The project of all models, as `refit apply` would send it. */
export function projectYaml(options: ChaosOptions): string {
  const datasets = Array.from(
    { length: options.datasets },
    (_, index) => `---\napiVersion: refit.dev/v1\nkind: Dataset\nname: ${datasetName(index)}\n`,
  );
  const steps = options.serve
    ? `  steps:
    - { type: shadow, hold: 1s, min_requests: 0 }
    - { type: canary, weight: 0.5, hold: 1s, min_requests: 0 }
`
    : '  type: immediate\n';
  const models = Array.from({ length: options.models }, (_, index) => {
    const model = modelName(index);
    return `---
apiVersion: refit.dev/v1
kind: Model
name: ${model}
task: regression
dataset: ${datasetOf(index, options)}
label: { sql: y }
features: [x]
training: { command: [node, trainer.cjs], environment: { env: [CHAOS_DUCKDB] }, limits: { cpu: 1 } }
approval: { required: ${requiredOf(index)} }
rollout:
${steps}retraining: { debounce: 500ms, max_wait: 3s }
${policyYaml(model, APPROVERS)}`;
  });
  return [...datasets, ...models].join('');
}

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');
