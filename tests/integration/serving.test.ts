/** The inference server over HTTP with real ONNX files: who answers, what a challenger's fault costs, and what is kept on disk. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createScorer } from '../../src/adapters/onnx/scorer.ts';
import type { ScorerFactory } from '../../src/ports/data.ts';
import { linearOnnx } from '../support/onnx-files.ts';
import {
  createWorld,
  entry,
  MODEL,
  publisherTo,
  request,
  type ServingWorld,
  tensor,
  until,
} from '../support/serving.ts';

let world: ServingWorld;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

const sigmoid = (value: number): number => 1 / (1 + Math.exp(-value));
const countsOf = (version: number) => world.lastReport()?.counts.find((counts) => counts.version === version);
const moveClock = (seconds: number): void => {
  world.now = new Date(world.now.getTime() + seconds * 1_000);
};
/** Answers of many callers, by version. */
async function ask(
  server: Parameters<ServingWorld['infer']>[0],
  callers: number,
  x = 1,
): Promise<Map<number, string[]>> {
  const byVersion = new Map<number, string[]>();
  await Promise.all(
    Array.from({ length: callers }, async (_, index) => {
      const id = `caller-${index}`;
      const { status, body } = await world.infer(server, request([x], { id }));
      expect({ status, error: body.error }).toEqual({ status: 200, error: undefined });
      const version = body.parameters?.version ?? 0;
      byVersion.set(version, [...(byVersion.get(version) ?? []), id]);
    }),
  );
  return byVersion;
}

describe('the champion', () => {
  it('answers with its probabilities, and the log has every row', async () => {
    world.addVersion(1);
    world.plan(1, entry(1, 'champion', 1));
    const server = await world.start();
    const body = {
      id: 'request-1',
      inputs: [
        tensor('x', 'FP64', [1, null, -3]),
        { name: 'k', shape: [3, 1], datatype: 'BYTES', data: [['a'], ['b'], [null]] },
        tensor('row_id', 'BYTES', ['r0', null, 'r2']),
      ],
    };
    const answer = await world.infer(server, body);
    // A model that makes NaN of a null has failed: that is said, not passed on.
    expect(answer).toMatchObject({ status: 500, body: { error: expect.stringContaining('NaN for row 1') } });
    body.inputs[0] = tensor('x', 'FP64', [1, 0, -3]);
    const second = await world.infer(server, body);
    expect(second.status).toBe(200);
    expect(second.body).toMatchObject({
      model_name: MODEL,
      model_version: '1',
      id: 'request-1',
      parameters: { version: 1, role: 'champion' },
    });
    const [output] = second.body.outputs ?? [];
    expect(output).toMatchObject({ name: 'probabilities', datatype: 'FP64', shape: [3, 2] });
    for (const [row, z] of [3, 2, -5].entries()) expect(output?.data[row * 2 + 1]).toBeCloseTo(sigmoid(z), 6);
    await until(() => world.published.length === 6, 'log rows');
    expect(
      world.published.slice(0, 3).every(({ error, output: values }) => error !== undefined && values.length === 0),
    ).toBe(true);
    expect(world.published[3]).toMatchObject({
      model: MODEL,
      version: 1,
      deployment: 1,
      role: 'champion',
      requestId: 'request-1',
      row: 0,
      id: 'r0',
      source: { x: 1, k: 'a' },
    });
    expect(world.published[4]).not.toHaveProperty('id');
    expect(world.published[5]?.output[1]).toBeCloseTo(sigmoid(-5), 6);
    await until(() => countsOf(1)?.requests === 2, 'the report');
    expect(countsOf(1)).toMatchObject({ role: 'champion', errors: 1 });
    expect(countsOf(1)?.latencyBuckets.reduce((sum, count) => sum + count, 0)).toBe(1);
  });

  it('answers concurrent requests each with its own rows, and one bad row fails alone', async () => {
    world.addVersion(1, { sql: 'SELECT x + CAST(k AS DOUBLE) AS z FROM source' });
    world.plan(1, entry(1, 'champion', 1));
    const server = await world.start();
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        world.infer(server, {
          inputs: [
            tensor('x', 'FP32', [index / 100, index / 50]),
            tensor('k', 'BYTES', index === 30 ? ['0', 'broken'] : ['0', '0']),
          ],
        }),
      ),
    );
    answers.forEach(({ status, body }, index) => {
      expect(status).toBe(index === 30 ? 500 : 200);
      if (index !== 30) expect(body.outputs?.[0]?.data[3]).toBeCloseTo(sigmoid(index / 50 + 1), 6);
    });
    expect(answers[30]?.body.error).toContain('broken');
  });

  it('serves a regression as prediction', async () => {
    world.addVersion(1, { task: 'regression', classes: [], onnxBytes: linearOnnx('z', 10, 1) });
    world.plan(1, entry(1, 'champion', 1));
    const { body } = await world.infer(await world.start(), request([1, 2]));
    expect(body.outputs).toEqual([{ name: 'prediction', datatype: 'FP64', shape: [2, 1], data: [21, 41] }]);
  });
});

describe('a challenger', () => {
  beforeEach(() => {
    world.addVersion(1);
  });
  const serve = (sql?: string) => {
    world.addVersion(2, sql === undefined ? {} : { sql });
    world.plan(1, entry(1, 'champion', 0.7), entry(2, 'canary', 0.3));
    return world.start();
  };

  it('gets its share as canary, and callers stay', async () => {
    const server = await serve();
    const first = await ask(server, 600);
    expect(first.get(2)?.length).toBeGreaterThan(600 * 0.2);
    expect(first.get(2)?.length).toBeLessThan(600 * 0.4);
    const second = await ask(server, 600);
    expect(new Set(second.get(2))).toEqual(new Set(first.get(2)));
    await until(() => (countsOf(1)?.requests ?? 0) + (countsOf(2)?.requests ?? 0) === 1_200, 'all counted');
    expect(countsOf(2)).toMatchObject({ role: 'canary', errors: 0, requests: (first.get(2)?.length ?? 0) * 2 });
  });

  it.each([
    ['that fails', 'SELECT CAST(k AS DOUBLE) AS z FROM source', 1],
    ['that answers NaN', 'SELECT CASE WHEN x > 100 THEN NULL ELSE x END AS z FROM source', 200],
  ])('%s costs no caller anything', async (_, sql, x) => {
    const server = await serve(sql);
    const answers = await ask(server, 200, x);
    expect([...answers.keys()]).toEqual([1]);
    await until(() => countsOf(1)?.requests === 200, 'all counted');
    expect(countsOf(1)?.errors).toBe(0);
    expect(countsOf(2)?.errors).toBeGreaterThan(30);
    expect(countsOf(2)?.requests).toBe(countsOf(2)?.errors);
    await until(() => world.published.length === 200 + (countsOf(2)?.errors ?? 0), 'the log');
    expect(world.published.filter(({ role }) => role === 'canary').every(({ error }) => error !== undefined)).toBe(
      true,
    );
  });

  /** The real scorer, slower for the files of one version. */
  const slowed =
    (onnxDigest: string, milliseconds: number): ScorerFactory =>
    async (input) => {
      const scorer = await createScorer(input);
      if (!input.path.endsWith(onnxDigest)) return scorer;
      return {
        ...scorer,
        score: async (rows, count) => {
          await new Promise((resolve) => setTimeout(resolve, milliseconds));
          return scorer.score(rows, count);
        },
      };
    };

  it('that is slow shows in its own latency only', async () => {
    world.addVersion(2);
    const onnx: string = JSON.parse(
      Buffer.from(world.objects.get(world.registry.versions.get(2) ?? '') ?? '').toString(),
    ).onnx;
    world.plan(1, entry(1, 'champion', 0.5), entry(2, 'canary', 0.5));
    const server = await world.start({ createScorer: slowed(onnx, 120) });
    await ask(server, 40);
    await until(() => (countsOf(1)?.requests ?? 0) + (countsOf(2)?.requests ?? 0) === 40, 'all counted');
    const sum = (counts: readonly number[] | undefined): number =>
      (counts ?? []).reduce((total, count) => total + count, 0);
    expect(sum(countsOf(2)?.latencyBuckets.slice(0, 22))).toBe(0);
    expect(sum(countsOf(1)?.latencyBuckets.slice(0, 22))).toBeGreaterThan(0);
  });

  it('that hangs is answered for by the champion', async () => {
    world.addVersion(2);
    const onnx: string = JSON.parse(
      Buffer.from(world.objects.get(world.registry.versions.get(2) ?? '') ?? '').toString(),
    ).onnx;
    world.plan(1, entry(1, 'champion', 0.1), entry(2, 'canary', 0.9));
    const server = await world.start({ createScorer: slowed(onnx, 3_000) });
    expect([...(await ask(server, 10)).keys()]).toEqual([1]);
    await until(() => (countsOf(2)?.errors ?? 0) > 0, 'errors');
  });

  it('runs as shadow after the answer, counted and logged, whatever comes of it', async () => {
    world.addVersion(2);
    world.addVersion(3, { sql: 'SELECT CAST(k AS DOUBLE) AS z FROM source' });
    world.plan(1, entry(1, 'champion', 1), entry(2, 'shadow', 0), entry(3, 'shadow', 0));
    const server = await world.start();
    expect([...(await ask(server, 50)).keys()]).toEqual([1]);
    await until(() => countsOf(2)?.requests === 50 && countsOf(3)?.errors === 50, 'shadows counted');
    expect(countsOf(2)).toMatchObject({ role: 'shadow', errors: 0 });
    await until(() => world.published.length === 150, 'shadows logged');
    expect(world.published.filter(({ role }) => role === 'shadow')).toHaveLength(100);
  });

  it('whose file is corrupt gets no traffic and is reported, until the file is mended', async () => {
    const digest = world.addVersion(2);
    const onnx: string = JSON.parse(Buffer.from(world.objects.get(digest) ?? '').toString()).onnx;
    const good = world.objects.get(onnx) ?? Buffer.alloc(0);
    world.objects.set(onnx, Buffer.concat([good.subarray(0, -1), Buffer.from([1])]));
    world.plan(1, entry(1, 'champion', 0.5), entry(2, 'canary', 0.5));
    const server = await world.start();
    expect([...(await ask(server, 30)).keys()]).toEqual([1]);
    await until(() => countsOf(1)?.requests === 30, 'counted');
    expect(world.lastReport()).toMatchObject({
      revision: 1,
      failures: [{ version: 2, reason: expect.stringContaining('has other bytes') }],
    });
    world.objects.set(onnx, good);
    moveClock(6);
    await until(() => world.lastReport()?.failures.length === 0, 'loaded after all');
    expect([...(await ask(server, 100)).keys()].sort()).toEqual([1, 2]);
    await until(() => (countsOf(1)?.requests ?? 0) + (countsOf(2)?.requests ?? 0) === 130, 'counts go on');
  });

  it('that needs a column which callers do not send yet costs them nothing', async () => {
    world.addVersion(2, {
      sql: 'SELECT x + extra AS z FROM source',
      source: [
        { name: 'x', type: 'float64' },
        { name: 'extra', type: 'int64' },
      ],
    });
    world.plan(1, entry(1, 'champion', 0.1), entry(2, 'canary', 0.9));
    const server = await world.start();
    expect([...(await ask(server, 30)).keys()]).toEqual([1]);
    const body = {
      id: 'caller-2',
      inputs: [tensor('x', 'FP64', [1]), tensor('k', 'BYTES', ['a']), tensor('extra', 'INT64', [2])],
    };
    expect((await world.infer(server, body)).body.parameters?.role).toBe('canary');
  });
});

describe('plans', () => {
  it('are taken up once loaded, and counts begin anew', async () => {
    world.addVersion(1);
    world.addVersion(2);
    world.plan(1, entry(1, 'champion', 1));
    const server = await world.start();
    await ask(server, 10);
    world.plan(2, entry(2, 'champion', 1));
    await until(() => world.lastReport()?.revision === 2, 'the new plan');
    expect(world.lastReport()?.counts).toMatchObject([{ version: 2, requests: 0 }]);
    expect([...(await ask(server, 10)).keys()]).toEqual([2]);
  });

  it('that are older than the one in force are left alone', async () => {
    world.addVersion(1);
    world.addVersion(2);
    world.plan(5, entry(2, 'champion', 1));
    const server = await world.start();
    world.plan(4, entry(1, 'champion', 1));
    const seen = world.registry.reports.length;
    await until(() => world.registry.reports.length > seen + 3, 'polls');
    expect([...(await ask(server, 5)).keys()]).toEqual([2]);
    expect(world.lastReport()?.revision).toBe(5);
  });

  it('whose champion cannot be loaded are not taken up', async () => {
    world.addVersion(1);
    world.plan(1, entry(1, 'champion', 1));
    const server = await world.start();
    world.registry.versions.set(2, 'f'.repeat(64));
    world.plan(2, entry(2, 'champion', 1));
    await until(() => world.lastReport()?.failures.length === 1, 'the failure');
    expect(world.lastReport()).toMatchObject({ revision: 1, failures: [{ version: 2 }] });
    expect([...(await ask(server, 5)).keys()]).toEqual([1]);
  });

  it('give the champion everything while the registry is away for 10 s, and go on after', async () => {
    world.addVersion(1);
    world.addVersion(2);
    world.plan(1, entry(1, 'champion', 0.5), entry(2, 'canary', 0.5));
    const server = await world.start();
    world.registry.away = true;
    await until(() => world.problems.length > 0, 'noticed');
    moveClock(9);
    expect([...(await ask(server, 60)).keys()].sort()).toEqual([1, 2]);
    moveClock(2);
    expect([...(await ask(server, 60)).keys()]).toEqual([1]);
    world.registry.away = false;
    const seen = world.registry.reports.length;
    await until(() => world.registry.reports.length > seen, 'back');
    expect([...(await ask(server, 60)).keys()].sort()).toEqual([1, 2]);
  });

  it('and files are on disk: a restart needs neither registry nor store', async () => {
    world.addVersion(1);
    world.addVersion(2);
    world.plan(1, entry(1, 'champion', 0.5), entry(2, 'canary', 0.5));
    const before = await world.start();
    const { body } = await world.infer(before, request([0.5]), `/v2/models/${MODEL}/versions/1/infer`);
    await before.close();
    world.registry.away = true;
    world.storeAway = true;
    const server = await world.start();
    expect([...(await ask(server, 40)).keys()]).toEqual([1]);
    const after = await world.infer(server, request([0.5]));
    expect(after.body.outputs).toEqual(body.outputs);
    world.registry.away = false;
    await until(async () => (await ask(server, 40)).has(2), 'the canary is back');
  });

  it('never serve a copy on disk whose bytes are wrong', async () => {
    world.addVersion(1);
    world.plan(1, entry(1, 'champion', 1));
    const cacheFolder = await mkdtemp(join(tmpdir(), 'refit-cache-'));
    await (await world.start({ cacheFolder })).close();
    for (const name of await readdir(join(cacheFolder, 'files')))
      await writeFile(join(cacheFolder, 'files', name), randomBytes(300));
    const mended = await world.start({ cacheFolder });
    expect((await world.infer(mended, request([1]))).status).toBe(200);
    await mended.close();
    for (const name of await readdir(join(cacheFolder, 'files')))
      await writeFile(join(cacheFolder, 'files', name), randomBytes(300));
    world.storeAway = true;
    const server = await world.start({ cacheFolder });
    expect(await world.infer(server, request([1]))).toMatchObject({
      status: 503,
      body: { error: expect.stringContaining('no champion') },
    });
    expect((await fetch(`${server.url}/v2/health/ready`)).status).toBe(503);
    expect((await fetch(`${server.url}/v2/health/live`)).status).toBe(200);
    await server.close();
    await rm(cacheFolder, { recursive: true });
  });
});

describe('requests', () => {
  const good = request([1]);
  const withX = (x: unknown): object => ({ inputs: [x, tensor('k', 'BYTES', ['a'])] });

  it.each([
    ['no JSON', '{"inputs": [', 400, 'JSON'],
    ['no object', '[]', 400, 'JSON object'],
    ['no inputs', {}, 400, 'inputs is missing'],
    ['empty inputs', { inputs: [] }, 400, 'inputs is missing or empty'],
    ['an input that is no object', { inputs: ['x'] }, 400, 'inputs[0]'],
    ['a missing column', { inputs: [tensor('x', 'FP64', [1])] }, 400, 'inputs lack k (BYTES)'],
    [
      'an unknown column',
      { inputs: [tensor('x', 'FP64', [1]), tensor('k', 'BYTES', ['a']), tensor('late', 'BOOL', [true])] },
      400,
      'input late is not known; inputs are x, k, and row_id',
    ],
    [
      '__proto__',
      '{"inputs":[{"name":"__proto__","shape":[1],"datatype":"FP64","data":[1]}]}',
      400,
      '__proto__ is not known',
    ],
    [
      'a column twice',
      { inputs: [tensor('x', 'FP64', [1]), tensor('x', 'FP64', [1]), tensor('k', 'BYTES', ['a'])] },
      400,
      'there twice',
    ],
    ['another datatype', withX(tensor('x', 'BYTES', ['1'])), 400, 'datatype is "BYTES"; it must be FP64 or FP32'],
    ['no datatype', withX({ name: 'x', shape: [1], data: [1] }), 400, 'datatype is undefined'],
    [
      'a shape of two columns',
      withX({ name: 'x', shape: [1, 2], datatype: 'FP64', data: [1, 2] }),
      400,
      'shape is [1,2]; it must be [N] or [N, 1]',
    ],
    ['no rows', { inputs: [tensor('x', 'FP64', []), tensor('k', 'BYTES', [])] }, 400, 'shape is [0]'],
    ['too many rows', withX({ name: 'x', shape: [10_001], datatype: 'FP64', data: [] }), 413, 'at most 10000'],
    [
      'fewer values than the shape',
      withX({ name: 'x', shape: [2], datatype: 'FP64', data: [1] }),
      400,
      'data has 1 values, its shape says 2',
    ],
    ['columns of other lengths', withX(tensor('x', 'FP64', [1, 2])), 400, 'input k has 1 rows, input x has 2'],
    ['a text for a number', withX(tensor('x', 'FP64', ['1'])), 400, 'row 0 is "1"; it must be a number or null'],
    [
      'a number for a text',
      { inputs: [tensor('x', 'FP64', [1]), tensor('k', 'BYTES', [7])] },
      400,
      'row 0 is 7; it must be a text or null',
    ],
    [
      'binary data',
      withX({ name: 'x', shape: [1], datatype: 'FP64', parameters: { binary_data_size: 8 } }),
      400,
      'binary tensors are not supported',
    ],
    ['an id that is no text', { ...good, id: 7 }, 400, 'id is 7'],
    [
      'an id of objects',
      { inputs: [tensor('x', 'FP64', [1]), tensor('k', 'BYTES', ['a']), tensor('row_id', 'BYTES', [{}])] },
      400,
      'an id is a number, or a text',
    ],
  ])('with %s are refused and counted against nobody', async (_, body, status, message) => {
    world.addVersion(1);
    world.plan(1, entry(1, 'champion', 1));
    const answer = await world.infer(await world.start(), body);
    expect(answer).toMatchObject({ status, body: { error: expect.stringContaining(message) } });
    expect(countsOf(1)).toMatchObject({ requests: 0, errors: 0 });
  });

  it('take whole numbers, bools and times in their own datatypes', async () => {
    world.addVersion(1, {
      sql: 'SELECT i + CASE WHEN b THEN 1 ELSE 0 END + hour(t) AS z FROM source',
      source: [
        { name: 'i', type: 'int64' },
        { name: 'b', type: 'bool' },
        { name: 't', type: 'timestamp' },
      ],
    });
    world.plan(1, entry(1, 'champion', 1));
    const server = await world.start();
    const body = (i: unknown, b: unknown, t: unknown): object => ({
      inputs: [tensor('i', 'INT32', [i]), tensor('b', 'BOOL', [b]), tensor('t', 'BYTES', [t])],
    });
    const { body: answer } = await world.infer(server, body(-6, true, '2024-05-01T05:00:00+02:00'));
    expect(answer.outputs?.[0]?.data[1]).toBeCloseTo(sigmoid(-6 + 1 + 3 + 1), 6);
    expect((await world.infer(server, body(1.5, true, null))).body.error).toContain('a whole number of 64 bits');
    expect((await world.infer(server, body('9223372036854775808', true, null))).body.error).toContain('64 bits');
    expect((await world.infer(server, body(1, 'true', null))).body.error).toContain('true, false or null');
    expect((await world.infer(server, body(1, true, 'noon'))).body.error).toContain('ISO 8601');
    for (const time of [
      '2024-13-01T00:00:00Z',
      '2023-02-29T00:00:00Z',
      '2024-01-01T24:00:00Z',
      '2024-01-01T10:00:60Z',
      '2024-01-01T10:00:00+16:00',
    ]) {
      expect(await world.infer(server, body(1, true, time))).toMatchObject({
        status: 400,
        body: { error: expect.stringContaining('ISO 8601') },
      });
    }
    for (const time of ['2024-02-29T10:00Z', '2024-02-29T10:00+0000', '2024-02-29 10:00']) {
      expect((await world.infer(server, body(0, false, time))).body.outputs?.[0]?.data[1]).toBeCloseTo(sigmoid(11), 6);
    }
  });

  it('for what is not served are told what is', async () => {
    world.addVersion(1);
    world.plan(1, entry(1, 'champion', 1));
    const server = await world.start();
    expect(await world.infer(server, good, '/v2/models/other/infer')).toMatchObject({
      status: 404,
      body: { error: `model other is not served here; served are ${MODEL}` },
    });
    expect(await world.infer(server, good, `/v2/models/${MODEL}/versions/9/infer`)).toMatchObject({
      status: 404,
      body: { error: expect.stringContaining('version 9') },
    });
    expect(await world.infer(server, good, `/v2/models/${MODEL}/versions/x/infer`)).toMatchObject({ status: 404 });
    expect(await world.infer(server, good, `/v1/predict`)).toMatchObject({
      status: 404,
      body: { error: expect.stringContaining('/v2') },
    });
  });

  it('without any plan find nothing', async () => {
    const server = await world.start();
    expect(await world.infer(server, good)).toMatchObject({
      status: 404,
      body: { error: expect.stringContaining('nothing was promoted yet') },
    });
  });

  it('for one version get that version', async () => {
    world.addVersion(1);
    world.addVersion(2);
    world.plan(1, entry(1, 'champion', 1), entry(2, 'shadow', 0));
    const server = await world.start();
    const { body } = await world.infer(server, good, `/v2/models/${MODEL}/versions/2/infer`);
    expect(body.parameters).toEqual({ version: 2, role: 'shadow' });
  });

  it('about the model are answered as the protocol says', async () => {
    world.addVersion(1);
    world.plan(1, entry(1, 'champion', 1));
    const server = await world.start();
    const get = async (path: string) => JSON.parse(await (await fetch(server.url + path)).text());
    expect(await get('/v2')).toMatchObject({ name: 'refit' });
    expect(await get(`/v2/models/${MODEL}`)).toMatchObject({
      name: MODEL,
      versions: ['1'],
      inputs: [
        { name: 'x', datatype: 'FP64', shape: [-1] },
        { name: 'k', datatype: 'BYTES', shape: [-1] },
        { name: 'row_id', datatype: 'BYTES' },
      ],
      outputs: [{ name: 'probabilities', datatype: 'FP64', shape: [-1, 2] }],
    });
    expect(await get(`/v2/models/${MODEL}/ready`)).toEqual({ name: MODEL, ready: true });
    expect(await get('/v2/health/ready')).toEqual({ ready: true });
    expect(await get('/v2/health/live')).toEqual({ live: true });
    await world.infer(server, good);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toContain(
      `refit_serving_requests_total{model="${MODEL}",version="1",role="champion",outcome="answered"} 1`,
    );
    expect(metrics).toContain('refit_serving_plan_revision');
  });
});

describe('the prediction log', () => {
  it('drops and counts what does not fit while the publisher is away, and costs no answer', async () => {
    world.addVersion(1);
    world.plan(1, entry(1, 'champion', 1));
    world.publisherAway = true;
    const server = await world.start({ logBufferRows: 10 });
    await ask(server, 25);
    await until(() => world.lastReport()?.droppedLogs === 15, 'drops are reported');
    world.publisherAway = false;
    await until(() => world.published.length === 10, 'what was kept is published');
    await ask(server, 5);
    await until(() => world.published.length === 15, 'the log goes on');
    expect(await (await fetch(`${server.url}/metrics`)).text()).toContain(
      `refit_serving_dropped_log_rows_total{model="${MODEL}"} 15`,
    );
  });

  it('goes on behind a row that is too large for the broker, and repeats nothing that was kept before an outage', async () => {
    world.addVersion(1);
    world.plan(1, entry(1, 'champion', 1));
    const kept: string[] = [];
    let outages = 0;
    const real = publisherTo(() => undefined);
    const server = await world.start({
      publisher: {
        ...real,
        // As a broker that takes two records at once, none of 1 MB, and is away for every other batch.
        async publish(records) {
          if (outages % 2 === 0) {
            outages += 1;
            throw new Error('the broker is away');
          }
          const [first, second] = records.map(({ value }) => String(value));
          if (first !== undefined && first.length > 1_000_000) return { settled: 1, refusal: 'too large' };
          outages += 1;
          const batch = [first, second].flatMap((one) => (one !== undefined && one.length <= 1_000_000 ? [one] : []));
          kept.push(...batch.map((one) => (JSON.parse(one) as { readonly id: string }).id));
          return { settled: batch.length, refusal: null };
        },
      },
    });
    const ids = Array.from({ length: 6 }, (_, row) => `r${row}`);
    const { status } = await world.infer(server, {
      inputs: [
        tensor(
          'x',
          'FP64',
          ids.map(() => 1),
        ),
        tensor(
          'k',
          'BYTES',
          ids.map((id) => (id === 'r2' ? 'long'.repeat(300_000) : 'a')),
        ),
        tensor('row_id', 'BYTES', ids),
      ],
    });
    expect(status).toBe(200);
    await until(() => kept.length >= 5 && world.lastReport()?.droppedLogs === 1, 'all but the large row is kept');
    await server.close();
    expect(kept).toEqual(ids.filter((id) => id !== 'r2'));
    expect(world.problems).toContain(`1 predictions of ${MODEL} are not logged: too large`);
  });

  it('is published to the end when the server closes', async () => {
    world.addVersion(1);
    world.plan(1, entry(1, 'champion', 1));
    const server = await world.start();
    await ask(server, 30);
    await server.close();
    expect(world.published).toHaveLength(30);
  });
});

it('says that its port is taken', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await expect(world.start({ port })).rejects.toThrow('EADDRINUSE');
  await new Promise((resolve) => other.close(resolve));
});
