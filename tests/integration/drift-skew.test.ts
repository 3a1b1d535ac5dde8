/** `refit drift skew` as people run it: what the last sweep found, and the exit code that a script goes by. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { SkewRecord, SweepRecord } from '../../src/ports/registry/monitoring.ts';
import { runRefit } from '../support/e2e-refit.ts';

let server: Server;
let sweeps: readonly SweepRecord[];
beforeEach(async () => {
  server = createServer((_request, response) =>
    response.setHeader('content-type', 'application/json').end(JSON.stringify(sweeps)),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

const SKEW: SkewRecord = {
  ...{
    since: '2026-01-01T00:00:00Z',
    datasetVersion: 4,
    rows: 1_000,
    differing: 50,
    maxShare: 0.01,
    skewed: true,
    problem: null,
  },
  features: [
    { name: 'hour', rows: 1_000, differing: 50, largest: 19, examples: [{ id: 'f1', served: '3', recomputed: '22' }] },
  ],
};
const sweep = (skew?: SkewRecord): SweepRecord => ({
  ...{
    model: 'm',
    windowStart: '2026-01-07T00:00:00Z',
    windowEnd: '2026-01-08T00:00:00Z',
    version: 1,
    rows: 9,
    labelled: 0,
  },
  ...{ verdict: null, reason: 'too few', features: [], performance: null, at: '2026-01-08T00:00:01Z' },
  ...(skew === undefined ? {} : { skew }),
});
const skewOf = (...args: readonly string[]) =>
  runRefit(['drift', 'skew', 'm', ...args], {
    cwd: tmpdir(),
    env: { REFIT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
  });

it('ends with 1 where too much differs, with features and examples', async () => {
  sweeps = [sweep(), sweep(SKEW)];
  const ended = await skewOf();
  expect(ended.code, ended.stderr).toBe(1);
  expect(ended.stdout).toMatch(/50 of 1000 predictions since .* \(5\.00 %, more than 1 %\)/);
  expect(ended.stdout).toMatch(/hour +│ 50 +│ 5\.00 +│ 19 +│ f1 +│ 3 +│ 22/);
  expect(JSON.parse((await skewOf('--json')).stdout)).toEqual(SKEW);
}, 60_000);

it('ends with 0 within bounds, before the data came, and where nobody asked', async () => {
  sweeps = [sweep({ ...SKEW, differing: 3, skewed: false })];
  expect(await skewOf()).toMatchObject({ code: 0, stdout: expect.stringContaining('within bounds') });
  sweeps = [sweep({ ...SKEW, rows: 0, differing: 0, skewed: false, features: [] })];
  expect(await skewOf()).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('has its raw data in version 4 yet'),
  });
  sweeps = [sweep()];
  expect(await skewOf()).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('`monitoring.skew` of its document asks for it'),
  });
}, 60_000);
