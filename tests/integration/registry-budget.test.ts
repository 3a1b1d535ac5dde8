/** The budget of a model: reserved before a run, settled after it, and never shared out twice. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import type { OpenRunInput } from '../../src/ports/registry/runs.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { BACKENDS, type BackendRegistry, freshOn } from '../support/registry-backends.ts';
import { at, digestOf, project } from '../support/registry-fixtures.ts';

describe.each(BACKENDS)('on %s', (backend) => {
  let opened: BackendRegistry;
  let registry: Registry;

  beforeEach(async () => {
    opened = await freshOn(backend);
    registry = opened.registry;
    await registry.apply(project(['m', 'n']));
  });
  afterEach(() => opened.close());

  const DAY = 24 * 60;

  const open = (requestKey: string, minute: number, more: Partial<OpenRunInput> = {}, to = registry) =>
    to.openRun({
      ...{ model: 'm', requestKey, trigger: 'schedule', eventKeys: [], requester: null, reason: null },
      ...{ definitionDigest: digestOf('definition'), at: at(minute), ...more },
    });
  const runsPerDay = (runs: number) => ({ budget: { runsPerDay: runs, cpuSecondsPerDay: null } });
  const cpuPerDay = (cpuSecondsPerDay: number, reservedCpuSeconds: number) => ({
    budget: { runsPerDay: null, cpuSecondsPerDay },
    reservedCpuSeconds,
  });

  it('a run over the number of a day is not opened; after 24 hours there is room again', async () => {
    await open('one', 0, runsPerDay(2));
    await open('two', 60, runsPerDay(2));
    expect(await open('three', 61, runsPerDay(2))).toEqual({
      status: 'over_budget',
      reason: 'm has started 2 runs in the last 24 hours, its budget is 2',
    });
    expect(await registry.runs({ limit: 10 })).toHaveLength(2);
    expect(await open('two', 61, runsPerDay(2))).toMatchObject({ status: 'opened', run: { number: 2 } });
    expect(await open('three', 61, { ...runsPerDay(2), model: 'n' })).toMatchObject({ status: 'opened' });
    expect(await open('three', DAY - 1, runsPerDay(2))).toMatchObject({ status: 'over_budget' });
    expect(await open('three', DAY, runsPerDay(2))).toMatchObject({ status: 'opened', run: { number: 3 } });
    expect(await open('four', DAY, { budget: { runsPerDay: null, cpuSecondsPerDay: null } })).toMatchObject({
      status: 'opened',
    });
  });

  it('what is reserved counts until what was spent is known', async () => {
    const first = await open('one', 0, cpuPerDay(7_200, 3_600));
    expect(first).toMatchObject({ status: 'opened', run: { cpuSeconds: { reserved: 3_600, spent: null } } });
    expect(await open('two', 1, cpuPerDay(7_200, 3_601))).toMatchObject({
      status: 'over_budget',
      reason: expect.stringMatching(/reserved 1 CPU hours .* needs 1 CPU hours, its budget is 2 CPU hours/),
    });
    await registry.settleCost('m-000001', 5_000.5, at(2));
    await registry.settleCost('m-000001', 1, at(3));
    expect(await registry.run('m-000001')).toMatchObject({ cpuSeconds: { reserved: 3_600, spent: 5_000.5 } });
    expect(await open('two', 3, cpuPerDay(7_200, 2_200))).toMatchObject({ status: 'over_budget' });
    await open('two', 4, cpuPerDay(7_200, 2_199));
    expect(await registry.spending('m', at(-1))).toEqual([
      { startedAt: at(0), cpuSeconds: 5_000.5 },
      { startedAt: at(4), cpuSeconds: 2_199 },
    ]);
    expect(await registry.spending('m', at(0))).toHaveLength(1);
    const actions = (await registry.audit('m', 100)).map((row) => row.action);
    expect(actions).toEqual(['definition.applied', 'run.opened', 'run.cost_settled', 'run.opened']);
  });

  it.each([
    ['snapshot', 0],
    ['train', 60],
    ['decide', 60],
  ] as const)('a run that ends at stage %s without a cost of its own is settled at %d s', async (stage, spent) => {
    await open('one', 0, { reservedCpuSeconds: 60 });
    await registry.updateRun('m-000001', { stage }, at(1));
    await registry.finishRun('m-000001', 'failed', 'test', at(2));
    await registry.settleCost('m-000001', 7, at(3));
    expect(await registry.run('m-000001')).toMatchObject({ cpuSeconds: { reserved: 60, spent } });
  });

  it('a cost that was settled outlives the end of its run, and what is no cost is refused', async () => {
    await open('one', 0, { reservedCpuSeconds: 60 });
    await registry.settleCost('m-000001', 7, at(1));
    expect(await registry.finishRun('m-000001', 'failed', null, at(2))).toMatchObject({
      cpuSeconds: { reserved: 60, spent: 7 },
    });
    await expect(open('two', 3, { reservedCpuSeconds: Number.NaN })).rejects.toThrow(RangeError);
    await expect(registry.settleCost('m-000001', -1, at(3))).rejects.toThrow(RangeError);
    await expect(registry.settleCost('m-000009', 1, at(3))).rejects.toThrow(/no run m-000009/);
  });

  it('triggers at the same moment never share the last of it', async () => {
    const others = await Promise.all(Array.from({ length: 3 }, () => openRegistry(opened.url)));
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_one, index) =>
        open(`k${index}`, 1, cpuPerDay(100, 30), others[index % 3] ?? registry),
      ),
    );
    for (const other of others) await other.close();
    expect(answers.filter((answer) => answer.status === 'opened')).toHaveLength(3);
  });
});
