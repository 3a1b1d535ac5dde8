/** Keeps one unit running: starts it again when it ends, with a growing pause, until it is told to stop. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningChild } from './child.ts';
import { removePidFile, stopProcess } from './child.ts';
import { type StackUnit, startUnit } from './unit.ts';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;
/** Healthy for so long, and the next crash is a new story: the pause starts small again. */
const HEALTHY_MS = 30_000;

export class Supervised {
  readonly unit: StackUnit;
  readonly #home: string;
  readonly #log: (line: string) => void;
  readonly #stopping = new AbortController();
  #child: RunningChild | undefined;
  #watching: Promise<void> = Promise.resolve();

  constructor(unit: StackUnit, home: string, log: (line: string) => void) {
    this.unit = unit;
    this.#home = home;
    this.#log = log;
  }

  /** The first start must succeed: a stack that cannot come up says so instead of trying for ever. */
  async start(): Promise<void> {
    await this.#startOnce();
    this.#watching = this.#watch();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    // Also in the middle of a start: ending the child makes that start fail and the watcher return.
    if (this.#child !== undefined) await stopProcess(this.#child.identity);
    await this.#watching;
    if (this.#child !== undefined) await stopProcess(this.#child.identity);
    await removePidFile(this.#home, this.unit.name);
  }

  async #startOnce(): Promise<void> {
    await startUnit(this.unit, (child) => {
      this.#child = child;
    });
  }

  async #watch(): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS;
    for (;;) {
      const startedMs = Date.now();
      const how = await this.#child?.exited;
      if (this.#stopping.signal.aborted) return;
      if (Date.now() - startedMs >= HEALTHY_MS) pauseMs = FIRST_PAUSE_MS;
      this.#log(`${this.unit.name} ended with ${how}; starting it again in ${pauseMs} ms`);
      for (let up = false; !up; ) {
        await sleep(pauseMs, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
        if (this.#stopping.signal.aborted) return;
        pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
        up = await this.#tryStart(pauseMs);
      }
      this.#log(`${this.unit.name} is ready again (process ${this.#child?.identity.pid})`);
    }
  }

  async #tryStart(nextPauseMs: number): Promise<boolean> {
    try {
      await this.#startOnce();
      return true;
    } catch (error) {
      if (this.#stopping.signal.aborted) return false;
      const reason = error instanceof Error ? error.message : String(error);
      this.#log(`${this.unit.name} did not start; trying again in ${nextPauseMs} ms: ${reason}`);
      return false;
    }
  }
}
