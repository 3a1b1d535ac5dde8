/**
 * Dataset versions in one local stack, through the CLI: two models on one dataset, a corrected partition, runs that are repeated, and a
 * plant whose rows are erased.
 */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { parse } from 'yaml';
import { until } from '../support/e2e-refit.ts';
import { copyProject, E2eStack, gardenRequest, type Run, type ShownEvent, writeGarden } from '../support/e2e-stack.ts';
import { query } from '../support/trainer.ts';

// How long it takes is not what is proven here, and the machine may be busy.
const MINUTES_MS = 60_000;
const ROWS = 400;
const PARTITIONS = ['a', 'b', 'c', 'd'] as const;
/** In partition c. */
const ERASED = 'p801';

let stack: E2eStack;
let project: string;
beforeAll(async () => {
  stack = await E2eStack.create(inject('pythonPath'));
  project = await copyProject('twins', stack.folder);
  for (const [index, name] of PARTITIONS.entries()) await writeGarden(fileOf(name), index * ROWS, ROWS);
  await stack.up();
}, 10 * MINUTES_MS);
afterAll(() => stack?.close(), 10 * MINUTES_MS);

const fileOf = (partition: string): string => join(project, 'data', `${partition}.parquet`);
const publish = (partition: string, ...more: string[]) =>
  stack.json<{ accepted: { id: string }[] }>(
    'publish',
    'data',
    'beds',
    fileOf(partition),
    '--partition',
    partition,
    ...more,
  );

/** Settled one by one: an event that the gateway has not taken in yet is no open one, so all could seem settled before it. */
const settled = (...ids: readonly (string | undefined)[]): Promise<true> =>
  until(
    `${ids.join(', ')} settled`,
    async () => {
      for (const id of ids) {
        const shown = await stack.try('events', 'show', id ?? '', '--json');
        if (shown.code !== 0 || !(JSON.parse(shown.stdout) as ShownEvent).settled) return null;
      }
      return true as const;
    },
    10 * MINUTES_MS,
  );
const show = (run: string) =>
  stack.json<
    Run & { datasetVersion: number; snapshot: string; differences: string[] | null; training: { onnx: string } }
  >('runs', 'show', run);

/** Approved, rejected, or ended by itself: nothing holds the slot any more. */
async function ended(model: string): Promise<readonly Run[]> {
  return until(
    `no run of ${model} is under way`,
    async () => {
      const runs = await stack.runs(model);
      const open = runs.find((run) => run.outcome === null);
      if (open?.stage === 'decide') await stack.try('reject', open.run, '--as', 'ben', '--reason', 'not needed here');
      return open === undefined && runs.length > 0 ? runs : null;
    },
    10 * MINUTES_MS,
  );
}

/** Whether any artifact that is a Parquet file has the plant in any column. */
async function holding(plant: string): Promise<readonly string[]> {
  const root = join(stack.home, 'artifacts', 'sha256');
  const found: string[] = [];
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name.startsWith('.')) continue;
    const path = join(entry.parentPath, entry.name);
    const columns = await query(`describe select * from read_parquet('${path}')`).catch(() => []);
    for (const { column_name: name } of columns) {
      const [row] = await query(
        `select count(*) as n from read_parquet('${path}') where cast("${String(name)}" as varchar) = '${plant}'`,
      );
      if (Number(row?.n) > 0) found.push(`${entry.name} ${String(name)}`);
    }
  }
  return found;
}

describe('dataset versions', () => {
  it(
    'two models on one dataset, applied while its data arrives, see the same versions in the same order',
    async () => {
      // The second model comes after two of four arrivals.
      const documents = (await query(`select content from read_text('${join(project, 'refit.yaml')}')`))[0]?.content;
      const text = String(documents);
      const [header = '', ...rest] = text.split('\n---\n');
      const without = [header, ...rest.filter((one) => (parse(one) as { name: string }).name !== 'heights')];
      await writeFile(join(project, 'refit.yaml'), without.join('\n---\n'));
      await stack.refit('apply', project, '--as', 'dev');
      const early = [await publish('a'), await publish('b')];
      await writeFile(join(project, 'refit.yaml'), text);
      const [, third, fourth] = await Promise.all([
        stack.refit('apply', project, '--as', 'dev'),
        publish('c'),
        publish('d'),
      ]);
      await settled(...[...early, third, fourth].map((one) => one.accepted[0]?.id));
      const versions = await stack.json<{ version: number; event: string; rows: number; change: string }[]>(
        'data',
        'versions',
        'beds',
      );
      expect(versions.map((one) => one.version)).toEqual([4, 3, 2, 1]);
      expect(versions[0]?.rows).toBe(4 * ROWS);
      for (const model of ['blooms', 'heights']) await ended(model);
      // Who was subscribed when a version was made, was told of it; nobody of another one.
      for (const one of [third, fourth]) {
        const { fates } = await stack.json<ShownEvent>('events', 'show', one.accepted[0]?.id ?? '');
        expect(fates.map((fate) => fate.model)).toContain('blooms');
        for (const fate of fates) expect(['acted_on', 'coalesced']).toContain(fate.fate);
      }
      for (const model of ['blooms', 'heights']) await stack.json('start', model, '--as', 'dev');
      const runs = await Promise.all(
        ['blooms', 'heights'].map(async (model) => show((await ended(model))[0]?.run ?? '')),
      );
      expect(runs.map((run) => run.datasetVersion)).toEqual([4, 4]);
    },
    10 * MINUTES_MS,
  );

  it(
    'a corrected partition makes the next run differ in exactly that partition; the earlier run can still be repeated',
    async () => {
      const before = await show((await ended('blooms'))[0]?.run ?? '');
      await writeGarden(fileOf('b'), ROWS, ROWS - 50);
      const corrected = await publish('b');
      await settled(corrected.accepted[0]?.id);
      const runs = await ended('blooms');
      const after = await show(runs[0]?.run ?? '');
      expect([before.datasetVersion, after.datasetVersion]).toEqual([4, 5]);
      expect(after.snapshot).not.toBe(before.snapshot);
      const diff = await stack.json('data', 'diff', 'beds', '4', '5');
      expect(diff).toMatchObject({
        rows: { from: 4 * ROWS, to: 4 * ROWS - 50 },
        columns: [],
        partitions: [{ partition: 'b', change: 'replaced', rows: { from: ROWS, to: ROWS - 50 } }],
        unchanged: 3,
      });
      const text = (await stack.refit('data', 'versions', 'beds')).stdout;
      expect(text.replaceAll(/\s+│\s+│\s+│\s+/g, '')).toContain('correction');
      const why = await stack.refit('why', corrected.accepted[0]?.id ?? '');
      expect(why.stdout.replaceAll(/\s+/g, ' ')).toContain('replaces partition b (400 rows, now 350)');

      await stack.json('runs', 'rerun', before.run, '--as', 'olga');
      const repeated = await show((await ended('blooms'))[0]?.run ?? '');
      expect(repeated).toMatchObject({
        ...{ trigger: 'manual', repeats: before.run, datasetVersion: 4, snapshot: before.snapshot, differences: [] },
        training: { onnx: before.training.onnx },
      });
    },
    10 * MINUTES_MS,
  );

  it(
    "a plant's rows leave data, snapshots, predictions and outcomes; what can no longer be repeated is told, and the champion goes on",
    async () => {
      await stack.json('start', 'blooms', '--as', 'dev');
      const run = await until(
        'a run of blooms waits',
        async () => {
          const open = (await stack.runs('blooms')).find((one) => one.outcome === null && one.stage === 'decide');
          return open ?? null;
        },
        10 * MINUTES_MS,
      );
      await stack.refit('approve', run.run, '--as', 'ana');
      await stack.champion('blooms', run.version ?? 0);
      const request = gardenRequest('of-a-plant', 2) as { inputs: object[] };
      const ids = { name: 'plant', datatype: 'BYTES', shape: [2], data: [ERASED, 'p802'] };
      const answer = await fetch(`${stack.inference}/v2/models/blooms/infer`, {
        method: 'POST',
        body: JSON.stringify({ ...request, inputs: [...request.inputs, ids] }),
        headers: { 'content-type': 'application/json' },
      });
      expect(answer.status).toBe(200);
      await writeFile(
        join(stack.folder, 'labels.json'),
        JSON.stringify({
          ...{ specversion: '1.0', id: 'outcomes', source: 'test/data', type: 'dev.refit.labels.arrived.v1' },
          data: {
            model: 'blooms',
            labels: [ERASED, 'p802'].map((id) => ({ id, label: true, time: '2026-02-01T00:00:00Z' })),
          },
        }),
      );
      await stack.refit('publish', join(stack.folder, 'labels.json'));
      await until('the prediction is in the log', async () =>
        (await holding(ERASED)).some((one) => one.endsWith(' id')) ? true : null,
      );
      await settled('outcomes');
      const scores = join(stack.folder, 'scores.parquet');
      const batch = await stack.json('batch', 'blooms', 'beds@5', '--output', scores, '--as', 'olga');
      expect(batch).toMatchObject({
        batch: 1,
        version: run.version,
        datasetVersion: 5,
        rows: 4 * ROWS - 50,
        failure: null,
      });
      const [own] = await query(`SELECT count(*) AS n FROM '${scores}' WHERE id = '${ERASED}' AND p0 + p1 > 0.99`);
      expect(Number(own?.n)).toBe(1);

      const erased = await stack.json<{
        finishedAt: string;
        report: {
          rows: Record<string, number>;
          version: number;
          lostVersions: number[];
          unrepeatable: { run: string }[];
        };
      }>('data', 'erase', 'beds', '--id', ERASED, '--reason', 'request 77', '--as', 'olga');
      expect(erased.report).toMatchObject({
        rows: { data: 1, predictions: 1, labels: 1, batches: 1 },
        version: 6,
        // From the one on that partition c made: it came with d, in either order.
        lostVersions: expect.arrayContaining([4, 5]),
      });
      expect(await holding(ERASED)).toEqual([]);
      expect((await stack.json<{ rows: number }[]>('data', 'versions', 'beds'))[0]?.rows).toBe(4 * ROWS - 51);
      // Neither the audit nor any answer names the plant.
      const told = await fetch(`${stack.gateway}/api/v1/datasets/beds/erasures`);
      expect(await told.text()).not.toContain(ERASED);
      const labels = await stack.refit('events', 'show', 'outcomes', '--json');
      expect(labels.stdout).not.toContain(ERASED);
      expect(labels.stdout).toContain('acted_on');
      const chain = await fetch(`${stack.gateway}/api/v1/models/blooms/audit?limit=1000`);
      const audit = await chain.text();
      expect(audit).toContain('erasure.done');
      expect(audit).not.toContain(ERASED);
      expect(await stack.verifyAudit('blooms')).toMatchObject({ ok: true });

      const lost = erased.report.unrepeatable.find((one) => one.run.startsWith('blooms'));
      await stack.json('runs', 'rerun', lost?.run ?? '', '--as', 'olga');
      const [repeated] = await ended('blooms');
      expect(repeated).toMatchObject({ outcome: 'data_rejected' });
      expect(repeated?.outcomeReason).toMatch(/version \d of dataset beds can no longer be rebuilt: erasure 1/);
      // The same bytes do not come back.
      const again = await publish('c', '--id', 'again');
      await settled('again');
      const { fates } = await stack.json<ShownEvent>('events', 'show', again.accepted[0]?.id ?? '');
      expect(fates[0]?.reason).toMatch(/erased.*erasure 1 took rows out/);
      const ready = await fetch(`${stack.inference}/v2/models/blooms/ready`);
      expect(ready.status).toBe(200);
      // A new candidate is judged against the champion, whose training rows are now without the plant.
      await stack.json('start', 'blooms', '--as', 'dev');
      const [next] = await ended('blooms');
      expect(next).toMatchObject({ outcome: 'rejected' });
    },
    10 * MINUTES_MS,
  );

  it(
    'bad data is refused by name while the champion serves on; tests/integration/bad-data.test.ts has all kinds',
    async () => {
      const runs = (await stack.runs('blooms')).length;
      const version = (await stack.json<{ version: number }[]>('data', 'versions', 'beds'))[0]?.version;
      const good = fileOf('a');
      const bad = [
        [
          'short',
          `SELECT * EXCLUDE (plant) FROM '${good}'`,
          /^data rejected: schema in column plant: .*lacks column plant/,
        ],
        ['again', `SELECT * FROM '${good}' LIMIT 3`, /^data rejected: unique in column plant: 3 values .*\(in a\)/],
        ['none', `SELECT * FROM '${good}' LIMIT 0`, /^data rejected: empty: .*no rows/],
      ] as const;
      for (const [name, sql, reason] of bad) {
        await query(`COPY (${sql}) TO '${fileOf(name)}' (FORMAT parquet)`);
        const { accepted } = await publish(name);
        await settled(accepted[0]?.id);
        const { fates } = await stack.json<ShownEvent>('events', 'show', accepted[0]?.id ?? '');
        expect(fates.map(({ model, fate }) => `${model} ${fate}`).sort()).toEqual([
          'blooms refused',
          'heights refused',
        ]);
        for (const one of fates) expect(one.reason).toMatch(reason);
        const answer = await fetch(`${stack.inference}/v2/models/blooms/infer`, {
          ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
          body: JSON.stringify(gardenRequest(`while-${name}`, 2)),
        });
        expect(answer.status).toBe(200);
      }
      expect(await stack.runs('blooms')).toHaveLength(runs);
      expect((await stack.json<{ version: number }[]>('data', 'versions', 'beds'))[0]?.version).toBe(version);
      // The example is p0 to p2: told to whoever asks, and nowhere from where no erasure could take it.
      const chain = await (await fetch(`${stack.gateway}/api/v1/models/blooms/audit?limit=1000`)).text();
      expect(chain).toContain('data rejected: unique in column plant: 3 values');
      expect(chain).not.toMatch(/\bp[012]\b/);
      const history = await stack.historyText('dataset/beds');
      expect(history).toContain('data rejected: unique in column plant: 3 values');
      expect(history).not.toMatch(/\bp[012]\b/);
      expect((await stack.refit('data', 'profile', 'beds')).stdout).toMatch(/plant +│ string/);
    },
    10 * MINUTES_MS,
  );

  it(
    'a model with a join trains on what was known at the time of each row, and answers by the newest, which no caller sends',
    async () => {
      const watered = await copyProject('watered', stack.folder);
      const at = async (name: string, sql: string): Promise<string> => {
        const path = join(watered, 'data', `${name}.parquet`);
        await query(`COPY (${sql}) TO '${path}' (FORMAT parquet)`);
        return path;
      };
      const arrive = async (dataset: string, name: string, sql: string): Promise<void> => {
        const { accepted } = await stack.json<{ accepted: { id: string }[] }>(
          ...['publish', 'data', dataset, await at(name, sql), '--partition', name],
        );
        await settled(accepted[0]?.id);
      };
      const soils = "unnest(['clay', 'loam', 'sand']) AS soil";
      const rain = `SELECT TIMESTAMP '2026-01-01' + INTERVAL (h) HOUR AS seen, soil, hash(h, soil) % 10 / 1.0 AS mm
        FROM (SELECT h, ${soils} FROM range(48) t(h))`;
      // The outcome is mostly the rain that was known by then; not only, or it would be refused as a leak.
      const plots = `SELECT plots.*, 30 * light + 10 * mm AS yield FROM (SELECT 'w' || i AS plant, ['clay', 'loam', 'sand'][i % 3 + 1] AS soil,
          hash(i) % 100 / 100.0 AS light, TIMESTAMP '2026-01-01 00:30:00' + INTERVAL (i) MINUTE AS planted FROM range(2000) t(i)) plots
        ASOF JOIN (${rain}) rain ON plots.soil = rain.soil AND plots.planted >= rain.seen ORDER BY plant`;
      await stack.refit('apply', watered, '--as', 'dev');
      await arrive('rain', 'dry', rain);
      expect(await stack.runs('yields')).toEqual([]);
      await arrive('plots', 'first', plots);
      const run = await stack.waits('yields', 1);
      await stack.refit('approve', run.run, '--as', 'ana');
      await stack.champion('yields', 1);
      const { evaluation } = (await stack.versions('yields'))[0] as unknown as {
        evaluation: { metrics: { rmse: number } };
      };
      expect(evaluation.metrics.rmse).toBeLessThan(10);

      const url = `${stack.inference}/v2/models/yields`;
      const answer = async (): Promise<number> => {
        const column = (name: string, datatype: string, value: unknown): object => ({
          ...{ name, datatype, shape: [1], data: [value] },
        });
        const inputs = [
          column('light', 'FP64', 0.5),
          column('soil', 'BYTES', 'loam'),
          column('planted', 'BYTES', '2026-01-05T00:00:00Z'),
        ];
        const response = await fetch(`${url}/infer`, {
          ...{ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ inputs }) },
        });
        const text = await response.text();
        expect(response.status, text).toBe(200);
        return (JSON.parse(text) as { outputs: { data: number[] }[] }).outputs[0]?.data[0] ?? Number.NaN;
      };
      const knownBefore = await query(`SELECT mm FROM (${rain}) WHERE soil = 'loam' ORDER BY seen DESC LIMIT 1`);
      expect(Math.abs((await answer()) - (15 + 10 * Number(knownBefore[0]?.mm)))).toBeLessThan(10);
      // Rain on the day before the question, of another amount by far.
      const more = Number(knownBefore[0]?.mm) < 5 ? 9 : 0;
      await arrive(
        'rain',
        'wet',
        `SELECT TIMESTAMP '2026-01-04' AS seen, soil, ${more} / 1.0 AS mm FROM (SELECT ${soils})`,
      );
      await until('the server looks up in the new rain', async () => {
        const { parameters } = (await (await fetch(url)).json()) as { parameters?: { lookup_rain?: number } };
        return parameters?.lookup_rain === 2 ? true : null;
      });
      expect(Math.abs((await answer()) - (15 + 10 * more))).toBeLessThan(10);
      expect(await stack.runs('yields')).toHaveLength(1);
    },
    10 * MINUTES_MS,
  );
});
