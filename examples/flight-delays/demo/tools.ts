/** What the story is played with: the CLI as a process, waiting for a condition, progress on stderr. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The project root: this file is at dist/examples/flight-delays/demo/. */
export const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `refit ARGS`. Does not throw: an exit code of 1 is an answer. */
export function cli(home: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [`${ROOT}bin/refit.js`, ...args], {
      env: { ...env, REFIT_HOME: home },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString('utf8');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString('utf8');
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? 1, stdout, stderr }));
  });
}

export class StoryError extends Error {
  override readonly name = 'StoryError';
}

/** For a machine that does much else: what cannot come any more is told at once, not after this. */
const PATIENCE_MS = 300_000;

/** Asks until the answer is not null. */
export async function until<T>(what: string, ask: () => Promise<T | null>, timeoutMs = PATIENCE_MS): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null) return answer;
    if (Date.now() > deadline) throw new StoryError(`${what}: not within ${timeoutMs / 1000} s`);
    await sleep(200);
  }
}

export interface TimedStep {
  readonly name: string;
  readonly seconds: number;
}

/** Steps with their seconds, and what happens in them. */
export class Progress {
  readonly steps: TimedStep[] = [];
  readonly #startedAt = performance.now();

  get seconds(): number {
    return Math.round((performance.now() - this.#startedAt) / 100) / 10;
  }
  say(text: string): void {
    process.stderr.write(`[${this.seconds.toFixed(1).padStart(6)} s] ${text}\n`);
  }
  async step<T>(name: string, work: () => Promise<T>): Promise<T> {
    const from = this.seconds;
    process.stderr.write(`\n${name}\n`);
    const result = await work();
    this.steps.push({ name, seconds: Math.round((this.seconds - from) * 10) / 10 });
    return result;
  }
}
