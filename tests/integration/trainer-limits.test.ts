/** A trainer may do what it likes: it is ended at its limit with all that it started, knows nothing it was not told, and fails with a reason. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { createProcessTrainer } from '../../src/adapters/trainer/process.ts';
import type { TrainerOutcome, TrainerRequest } from '../../src/ports/trainer.ts';
import { until } from '../support/e2e-refit.ts';

const TIMEOUT_MS = 120_000;
const LONG_MS = 120_000;
/** Until then a trainer has started also on a busy machine. */
const LIMIT_MS = 10_000;
/** Well before the children that sleep for 600 s end by themselves. */
const ENDED_MS = 60_000;
const MIB = 2 ** 20;

let root: string;
let count = 0;
const started: number[] = [];
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'refit-limits-'));
});
afterEach(() => {
  // Whatever a failed test left behind, by the pids that its trainer wrote down.
  for (const pid of started.splice(0)) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
});
afterAll(() => rm(root, { recursive: true, force: true }));

function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

interface Case {
  readonly request: Omit<TrainerRequest, 'signal' | 'onProgress'>;
  /** Pids that the trainer wrote to the file `pids`, one a line. */
  readonly pids: (least: number) => Promise<number[]>;
  readonly read: (name: string) => Promise<string>;
}

/** A project folder with this trainer, and the request to run it. */
async function made(
  script: string,
  change: Partial<TrainerRequest> & { readonly args?: readonly string[] } = {},
): Promise<Case> {
  count += 1;
  const folder = join(root, String(count));
  const project = join(folder, 'project');
  const output = join(folder, 'output');
  await mkdir(project, { recursive: true });
  await mkdir(output);
  await writeFile(join(project, 'train.py'), `import json, os, signal, subprocess, sys, time\n${script}\n`);
  const { args = [], ...rest } = change;
  const request: Case['request'] = {
    command: { argv: ['python', 'train.py', ...args], folder: project },
    spec: {
      ...{ task: 'regression', label: '__label', columns: [], classes: [], train: '', validation: '', params: {} },
      ...{ seed: 7, threads: 1, output, checkpoint: join(folder, 'checkpoint') },
    },
    specPath: join(folder, 'spec.json'),
    environment: [],
    timeMs: LONG_MS,
    memoryBytes: 1024 * MIB,
    ...rest,
  };
  return {
    request,
    pids: async (least) => {
      const found = await until(
        `the trainer names ${least} processes`,
        () => {
          const path = join(project, 'pids');
          const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean).map(Number) : [];
          return lines.length >= least ? lines : null;
        },
        60_000,
      );
      started.push(...found);
      return found;
    },
    read: (name) => readFile(join(project, name), 'utf8'),
  };
}

const run = (
  one: Case,
  environment: NodeJS.ProcessEnv = process.env,
  signal = new AbortController().signal,
): Promise<TrainerOutcome> =>
  createProcessTrainer({ python: inject('pythonPath'), trainersFolder: '/nowhere', environment }).run({
    ...one.request,
    signal,
    onProgress: () => undefined,
  });

const WRITE_PID = "open('pids', 'a').write(f'{os.getpid()}\\n')";
/** `kind` is what Popen is told of the child's session. */
const forks = (kind = ''): string => `
for _ in range(2):
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']${kind})
    open('pids', 'a').write(f'{child.pid}\\n')
${WRITE_PID}`;
const allEnded = (pids: readonly number[]): Promise<true> =>
  until(
    'all its processes have ended',
    () => (pids.some(isAlive) ? null : true),
    60_000,
    () => `alive: ${pids.filter(isAlive).join()}`,
  );
const failed = (outcome: TrainerOutcome): Extract<TrainerOutcome, { status: 'failed' }> => {
  if (outcome.status !== 'failed') throw new Error('the trainer did not fail');
  return outcome;
};

describe.concurrent('a trainer is ended at its limit', () => {
  it(
    'of time, with the children that it forked and the last lines that it said',
    async () => {
      const one = await made(`${forks()}\nprint('epoch 1 of 9', flush=True)\ntime.sleep(600)`, { timeMs: LIMIT_MS });
      const outcome = failed(await run(one));
      expect(outcome).toMatchObject({ cause: 'time' });
      expect(outcome).toMatchObject({ reason: 'the trainer was ended at its limit of 10 s', log: 'epoch 1 of 9' });
      await allEnded(await one.pids(3));
    },
    TIMEOUT_MS,
  );

  it(
    'of time, also when it ignores SIGTERM',
    async () => {
      const one = await made(`signal.signal(signal.SIGTERM, signal.SIG_IGN)\n${forks()}\ntime.sleep(600)`, {
        timeMs: LIMIT_MS,
      });
      const fromMs = performance.now();
      expect(failed(await run(one)).cause).toBe('time');
      expect(performance.now() - fromMs).toBeLessThan(ENDED_MS);
      await allEnded(await one.pids(3));
    },
    TIMEOUT_MS,
  );

  it(
    'of time, after it was told to stop by SIGTERM and could write a checkpoint',
    async () => {
      const one = await made(
        `def stop(*_):\n    open('checkpoint', 'w').write('kept')\n    sys.exit(0)\nsignal.signal(signal.SIGTERM, stop)\n${WRITE_PID}\ntime.sleep(600)`,
        { timeMs: LIMIT_MS },
      );
      expect(failed(await run(one)).cause).toBe('time');
      expect(await one.read('checkpoint')).toBe('kept');
    },
    TIMEOUT_MS,
  );

  it(
    'of memory, its own and that of its children together',
    async () => {
      const eat = "b = bytearray(150 * 2**20); b[::4096] = b'x' * len(b[::4096]); import time; time.sleep(600)";
      const one = await made(
        `for _ in range(2):\n    child = subprocess.Popen([sys.executable, '-c', "${eat}"])\n    open('pids', 'a').write(f'{child.pid}\\n')\n${WRITE_PID}\ntime.sleep(600)`,
        { memoryBytes: 200 * MIB },
      );
      const outcome = failed(await run(one));
      expect(outcome).toMatchObject({ cause: 'memory' });
      expect(outcome.reason).toContain('limit of 200 MiB');
      await allEnded(await one.pids(3));
    },
    TIMEOUT_MS,
  );

  it(
    'and so is a child that left its group and keeps its output open: the answer does not wait for it',
    async () => {
      const one = await made(`${forks(', start_new_session=True')}\ntime.sleep(600)`, { timeMs: LIMIT_MS });
      const fromMs = performance.now();
      expect(failed(await run(one)).cause).toBe('time');
      expect(performance.now() - fromMs).toBeLessThan(ENDED_MS);
      await allEnded(await one.pids(3));
    },
    TIMEOUT_MS,
  );

  it(
    'when the run is cancelled',
    async () => {
      const one = await made(`signal.signal(signal.SIGTERM, signal.SIG_IGN)\n${forks()}\ntime.sleep(600)`);
      const controller = new AbortController();
      const running = run(one, process.env, controller.signal);
      const pids = await one.pids(3);
      controller.abort(new Error('cancelled by a test'));
      await expect(running).rejects.toThrow('cancelled by a test');
      await allEnded(pids);
    },
    TIMEOUT_MS,
  );

  it(
    'when its worker is killed',
    async () => {
      const one = await made(`signal.signal(signal.SIGTERM, signal.SIG_IGN)\n${forks()}\ntime.sleep(600)`);
      const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx/esm')).href;
      const script = new URL('../support/e2e-worker-with-trainer.ts', import.meta.url).pathname;
      const worker = spawn(process.execPath, ['--import', tsx, script], {
        env: { ...process.env, REQUEST: JSON.stringify({ python: inject('pythonPath'), request: one.request }) },
        stdio: 'ignore',
      });
      const pids = await one.pids(3);
      expect(pids.every(isAlive)).toBe(true);
      worker.kill('SIGKILL');
      await allEnded(pids);
    },
    TIMEOUT_MS,
  );

  it(
    'and nothing that it left behind outlives its own good end',
    async () => {
      const one = await made(forks());
      expect(await run(one)).toMatchObject({ status: 'done' });
      await allEnded(await one.pids(3));
    },
    TIMEOUT_MS,
  );
});

describe('a trainer that fails says why', () => {
  it(
    'by its exit code and last lines',
    async () => {
      const outcome = failed(await run(await made("print('noise\\n' * 50)\nsys.exit('the column soil is missing')")));
      expect(outcome).toMatchObject({ cause: 'exit', reason: 'the trainer exited with 1' });
      expect(outcome.log).toMatch(/^(noise\n|\n)+the column soil is missing$/);
      expect(outcome.log.split('\n').length).toBeLessThan(15);
    },
    TIMEOUT_MS,
  );

  it(
    'by the signal that ended it',
    async () => {
      const outcome = failed(await run(await made('os.kill(os.getpid(), signal.SIGSEGV)')));
      expect(outcome).toMatchObject({ cause: 'signal' });
      expect(outcome.reason).toContain('SIGSEGV');
    },
    TIMEOUT_MS,
  );

  it(
    'where its command is not there',
    async () => {
      const one = await made('');
      const { command } = one.request;
      const folder = 'folder' in command ? command.folder : '';
      const outcome = failed(
        await run({ ...one, request: { ...one.request, command: { argv: ['no-such-command'], folder } } }),
      );
      expect(outcome).toMatchObject({ cause: 'start' });
      expect(outcome.reason).toMatch(/could not be started: .*no-such-command/);
    },
    TIMEOUT_MS,
  );

  it.each([
    ['NaN', '{"step": 1, "name": "loss", "value": NaN}'],
    ['Infinity', '{"step": 1, "name": "loss", "value": Infinity}'],
    ['1e999', '{"step": 1, "name": "loss", "value": 1e999}'],
    ['a text', '{"step": 1, "name": "loss", "value": "0.1"}'],
    ['a line cut off', '{"step": 1, "name": "lo'],
  ])(
    'whose metrics hold %s, though it exits 0',
    async (_name, line) => {
      const one = await made(
        `out = json.load(open(os.environ['REFIT_SPEC']))['output']\nopen(out + '/metrics.jsonl', 'w').write('{"step": 0, "name": "loss", "value": 0.5}\\n' + ${JSON.stringify(line)} + '\\n')`,
      );
      await writeFile(one.request.specPath, JSON.stringify(one.request.spec));
      const outcome = failed(await run(one));
      expect(outcome).toMatchObject({ cause: 'exit' });
      expect(outcome.reason).toMatch(/^metrics\.jsonl line 2 is /);
      expect(outcome.log).toBe(line);
    },
    TIMEOUT_MS,
  );

  it(
    'and one that says a great deal does not fill the memory of the worker',
    async () => {
      const outcome = await run(await made("for _ in range(2000): print('x' * 10000)\nprint('the end')"));
      expect(outcome).toMatchObject({ status: 'done' });
      const log = outcome.status === 'done' ? outcome.log : '';
      expect(log.length).toBeLessThan(20_000);
      expect(log.trimEnd().endsWith('the end')).toBe(true);
    },
    TIMEOUT_MS,
  );
});

describe('what a trainer gets to know', () => {
  const SEEN = "json.dump(dict(os.environ), open('environment.json', 'w'))";
  const rich = {
    ...process.env,
    SLACK_WEBHOOK_URL: 'https://example.test/secret',
    AWS_SECRET_ACCESS_KEY: 'secret',
    REFIT_DATABASE_URL: 'file:/secret.db',
    LD_PRELOAD: '/tmp/none.so',
    NODE_OPTIONS: '--max-old-space-size=4000',
    PYTHONSTARTUP: '/tmp/none.py',
    WANTED: 'yes',
  };

  it(
    'is only what its definition names: no secret, no LD_PRELOAD, no NODE_OPTIONS',
    async () => {
      const one = await made(SEEN, { environment: ['WANTED', 'NOT_SET_AT_ALL'] });
      expect(await run(one, rich)).toMatchObject({ status: 'done' });
      const seen = JSON.parse(await one.read('environment.json')) as Record<string, string>;
      expect(seen).toMatchObject({ WANTED: 'yes', REFIT_SPEC: one.request.specPath });
      expect(JSON.stringify(seen)).not.toContain('secret');
      const known =
        /^(PATH|LANG|LC_CTYPE|TMPDIR|HOME|PYTHON(PATH|DONTWRITEBYTECODE|HASHSEED)|OMP_NUM_THREADS|GOMP_SPINCOUNT|OPENBLAS_NUM_THREADS|WANTED|REFIT_SPEC)$/;
      expect(Object.keys(seen).filter((name) => !known.test(name))).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it(
    'cannot be another spec than its own, whatever its definition passes through',
    async () => {
      const one = await made(SEEN, { environment: ['REFIT_SPEC'] });
      await run(one, { ...rich, REFIT_SPEC: '/etc/passwd' });
      expect(JSON.parse(await one.read('environment.json'))).toMatchObject({ REFIT_SPEC: one.request.specPath });
    },
    TIMEOUT_MS,
  );

  it.each([['LD_PRELOAD'], ['NODE_OPTIONS']])(
    'does not get %s into the process that guards it, even where a definition names it',
    async (name) => {
      const marker = join(root, `guard-${name}`);
      const script = join(root, 'preload.cjs');
      await writeFile(script, `require('node:fs').writeFileSync(${JSON.stringify(marker)}, '')`);
      const one = await made('', { environment: [name] });
      await run(one, { ...process.env, [name]: name === 'NODE_OPTIONS' ? `--require ${script}` : '/nowhere/none.so' });
      expect(existsSync(marker)).toBe(false);
    },
    TIMEOUT_MS,
  );

  it(
    'holds its arguments as they were written: no shell reads them',
    async () => {
      const args = [
        '; touch injected',
        '$(touch injected)',
        '`touch injected`',
        '&& touch injected',
        '*',
        '$HOME',
        "it's",
      ];
      const one = await made("json.dump(sys.argv[1:], open('arguments.json', 'w'))", { args });
      expect(await run(one)).toMatchObject({ status: 'done' });
      expect(JSON.parse(await one.read('arguments.json'))).toEqual(args);
      expect(existsSync(join('folder' in one.request.command ? one.request.command.folder : '', 'injected'))).toBe(
        false,
      );
    },
    TIMEOUT_MS,
  );
});
