/** Runs trainers as processes on this machine, in a clean environment, under the guard's limits. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { TrainerOutcome, TrainerRequest, TrainerRunner } from '../../ports/trainer.ts';
import type { GuardResult } from './guard.ts';
import { MetricsTail } from './metrics-tail.ts';

export interface ProcessTrainerOptions {
  /** Interpreter of Refit's own Python environment. */
  readonly python: string;
  /** Folder with the package refit_trainers. */
  readonly trainersFolder: string;
  readonly environment: NodeJS.ProcessEnv;
}

type TrainerFailure = Extract<TrainerOutcome, { status: 'failed' }>;

const LOG_LINES = 12;
const LOG_BYTES = 16_384;
const POLL_MS = 500;
/** What is still in the pipes when the guard has ended is read within this time. */
const LAST_OUTPUT_MS = 1_000;

/** The end of what a process says, bounded. */
class LogTail {
  #text = '';
  add(chunk: Buffer): void {
    this.#text = (this.#text + chunk.toString('utf8')).slice(-LOG_BYTES);
  }
  get text(): string {
    return this.#text;
  }
  get lines(): string {
    return this.#text.trim().split('\n').slice(-LOG_LINES).join('\n');
  }
}

function failure(result: GuardResult, request: TrainerRequest, log: string): TrainerOutcome {
  const failed = (cause: TrainerFailure['cause'], reason: string): TrainerFailure => ({
    ...{ status: 'failed', cause, log },
    reason: log === '' && cause !== 'start' ? `${reason}; it wrote nothing` : reason,
  });
  switch (result.cause) {
    case 'time':
      return failed('time', `the trainer was ended at its limit of ${request.timeMs / 1000} s`);
    case 'memory':
      return failed('memory', `the trainer was ended at its limit of ${Math.round(request.memoryBytes / 2 ** 20)} MiB`);
    case 'start':
      return failed('start', `the trainer could not be started: ${result.detail}`);
    case 'signal':
    case 'stopped':
      return failed('signal', `the trainer was ended by ${result.signal ?? 'a signal'}`);
    case 'exit':
      return failed('exit', `the trainer exited with ${result.code}`);
  }
}

function readResult(guard: ChildProcess): Promise<GuardResult | undefined> {
  const stream = guard.stdio[3];
  if (!stream || !('on' in stream)) throw new Error('the guard has no result channel');
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
  });
  return new Promise((resolve, reject) => {
    const finish = (): void => {
      for (const one of [guard.stdout, guard.stderr]) one?.destroy();
      resolve(text === '' ? undefined : (JSON.parse(text) as GuardResult));
    };
    guard.on('error', reject);
    guard.on('close', finish);
    // 'close' waits for all who hold the output, so also for a process that the trainer let loose; its end does not.
    guard.on('exit', () => setTimeout(finish, LAST_OUTPUT_MS).unref());
  });
}

export function createProcessTrainer(options: ProcessTrainerOptions): TrainerRunner {
  const guardPath = fileURLToPath(
    new URL('./guard.js', import.meta.url).href
      .replace('/src/adapters/', '/dist/src/adapters/')
      .replace('/dist/dist/', '/dist/'),
  );

  function argvOf(command: TrainerRequest['command']): readonly string[] {
    if ('trainer' in command) return [options.python, '-m', `refit_trainers.${command.trainer}`];
    const [first = '', ...rest] = command.argv;
    return [first === 'python' || first === 'python3' ? options.python : first, ...rest];
  }

  function environmentOf(request: TrainerRequest): NodeJS.ProcessEnv {
    const threads = String(request.spec.threads);
    const passed = Object.fromEntries(
      request.environment.flatMap((name) =>
        options.environment[name] === undefined ? [] : [[name, options.environment[name]]],
      ),
    );
    return {
      PATH: options.environment.PATH,
      LANG: 'C.UTF-8',
      TMPDIR: dirname(request.specPath),
      HOME: dirname(request.specPath),
      PYTHONPATH: options.trainersFolder,
      PYTHONDONTWRITEBYTECODE: '1',
      PYTHONHASHSEED: String(request.spec.seed % 4_294_967_295),
      OMP_NUM_THREADS: threads,
      OPENBLAS_NUM_THREADS: threads,
      // How long a thread of libgomp spins while it waits for the others, before it sleeps. Spinning on, by default, takes the core from what they, and
      // serving, need: beside other work LightGBM took 35 to 55 s for what takes 2 s so. Sleeping at once costs four times as much on an idle machine.
      GOMP_SPINCOUNT: '20000',
      ...passed,
      REFIT_SPEC: request.specPath,
    };
  }

  return {
    async run(request: TrainerRequest): Promise<TrainerOutcome> {
      const startedAt = performance.now();
      const limits = JSON.stringify({ timeMs: request.timeMs, memoryBytes: request.memoryBytes });
      const guard = spawn(process.execPath, [guardPath, limits, ...argvOf(request.command)], {
        cwd: 'folder' in request.command ? request.command.folder : dirname(request.specPath),
        env: {
          PATH: options.environment.PATH,
          REFIT_TRAINER_ENVIRONMENT: JSON.stringify(environmentOf(request)),
        },
        stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      });
      const log = new LogTail();
      guard.stdout?.on('data', (chunk: Buffer) => log.add(chunk));
      guard.stderr?.on('data', (chunk: Buffer) => log.add(chunk));
      const tail = new MetricsTail(join(request.spec.output, 'metrics.jsonl'), request.onProgress);
      const poll = setInterval(() => tail.poll(), POLL_MS);
      const stop = (): void => {
        guard.kill('SIGTERM');
      };
      request.signal.addEventListener('abort', stop, { once: true });
      if (request.signal.aborted) stop();
      try {
        const result = await readResult(guard);
        if (request.signal.aborted) throw request.signal.reason;
        if (!result)
          return { status: 'failed', cause: 'signal', reason: "the trainer's guard was killed", log: log.lines };
        if (result.cause !== 'exit' || result.code !== 0) return failure(result, request, log.lines);
        await tail.finish();
        if (tail.problem !== null) return { status: 'failed', cause: 'exit', ...tail.problem };
        return {
          status: 'done',
          seconds: Math.round(performance.now() - startedAt) / 1000,
          metrics: tail.last,
          log: log.text,
        };
      } finally {
        clearInterval(poll);
        request.signal.removeEventListener('abort', stop);
      }
    },

    async environment(command) {
      const lock = await readFile(join(options.trainersFolder, 'requirements.lock'), 'utf8');
      const names = ['lightgbm', 'scikit-learn', 'onnx', 'onnxmltools', 'skl2onnx', 'numpy'];
      const pinned = names.flatMap((name) => {
        const found = new RegExp(`^${name}==([^ \\\\]+)`, 'm').exec(lock)?.[1];
        return found ? [[name, found] as const] : [];
      });
      const { stdout } = await promisify(execFile)(options.python, ['--version']);
      return {
        python: stdout.trim().replace('Python ', ''),
        platform: `${process.platform}-${process.arch}`,
        command: 'trainer' in command ? command.trainer : command.argv.join(' '),
        ...Object.fromEntries(pinned),
      };
    },
  };
}
