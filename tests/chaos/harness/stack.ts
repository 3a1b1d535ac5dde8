/** The real stack of one chaos run: servers and parts as processes of their own, which the driver may kill, stop and start again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, closeSync, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type RunningChild, stopProcess } from '../../../src/local/child.ts';
import { kafkaUnit } from '../../../src/local/kafka.ts';
import type { TestTools } from '../../../src/local/setup/index.ts';
import { temporalUnit } from '../../../src/local/temporal.ts';
import { type StackUnit, startUnit } from '../../../src/local/unit.ts';
import type { Settings } from '../../../src/settings/types.ts';
import { type Failpoint, nameOf } from '../parts/failpoints.ts';

const TSX = pathToFileURL(createRequire(import.meta.url).resolve('tsx/esm')).href;
const script = (name: string): string => fileURLToPath(new URL(`../parts/${name}.ts`, import.meta.url));
const REFIT = fileURLToPath(new URL('../../../bin/refit.js', import.meta.url));
const DUCKDB = fileURLToPath(new URL('../../../node_modules/@duckdb/node-api', import.meta.url));

/** After so many events Temporal suggests to continue as new: low, so that it happens in each run. */
const HISTORY_EVENTS = 400;
const RESTART_MS = 200;

export type PartKind = 'gateway' | 'worker' | 'serve';

/** One part, started again whenever it ends. */
export class Part {
  #child: ChildProcess | null = null;
  #ended: Promise<void> = Promise.resolve();
  #stopping = false;
  #armed: Failpoint[] = [];
  starts = 0;
  /** Ended by a failpoint, not by the driver. */
  failpointKills = 0;
  #killedByDriver = false;

  constructor(
    readonly name: string,
    readonly kind: PartKind,
    readonly env: NodeJS.ProcessEnv,
    readonly home: string,
    /** Failpoints for the next process, besides those that have not fired. */
    readonly arm: () => readonly Failpoint[],
  ) {}

  get pid(): number | undefined {
    return this.#child?.exitCode === null && this.#child.signalCode === null ? this.#child.pid : undefined;
  }

  start(): void {
    const fired = join(this.home, 'fired');
    this.#armed = [...this.#armed.filter((point) => !existsSync(join(fired, nameOf(point)))), ...this.arm()];
    const log = openSync(join(this.home, 'logs', `${this.name}.log`), 'a');
    const command = this.kind === 'serve' ? [REFIT, 'serve'] : ['--import', TSX, script(this.kind)];
    const child = spawn(process.execPath, command, {
      cwd: this.home,
      env: { ...this.env, CHAOS_FIRED: fired, CHAOS_FAILPOINTS: JSON.stringify(this.#armed) },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.starts += 1;
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        if (signal === 'SIGKILL' && !this.#killedByDriver) this.failpointKills += 1;
        this.#killedByDriver = false;
        if (!this.#stopping) appendFileSync(join(this.home, 'logs', 'ends.log'), `${this.name} ${code} ${signal}\n`);
        resolve();
        if (!this.#stopping) void sleep(RESTART_MS).then(() => this.#stopping || this.start());
      });
    });
  }

  signal(name: NodeJS.Signals): boolean {
    if (this.pid === undefined) return false;
    if (name === 'SIGKILL') this.#killedByDriver = true;
    return this.#child?.kill(name) ?? false;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.signal('SIGCONT');
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), 15_000);
    await this.#ended;
    clearTimeout(timer);
  }
}

/** Kafka or Temporal, killed and started again on the same folder. */
export class Server {
  #child: RunningChild | null = null;
  constructor(readonly unit: StackUnit) {}

  async start(): Promise<void> {
    // Right after a kill its port may not be free yet; a start that fails is tried again.
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.#child = (await startUnit(this.unit)).child;
        return;
      } catch (error) {
        if (attempt === 5) throw error;
        await sleep(1_000);
      }
    }
  }
  async restart(): Promise<void> {
    await this.stop(true);
    await this.start();
  }
  kill(): void {
    if (this.#child !== null) process.kill(this.#child.identity.pid, 'SIGKILL');
  }
  async stop(hard = false): Promise<void> {
    if (this.#child === null) return;
    if (hard) this.kill();
    await stopProcess(this.#child.identity);
    this.#child = null;
  }
}

export interface StackOptions {
  readonly settings: Settings;
  readonly env: NodeJS.ProcessEnv;
  readonly tools: TestTools;
  readonly workers: number;
  readonly gateway: boolean;
  readonly serve: boolean;
  readonly ownServers: boolean;
  readonly failpoints: (kind: PartKind) => readonly Failpoint[];
}

export class ChaosStack {
  readonly parts: readonly Part[];
  readonly kafka: Server | null;
  readonly temporal: Server | null;
  readonly registryFile: string;

  constructor(readonly options: StackOptions) {
    const { settings, tools, env } = options;
    const { home } = settings;
    for (const folder of ['logs', 'fired']) mkdirSync(join(home, folder), { recursive: true });
    this.registryFile = join(home, 'refit.db');
    const machine = process.env;
    const temporal = temporalUnit({ settings, executable: tools.temporalCli, env: machine });
    const eager: StackUnit = {
      ...temporal,
      prepare: async () => {
        const spec = await temporal.prepare();
        const limit = ['--dynamic-config-value', `limit.historyCount.suggestContinueAsNew=${HISTORY_EVENTS}`];
        return { ...spec, command: [...spec.command, ...limit] };
      },
    };
    this.temporal = options.ownServers ? new Server(eager) : null;
    const tool = { kind: 'java', libFolder: tools.kafkaLibFolder, detail: '' } as const;
    this.kafka = options.ownServers ? new Server(kafkaUnit({ settings, tool, env: machine })) : null;
    const partEnv = {
      PATH: machine.PATH,
      HOME: machine.HOME,
      ...env,
      CHAOS_PYTHON: tools.python,
      CHAOS_DUCKDB: DUCKDB,
    };
    const kinds: readonly (readonly [string, PartKind])[] = [
      ...(options.gateway ? [['gateway', 'gateway'] as const] : []),
      ...Array.from({ length: options.workers }, (_, index) => [`worker${index + 1}`, 'worker'] as const),
      ...(options.serve ? [['serve', 'serve'] as const] : []),
    ];
    this.parts = kinds.map(([name, kind]) => new Part(name, kind, partEnv, home, () => options.failpoints(kind)));
  }

  async start(): Promise<void> {
    // A run that is ended from outside leaves nothing behind that runs on.
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, this.#abandon);
    await Promise.all([this.temporal?.start(), this.kafka?.start()]);
    for (const part of this.parts) part.start();
  }

  of(kind: PartKind): readonly Part[] {
    return this.parts.filter((part) => part.kind === kind);
  }

  readonly #abandon = (): void => {
    for (const part of this.parts) part.signal('SIGKILL');
    for (const server of [this.kafka, this.temporal]) server?.kill();
    process.exit(130);
  };

  /** From now on no failpoint fires. */
  disarm(): void {
    writeFileSync(join(this.options.settings.home, 'fired', 'disarmed'), '');
  }

  async stop(): Promise<void> {
    await Promise.all(this.parts.map((part) => part.stop()));
    await this.stopServers();
  }
  async stopServers(): Promise<void> {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.off(name, this.#abandon);
    await this.kafka?.stop();
    await this.temporal?.stop();
  }
}
