/** `refit policy simulate` as people run it, without any service: the nine months of flights under several policies. */
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { EVENT_TYPES } from '../../src/contracts/events.ts';
import { ROOT, runRefit } from '../support/e2e-refit.ts';

const FLIGHTS = join(ROOT, 'examples/flight-delays');
const POLICIES = join(FLIGHTS, 'policies');
const EVENTS = join(POLICIES, 'events.jsonl');

interface Told {
  readonly policy: string;
  readonly runs: number;
  readonly byTrigger: Readonly<Record<string, number>>;
  readonly alerts: { readonly all: number; readonly answered: number };
  readonly staleHours: { readonly mean: number } | null;
  readonly worth: { readonly metric: string; readonly value: number; readonly rows: number } | null;
}

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'refit-policies-'));
  // A smaller model on one core: what is compared are policies.
  await mkdir(join(cwd, 'small'));
  await copyFile(join(FLIGHTS, 'features.sql'), join(cwd, 'small/features.sql'));
  const documents = await readFile(join(FLIGHTS, 'refit.yaml'), 'utf8');
  const small = documents.replace('n_estimators: 120', 'n_estimators: 25').replace('cpu: 2', 'cpu: 1');
  expect(small.length).toBeLessThan(documents.length);
  await writeFile(join(cwd, 'small/refit.yaml'), small);
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

const simulate = (...args: readonly string[]) =>
  runRefit(['policy', 'simulate', 'flight-delays', '--project', 'small', ...args], {
    cwd,
    env: { REFIT_PYTHON: inject('pythonPath') },
  });
const policy = (name: string): readonly string[] => ['--policy', join(POLICIES, `${name}.yaml`)];
const told = (stdout: string): ReadonlyMap<string, Told> =>
  new Map((JSON.parse(stdout) as Told[]).map((one) => [one.policy, one]));

it('shows runs, staleness and alerts of each policy, and what each would have been worth', async () => {
  const names = ['left-alone', 'on-drift', 'quarterly'];
  const ended = await simulate('--events', EVENTS, ...names.flatMap(policy), '--train', '--json');
  expect(ended.code, ended.stderr).toBe(0);
  const found = told(ended.stdout);
  expect([...found.keys()]).toEqual(['as defined', ...names]);
  expect(found.get('left-alone')).toMatchObject({ runs: 1, alerts: { all: 8, answered: 0 } });
  expect(found.get('on-drift')).toMatchObject({ runs: 5, byTrigger: { data: 1, drift: 4 }, alerts: { answered: 4 } });
  expect(found.get('quarterly')).toMatchObject({ byTrigger: { data: 1, schedule: 2 } });
  const worth = names.map((name) => found.get(name)?.worth);
  // All are judged on the same rows: those of February on, of which the arrival of October has none.
  expect(new Set(worth.map((one) => one?.rows)).size).toBe(1);
  expect(worth[0]?.metric).toBe('roc_auc');
  // Retraining is worth something on these flights; that is what a person would choose by.
  expect(worth[2]?.value).toBeGreaterThan((worth[0]?.value ?? 1) + 0.01);
  expect(found.get('as defined')?.staleHours?.mean).toBeLessThan(found.get('quarterly')?.staleHours?.mean ?? 0);
}, 240_000);

it('draws a table and a plot that fit the terminal', async () => {
  const ended = await simulate('--events', EVENTS, ...policy('on-drift'));
  expect(ended.code, ended.stderr).toBe(0);
  expect(ended.stdout).toMatch(/│ alerts answered +│ 4 of 8 +│ 4 of 8 +│/);
  expect(ended.stdout).toMatch(/on-drift +│ .*█.*│/);
  expect(Math.max(...ended.stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(140);
}, 60_000);

it.each([
  ['no such file', ['--events', 'nothing.jsonl'], /nothing\.jsonl cannot be read/],
  ['a line that is no JSON', ['--events', 'broken.jsonl'], /broken\.jsonl: line 2: /],
  ['an event without a time', ['--events', 'timeless.jsonl'], /timeless\.jsonl: line 1: `time` is needed/],
  [
    'a policy with unknown fields',
    ['--events', EVENTS, '--policy', 'wrong.yaml'],
    /wrong\.yaml is no retraining policy:\n.*cooldwon/,
  ],
  ['a cron line that never comes', ['--events', EVENTS, '--policy', 'never.yaml'], /never\.yaml: schedule: /],
  ['events of others only', ['--events', 'others.jsonl'], /others\.jsonl has no event for model flight-delays/],
] as const)(
  'bad input: %s',
  async (_what, args, message) => {
    const event = { specversion: '1.0', id: '1', source: 's', type: 'dev.refit.drift.detected.v1' };
    const alert = {
      model: 'other',
      kind: 'data',
      window: { start: '2013-01-01T00:00:00Z', end: '2013-01-02T00:00:00Z' },
    };
    const other = JSON.stringify({ ...event, time: '2013-01-02T00:00:00Z', data: alert });
    await writeFile(join(cwd, 'broken.jsonl'), `${other}\n{nonsense\n`);
    await writeFile(join(cwd, 'timeless.jsonl'), JSON.stringify({ ...event, data: alert }));
    await writeFile(join(cwd, 'others.jsonl'), other);
    await writeFile(join(cwd, 'wrong.yaml'), 'cooldwon: 3h\n');
    await writeFile(join(cwd, 'never.yaml'), 'schedule: { cron: "0 0 31 2 *" }\n');
    const ended = await simulate(...args);
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr).not.toMatch(/\n\s+at .*:\d+:\d+/);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
  },
  60_000,
);

it('joins what had arrived of other datasets when a run started', async () => {
  const at = join(cwd, 'rides');
  await mkdir(at);
  await writeFile(
    join(at, 'refit.yaml'),
    [
      '{ apiVersion: refit.dev/v1, kind: Dataset, name: rides, id: ride, time: start }',
      '---',
      '{ apiVersion: refit.dev/v1, kind: Dataset, name: weather, time: seen }',
      '---',
      '{ apiVersion: refit.dev/v1, kind: Model, name: length, task: regression, dataset: rides, label: { sql: minutes }, features: [weather_temp], evaluation: { metric: r2 }, ' +
        'joins: [{ dataset: weather, keys: { place: station }, columns: [temp], max_age: 1h }], training: { trainer: sklearn, limits: { cpu: 1 } } }',
    ].join('\n'),
  );
  const time = (hour: number, minute = 0): string => new Date(Date.UTC(2024, 0, 1, hour, minute)).toISOString();
  const temp = (hour: number): number => (hour * 7) % 30;
  // Only the weather says how long a ride takes, and a little chance.
  const rides = (from: number): string =>
    [
      'ride,start,place,minutes',
      ...Array.from(
        { length: 200 },
        (_, row) => `r${from}-${row},${time(from + row, 20)},A,${2 * temp(from + row) + (row % 3)}`,
      ),
    ].join('\n');
  const weather = (from: number): string =>
    ['station,seen,temp', ...Array.from({ length: 200 }, (_, row) => `A,${time(from + row)},${temp(from + row)}`)].join(
      '\n',
    );
  const lines: string[] = [];
  for (const [index, from] of [0, 200].entries()) {
    for (const [dataset, content] of Object.entries({ weather: weather(from), rides: rides(from) })) {
      await writeFile(join(at, `${dataset}-${index}.csv`), content);
      const data = {
        dataset,
        uris: [`${dataset}-${index}.csv`],
        partition: `${index}`,
        ...(dataset === 'rides' ? { rows: 200 } : {}),
      };
      lines.push(
        JSON.stringify({
          specversion: '1.0',
          id: `${dataset}-${index}`,
          source: 'test',
          type: EVENT_TYPES.dataArrived,
          subject: dataset,
          time: time(from + 200 + (dataset === 'rides' ? 1 : 0)),
          data,
        }),
      );
    }
  }
  await writeFile(join(at, 'events.jsonl'), lines.join('\n'));
  const ended = await runRefit(
    ['policy', 'simulate', 'length', '--project', 'rides', '--events', join(at, 'events.jsonl'), '--train', '--json'],
    {
      cwd,
      env: { REFIT_PYTHON: inject('pythonPath') },
    },
  );
  expect(ended.code, ended.stderr).toBe(0);
  const worth = told(ended.stdout).get('as defined')?.worth;
  expect(worth?.rows).toBeGreaterThan(100);
  expect(worth?.value).toBeGreaterThan(0.99);
}, 60_000);
