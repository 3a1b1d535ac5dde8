/** Bad input to the CLI, without any service: a clear answer with what to do, and the exit code that says whose turn it is. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer as createGateway, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type Ended, quietPorts, runRefit } from '../support/e2e-refit.ts';
import { copyProject, writeGarden } from '../support/e2e-stack.ts';
import { query } from '../support/trainer.ts';

const TIMEOUT_MS = 60_000;
/** As setup does it, but nothing is fetched: the tools are there, and only what is tested is missing. */
const PORTS = ['TEMPORAL', 'TEMPORAL_UI', 'KAFKA', 'GATEWAY', 'SERVE'] as const;

let folder: string;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-cli-'));
  const ports = await quietPorts(PORTS.length);
  env = {
    REFIT_HOME: join(folder, 'home'),
    REFIT_PYTHON: inject('pythonPath'),
    ...Object.fromEntries(PORTS.map((name, index) => [`REFIT_${name}_PORT`, String(ports[index])])),
  };
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const refit = (args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  runRefit(args, { cwd: folder, env: { ...env, ...more } });
const json = (ended: Ended): unknown => JSON.parse(ended.stdout);

describe('wrong usage: exit 2, and what would be right', () => {
  it.each([
    [['frobnicate'], /unknown command 'frobnicate'/],
    [['statsu'], /Did you mean status\?/],
    [['status', '--jsonn'], /unknown option '--jsonn'/],
    [['approve'], /missing required argument 'run'/],
    [['reject', 'm-000001'], /required option '--reason <text>'/],
    [['rollback', 'm', '--reason', 'x', '--to', 'two'], /a version is a number such as 3/],
    [['publish', 'data', 'beds', 'x.csv', '--format', 'xml'], /Allowed choices are parquet, csv, jsonl/],
    [['publish', 'drift', 'm', '--feature', 'x', '--score', 'much'], /--score must be a number, not 'much'/],
    [['worker', '--queues', 'control,gpu'], /--queues: gpu is no queue; they are control, data, train/],
    [['audit', 'verify', 'm', '--head', '12'], /--head must be SEQUENCE:HASH/],
  ] as const)(
    'refit %j',
    async (args, message) => {
      const ended = await refit(args);
      expect(ended.stderr).toMatch(message);
      expect(ended.stderr).not.toMatch(/\n\s+at .*:\d+:\d+/);
      expect(ended).toMatchObject({ code: 2, stdout: '' });
    },
    TIMEOUT_MS,
  );

  it('names the setting that is wrong', async () => {
    const ended = await refit(['status'], { REFIT_GATEWAY_PORT: 'eighty' });
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toContain("REFIT_GATEWAY_PORT is 'eighty'; it must be a port between 1 and 65535");
  });

  it('tells a missing data file and a folder in its place', async () => {
    const missing = await refit(['publish', 'data', 'beds', 'gone.parquet']);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain(`${join(folder, 'gone.parquet')} is not a file; name the files that have arrived`);
    expect((await refit(['publish', 'data', 'beds', folder])).code).toBe(2);
  });

  it('tells a file that is no JSON from one that is missing', async () => {
    await writeFile(join(folder, 'broken.json'), '{"specversion": ');
    const broken = await refit(['publish', 'broken.json']);
    expect(broken).toMatchObject({ code: 2, stdout: '' });
    expect(broken.stderr).toMatch(/broken\.json is no JSON file with a CloudEvent: .*JSON/);
    expect((await refit(['publish', 'gone.json'])).stderr).toMatch(/ENOENT/);
  });
});

describe('help', () => {
  it.each([[[]], [['publish', 'data']], [['approve']], [['up']], [['drift', 'compare']], [['why']]])(
    'refit %j --help ends with 0, shows examples where there are any, and answers on stdout',
    async (path: readonly string[]) => {
      const ended = await refit([...path, '--help']);
      expect(ended).toMatchObject({ code: 0, stderr: '' });
      expect(ended.stdout).toContain('Usage: refit');
      if (path.length > 0) expect(ended.stdout).toMatch(/Examples?:\n {2}.*refit /);
    },
    TIMEOUT_MS,
  );

  it('fits the terminal for every verb and lists all of them', async () => {
    const { stdout } = await refit(['--help']);
    const verbs =
      'up down doctor gateway worker serve validate apply diff publish start models status runs approvals approve reject rollout rollback versions why audit drift events pause resume';
    for (const verb of verbs.split(' ')) expect(stdout, verb).toMatch(new RegExp(`^ {2}${verb}\\b`, 'm'));
  });
});

describe('no gateway: exit 3, and how to start it', () => {
  it.each([
    ['models'],
    ['status', 'blooms', '--json'],
    ['approvals', '--json'],
    ['approve', 'blooms-000001', '--as', 'ana'],
    ['why', 'blooms@champion'],
    ['events', 'list'],
  ])(
    'refit %s %s',
    async (...args) => {
      const ended = await refit(args.filter((one) => one !== undefined));
      expect(ended).toMatchObject({ code: 3, stdout: '' });
      expect(ended.stderr).toMatch(
        new RegExp(`the gateway at http://127.0.0.1:${env.REFIT_GATEWAY_PORT} cannot be reached .*refit up.*REFIT_URL`),
      );
    },
    TIMEOUT_MS,
  );
});

it(
  'a rollback whose answer is lost names the request under which it is repeated, and done once',
  async () => {
    const asked: unknown[] = [];
    const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const body = JSON.parse(await text(request)) as { readonly requestId: string };
      asked.push(body.requestId);
      const isLost = asked.length === 1;
      response.writeHead(isLost ? 503 : 200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify(
          isLost ? { error: 'no worker answered within 20 s' } : { status: 'started', deployment: 3, toVersion: 1 },
        ),
      );
    };
    const gateway = createGateway((request, response) => void answer(request, response));
    await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = gateway.address() as AddressInfo;
      const rollback = (...more: string[]) =>
        refit(['rollback', 'm', '--reason', 'x', ...more], { REFIT_URL: `http://127.0.0.1:${port}` });
      const lost = await rollback();
      expect(lost).toMatchObject({ code: 3, stdout: '' });
      const [, request = ''] = /no worker answered .* --request (\S+), /.exec(lost.stderr) ?? [];
      expect(await rollback('--request', request)).toMatchObject({
        code: 0,
        stdout: 'deployment 3 goes back to version 1\n',
      });
      expect(asked).toEqual([request, request]);
    } finally {
      gateway.close();
    }
  },
  TIMEOUT_MS,
);

const MISTAKES = `apiVersion: refit.dev/v1
kind: Dataset
name: Beds
---
apiVersion: refit.dev/v1
kind: Model
name: blooms
task: binary
dataset: beds
label: { sql: bloomed }
features: [light]
training: { trainer: lightgbm }
colour: green
---
apiVersion: refit.dev/v1
kind: Model
name: heights
task: regression
dataset: nowhere
label: { sql: height }
features: missing.sql
training: { trainer: sklearn }
evaluation: { metric: roc_auc }
`;

describe('a project', () => {
  it(
    'is told all its mistakes at once, each with file, line and column and what would be right',
    async () => {
      const project = join(folder, 'mistakes');
      await mkdir(project);
      await writeFile(join(project, 'refit.yaml'), MISTAKES);
      const ended = await refit(['validate', project]);
      expect(ended).toMatchObject({ code: 2, stdout: '' });
      const lines = ended.stderr
        .trim()
        .split('\n')
        .filter((line) => line.includes(': error: '));
      expect(lines).toEqual([
        'refit.yaml:3:7: error: name: a name of 1 to 63 characters from a-z, 0-9 and -',
        expect.stringMatching(/^refit\.yaml:8:7: error: task: must be one of .*binary-classification/),
        expect.stringMatching(/^refit\.yaml:13:\d+: error: unknown key colour$/),
        expect.stringMatching(
          /^refit\.yaml:19:10: error: dataset: dataset nowhere is neither in this project nor registered/,
        ),
        expect.stringMatching(/^refit\.yaml:21:11: error: features: missing\.sql is not in the project folder$/),
        expect.stringMatching(
          /^refit\.yaml:23:23: error: evaluation\.metric: roc_auc does not fit regression; use one of rmse, mae, r2$/,
        ),
      ]);
      const told = await refit(['validate', project, '--json']);
      expect(told.code).toBe(2);
      expect((json(told) as { severity: string }[]).filter((one) => one.severity === 'error')).toHaveLength(6);
    },
    TIMEOUT_MS,
  );

  it(
    'that is valid says so with 0, and its warnings do not stand in the way',
    async () => {
      const project = await copyProject('gardens', folder);
      const ended = await refit(['validate', project]);
      expect(ended).toMatchObject({ code: 0, stdout: '' });
      expect(ended.stderr).toContain(
        'is valid: Dataset beds, Dataset pots, Dataset fields, Model blooms, Model heights, Model states, Policy gardeners',
      );
      expect(json(await refit(['validate', project, '--json']))).toEqual(expect.any(Array));
    },
    TIMEOUT_MS,
  );

  it(
    'whose folder is missing, or is a file, or holds no document',
    async () => {
      const missing = await refit(['apply', 'gone']);
      expect(missing).toMatchObject({ code: 2, stdout: '' });
      expect(missing.stderr).toContain(`${join(folder, 'gone')} is not a folder; name the folder of a model project`);
      await writeFile(join(folder, 'a-file'), '');
      expect((await refit(['validate', 'a-file'])).code).toBe(2);
      await mkdir(join(folder, 'empty'));
      const empty = await refit(['validate', 'empty']);
      expect(empty.code).toBe(2);
      expect(empty.stderr).toContain('no document of kind Dataset, Model or Policy in a .yaml file of this folder');
    },
    TIMEOUT_MS,
  );

  it(
    'with YAML that cannot be read is told where it breaks',
    async () => {
      const project = join(folder, 'yaml');
      await mkdir(project);
      await writeFile(join(project, 'refit.yaml'), 'kind: Dataset\nname: [beds\n');
      const ended = await refit(['validate', project]);
      expect(ended.code).toBe(2);
      expect(ended.stderr).toMatch(/^refit\.yaml:\d+:\d+: error: /m);
    },
    TIMEOUT_MS,
  );
});

describe('drift compare', () => {
  it(
    'exits 0 where nothing drifted, 1 where something did, 2 where a file cannot be compared',
    async () => {
      const one = await writeGarden(join(folder, 'one.parquet'), 0, 2_000);
      const two = await writeGarden(join(folder, 'two.csv'), 2_000, 2_000);
      const dark = join(folder, 'dark.parquet');
      await query(`copy (select * replace (light * 0.2 as light) from '${one}') to '${dark}' (format parquet)`);
      // Columns that never repeat are not what the comparison is about.
      const columns = ['light', 'water', 'soil'];
      const only = async (from: string, to: string): Promise<string> => {
        await query(`copy (select ${columns.join(', ')} from '${from}') to '${join(folder, to)}' (format parquet)`);
        return to;
      };
      const files = [
        await only(one, 'a.parquet'),
        await only(two, 'b.parquet'),
        await only(dark, 'c.parquet'),
      ] as const;
      const same = await refit(['drift', 'compare', files[0], files[1], '--json']);
      expect(same, same.stderr).toMatchObject({ code: 0 });
      expect(
        (json(same) as { name: string; drifted: boolean }[]).map((feature) => [feature.name, feature.drifted]).sort(),
      ).toEqual(columns.map((name) => [name, false]).sort());
      const drifted = await refit(['drift', 'compare', files[0], files[2], '--json']);
      expect(drifted).toMatchObject({ code: 1 });
      expect(
        (json(drifted) as { name: string; drifted: boolean }[])
          .filter((feature) => feature.drifted)
          .map((feature) => feature.name),
      ).toEqual(['light']);
      const table = await refit(['drift', 'compare', files[0], files[2]]);
      expect(table).toMatchObject({ code: 1 });
      expect(table.stdout).toMatch(/light.*drifted/);
      await writeFile(join(folder, 'text.parquet'), 'no parquet at all');
      for (const [wrong, message] of [
        ['gone.parquet', /gone\.parquet does not exist/],
        ['broken.json', /broken\.json: the name must end in \.parquet, \.csv/],
        ['text.parquet', /text\.parquet/],
      ] as const) {
        const ended = await refit(['drift', 'compare', files[0], wrong]);
        expect(ended, wrong).toMatchObject({ code: 2, stdout: '' });
        expect(ended.stderr).toMatch(message);
      }
      const threshold = await refit(['drift', 'compare', files[0], files[1], '--threshold', '-1']);
      expect(threshold).toMatchObject({ code: 2 });
    },
    TIMEOUT_MS,
  );
});

describe('what the machine lacks', () => {
  let taken: Server;
  beforeAll(async () => {
    taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => new Promise((resolve) => taken.close(resolve)));
  const takenPort = (): string => {
    const address = taken.address();
    return String(address !== null && typeof address === 'object' ? address.port : 0);
  };

  it(
    'doctor exits 1 where something is missing, and says of each how to mend it',
    async () => {
      const ended = await refit(['doctor', '--json'], {
        REFIT_PYTHON: 'nonexistent',
        REFIT_SERVE_PORT: takenPort(),
        TEMPORAL_ADDRESS: '127.0.0.1:1',
      });
      expect(ended, ended.stderr).toMatchObject({ code: 1 });
      const checks = json(ended) as { name: string; ok: boolean; detail: string; mend?: string }[];
      expect(
        checks
          .filter((one) => !one.ok)
          .map((one) => one.name)
          .sort(),
      ).toEqual(['port serve', 'python', 'temporal service']);
      for (const one of checks.filter((check) => !check.ok)) expect(one.mend, one.name).toBeTruthy();
      expect(checks.find((one) => one.name === 'port serve')?.mend).toContain('set REFIT_SERVE_PORT to a free port');
      const table = await refit(['doctor'], { REFIT_PYTHON: 'nonexistent' });
      expect(table.code).toBe(1);
      expect(table.stdout).toContain('how to mend it');
    },
    TIMEOUT_MS,
  );

  it(
    'doctor exits 0 where all is there, though nothing runs',
    async () => {
      const ended = await refit(['doctor', '--json']);
      expect(ended, ended.stdout).toMatchObject({ code: 0 });
      expect(
        (json(ended) as { name: string; detail: string }[]).find((one) => one.name === 'temporal service')?.detail,
      ).toBe('not started; refit up starts it');
    },
    TIMEOUT_MS,
  );

  it(
    'up names the port that is taken and the setting that moves it, and leaves nothing running',
    async () => {
      const ended = await refit(['up', '--detach'], { REFIT_SERVE_PORT: takenPort() });
      expect(ended).toMatchObject({ code: 1, stdout: '' });
      expect(ended.stderr).toMatch(
        new RegExp(`Port ${takenPort()} for the part serve is taken by another process.*REFIT_SERVE_PORT`),
      );
      const down = await refit(['down']);
      expect(down).toMatchObject({ code: 0 });
      expect(down.stderr).toContain('nothing was running');
    },
    TIMEOUT_MS,
  );

  it.each(['up', 'worker'])(
    '%s says that REFIT_PYTHON names no Python',
    async (part) => {
      const ended = await refit(part === 'up' ? ['up', '--detach'] : [part], { REFIT_PYTHON: 'nonexistent' });
      expect(ended).toMatchObject({ code: 1, stdout: '' });
      expect(ended.stderr).toContain('REFIT_PYTHON: nonexistent is not an executable file');
      expect(ended.stderr).not.toMatch(/\n\s+at .*:\d+:\d+/);
    },
    TIMEOUT_MS,
  );
});
