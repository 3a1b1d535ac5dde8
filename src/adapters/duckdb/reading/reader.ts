/** Converts files in processes of their own, each bounded in time and memory (process.ts). */
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ConvertedFile, type ConvertRequest, DataProblem } from '../../../ports/data.ts';
import type { ReadAnswer, ReadOrder } from './process.ts';

export interface ReaderOptions {
  /** Most bytes of a file, uncompressed. @default 50 GiB */
  readonly maxBytes?: number;
  /** For small files; large ones have MS_PER_MIB more. @default 60_000 */
  readonly timeMs?: number;
}

const GIB = 2 ** 30;
const MIB = 2 ** 20;
export const DATA_MAX_BYTES = 50 * GIB;
const TIME_MS = 60_000;
/** Slower than this reads no machine that works. */
const MS_PER_MIB = 2_000;
/** DuckDB spills beyond it; it does not count all that it takes. */
const DUCKDB_MIB = 512;
/** Resident memory of the process, all in all. */
const MEMORY_BYTES = 1_000 * MIB;
const POLL_MS = 100;
const PAGE_BYTES = 4_096;
const NODE_HEAP_MIB = 128;
/** Files at once: each may take MEMORY_BYTES. */
const PROCESSES = 2;
/** A process is replaced after this many files: what leaks in a native reader ends with it. */
const FILES_PER_PROCESS = 200;
const IDLE_MS = 5_000;
const LOG_BYTES = 2_000;

const PROCESS_PATH = fileURLToPath(
  new URL('./process.js', import.meta.url).href
    .replace('/src/adapters/', '/dist/src/adapters/')
    .replace('/dist/dist/', '/dist/'),
);

type Ending =
  | { readonly kind: 'answer'; readonly answer: ReadAnswer }
  | { readonly kind: 'time' | 'memory' }
  | { readonly kind: 'ended'; readonly how: string; readonly isCrash: boolean };

/** Signals by which a process ends itself. Another one came from outside: that says nothing of the file. */
const CRASHES: readonly string[] = ['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP'];

/** In bytes; 0 where the system does not say. */
async function residentBytes(pid: number): Promise<number> {
  try {
    const [, pages] = (await readFile(`/proc/${pid}/statm`, 'utf8')).split(' ');
    return Number(pages) * PAGE_BYTES;
  } catch {
    // It has ended, or there is no /proc: then time is the bound.
    return 0;
  }
}

class ReadingProcess {
  readonly #child: ChildProcess;
  #log = '';
  #files = 0;
  #idle: NodeJS.Timeout | undefined;

  constructor() {
    if (!existsSync(PROCESS_PATH))
      throw new Error(`${PROCESS_PATH} is not there: npm run build makes the process that reads files`);
    this.#child = fork(PROCESS_PATH, [], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      execArgv: [`--max-old-space-size=${NODE_HEAP_MIB}`],
      // One arena of glibc's malloc: with one for each thread what DuckDB frees stays with the process, half as much again as it uses, and a file of 10 GB
      // went over the limit.
      env: { LANG: 'C.UTF-8', TZ: 'UTC', MALLOC_ARENA_MAX: '1' },
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#log = (this.#log + chunk.toString('utf8')).slice(-LOG_BYTES);
    });
    // Without a listener it would be thrown; 'exit' or the answer that never comes tell it to whoever waits.
    this.#child.on('error', (error) => {
      this.#log += error.message;
    });
  }

  get isUsable(): boolean {
    return this.#child.connected && this.#child.exitCode === null && this.#files < FILES_PER_PROCESS;
  }

  end(): void {
    clearTimeout(this.#idle);
    this.#child.kill('SIGKILL');
  }

  /** Kept for the next file for a while, without keeping this process from its end. */
  rest(onEnd: () => void): void {
    this.#child.unref();
    this.#child.channel?.unref();
    const { stderr } = this.#child;
    if (stderr instanceof Socket) stderr.unref();
    this.#idle = setTimeout(() => {
      this.end();
      onEnd();
    }, IDLE_MS);
    this.#idle.unref();
  }

  async read(order: ReadOrder, timeMs: number): Promise<Ending> {
    clearTimeout(this.#idle);
    this.#files += 1;
    const child = this.#child;
    child.ref();
    child.channel?.ref();
    let limit: 'time' | 'memory' | undefined;
    const stop = (why: 'time' | 'memory'): void => {
      limit ??= why;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(() => stop('time'), timeMs);
    const memory = setInterval(() => {
      if (child.pid !== undefined)
        void residentBytes(child.pid).then((bytes) => {
          if (bytes > MEMORY_BYTES) stop('memory');
        });
    }, POLL_MS);
    try {
      return await new Promise<Ending>((resolve) => {
        child.once('message', (answer: ReadAnswer) => resolve({ kind: 'answer', answer }));
        child.once('exit', (code, signal) => {
          if (limit !== undefined) return resolve({ kind: limit });
          // 134 and 139: a shell's way to tell a signal; V8 ends with 133 or 134 where its heap is full.
          const isCrash = CRASHES.includes(signal ?? '') || (code !== null && code > 128);
          resolve({ kind: 'ended', how: `${signal ?? `exit code ${code}`} ${this.#log.trim()}`.trim(), isCrash });
        });
        child.send(order, (error) => {
          if (error && child.exitCode === null) resolve({ kind: 'ended', how: error.message, isCrash: false });
        });
      });
    } finally {
      clearTimeout(timer);
      clearInterval(memory);
      child.removeAllListeners('message');
      child.removeAllListeners('exit');
    }
  }
}

export type Convert = (input: ConvertRequest) => Promise<ConvertedFile>;

/** One for a part: its processes are shared by all files that the part reads. */
export function createReader(options: ReaderOptions = {}): Convert {
  const idle: ReadingProcess[] = [];
  const waiting: (() => void)[] = [];
  let running = 0;
  const limits = {
    maxBytes: options.maxBytes ?? DATA_MAX_BYTES,
    session: { memoryMiB: DUCKDB_MIB },
  };

  function take(): ReadingProcess {
    for (let one = idle.pop(); one !== undefined; one = idle.pop()) {
      if (one.isUsable) return one;
      one.end();
    }
    return new ReadingProcess();
  }
  function giveBack(one: ReadingProcess): void {
    if (!one.isUsable) {
      one.end();
      return;
    }
    idle.push(one);
    one.rest(() => {
      const at = idle.indexOf(one);
      if (at !== -1) idle.splice(at, 1);
    });
  }

  async function readOnce(input: ConvertRequest, timeMs: number): Promise<Ending> {
    const one = take();
    let isFit = false;
    try {
      const ending = await one.read({ input, limits }, timeMs);
      isFit = ending.kind === 'answer';
      return ending;
    } finally {
      if (isFit) giveBack(one);
      else one.end();
    }
  }

  function resultOf(ending: Ending, { format, name = 'the file' }: ConvertRequest, timeMs: number): ConvertedFile {
    const what = `${name} cannot be read as ${format}:`;
    switch (ending.kind) {
      case 'answer': {
        const { answer } = ending;
        if ('done' in answer) return answer.done;
        if ('fault' in answer) throw new Error(`${what} ${answer.fault}`);
        const { check, message, column, examples } = answer.problem;
        throw new DataProblem(check, message, column, examples);
      }
      case 'time':
        throw new DataProblem(
          'time',
          `${what} it took longer than ${Math.round(timeMs / 1_000)} s, twice; it is damaged, or too intricate`,
        );
      case 'memory':
        throw new DataProblem(
          'memory',
          `${what} it takes more than ${Math.round(MEMORY_BYTES / MIB)} MiB of memory; write smaller row groups, shorter lines or several files`,
        );
      case 'ended':
        if (!ending.isCrash) throw new Error(`the process that reads files has ended (${ending.how})`);
        throw new DataProblem(
          'unreadable',
          `${what} it brings its reader down (${ending.how.split(/\s/)[0]}), so it is damaged or nested too deeply; write it anew`,
        );
    }
  }

  return async (given) => {
    const input = { ...given, name: given.name ?? basename(given.path) };
    const { size } = await stat(input.path);
    const timeMs = (options.timeMs ?? TIME_MS) + (size / MIB) * MS_PER_MIB;
    if (running >= PROCESSES) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      const ending = await readOnce(input, timeMs);
      // Once more in a new process: a machine that stood still, or another file before it, is not this file's fault.
      const isCertain = ending.kind === 'answer' || ending.kind === 'memory';
      return resultOf(isCertain ? ending : await readOnce(input, timeMs), input, timeMs);
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}
