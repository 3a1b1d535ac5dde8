/**
 * The supervisor: starts what is not already configured and then the parts, keeps them running, and stops them in reverse
 * order. It keeps no state that matters: killed, it leaves parts that run on and pid files by which `down` finds them.
 */
import { appendFileSync, mkdirSync } from 'node:fs';
import type { Settings } from '../settings/types.ts';
import { readLivePid, removePidFile, writePidFile } from './child.ts';
import { StackError } from './errors.ts';
import { logFile, runFolder } from './home.ts';
import { kafkaUnit } from './kafka.ts';
import { stopLeftovers } from './leftovers.ts';
import { defaultParts, type PartSpec, partEnvironment, partUnit } from './parts.ts';
import { assertPortFree } from './ports.ts';
import { checkKafka, prepareTemporal } from './probes.ts';
import { identify } from './process-identity.ts';
import { ensureStackTools, type StackTools, setupContext } from './setup/index.ts';
import { withLock } from './setup/lock.ts';
import { type StackState, writeState } from './state.ts';
import { Supervised } from './supervised.ts';
import { temporalUnit } from './temporal.ts';
import type { StackUnit } from './unit.ts';
import { waitFor } from './wait.ts';

export interface SupervisorOptions {
  readonly progress: (line: string) => void;
  /** Called once everything is ready. */
  readonly onReady?: (state: StackState) => void;
  /** Stops the stack, as SIGTERM and SIGINT do. */
  readonly signal?: AbortSignal;
  /** Tests give trivial parts, and tools that they have already. */
  readonly parts?: readonly PartSpec[];
  readonly tools?: StackTools;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs until it is told to stop; resolves once everything has stopped. Throws when the stack cannot start. */
export async function runSupervisor(settings: Settings, options: SupervisorOptions): Promise<void> {
  const { home } = settings;
  const stop = stopSignal(options.signal);
  const log = supervisorLog(home, options.progress);
  const running: Supervised[] = [];
  try {
    // One start at a time in a home: the second finds the first one's supervisor, not a half-started stack.
    await withLock(`${runFolder(home)}/up.lock`, () =>
      startAll(settings, options, { running, log, stop: stop.signal }),
    );
    if (!stop.signal.aborted) await new Promise((resolve) => stop.signal.addEventListener('abort', resolve));
    log(`stopping (${String(stop.signal.reason)})`);
  } finally {
    for (const unit of running.toReversed()) {
      await unit.stop();
      log(`${unit.unit.name} stopped`);
    }
    stop.release();
    if ((await readLivePid(home, 'supervisor'))?.pid === process.pid) await removePidFile(home, 'supervisor');
  }
}

interface Running {
  readonly running: Supervised[];
  readonly log: (line: string) => void;
  readonly stop: AbortSignal;
}

async function startAll(settings: Settings, options: SupervisorOptions, { running, log, stop }: Running) {
  const { home } = settings;
  const other = await readLivePid(home, 'supervisor');
  if (other !== undefined) {
    throw new StackError(`The stack in ${home} is up already (supervisor ${other.pid}). Use refit down to stop it`);
  }
  const self = await identify(process.pid);
  if (self === undefined) throw new StackError(`cannot read the start time of process ${process.pid}`);
  await writePidFile(home, 'supervisor', self);
  let state = initialState(settings);
  const say = async (change: Partial<StackState>) => {
    state = { ...state, ...change };
    await writeState(home, state);
  };
  try {
    await say({});
    for (const name of await stopLeftovers(home)) log(`stopped ${name}, left by an earlier supervisor`);
    const env = options.env ?? process.env;
    const tools = options.tools ?? (await ensureStackTools(settings, setupContext(log, env)));
    await say({ kafkaKind: tools.kafka.kind });
    const { services, parts } = units(settings, options, tools, env);
    for (const { port, what, variable } of [...services, ...parts].flatMap((unit) => unit.ports)) {
      await assertPortFree(port, what, variable);
    }
    const start = async (unit: StackUnit) => {
      if (stop.aborted) return;
      const supervised = new Supervised(unit, home, log);
      running.push(supervised);
      await supervised.start();
      log(`${unit.name} is ready`);
    };
    await startTogether(services.map((unit) => start(unit)));
    await checkGivenServices(settings);
    // The gateway first: it makes topics and tables that the others find there.
    const [first, ...rest] = parts;
    if (first !== undefined) await start(first);
    await startTogether(rest.map((unit) => start(unit)));
    await say({ status: 'ready', message: 'everything is ready' });
    if (!stop.aborted) options.onReady?.(state);
  } catch (error) {
    await say({ status: 'failed', message: error instanceof Error ? error.message : String(error) });
    throw error;
  }
}

function units(settings: Settings, options: SupervisorOptions, tools: StackTools, env: NodeJS.ProcessEnv) {
  const services: StackUnit[] = [];
  const { temporal, kafka } = tools;
  if (temporal.kind === 'binary') services.push(temporalUnit({ settings, executable: temporal.path, env }));
  if (kafka.kind !== 'given') services.push(kafkaUnit({ settings, tool: kafka, env }));
  const partEnv = partEnvironment(settings, env, tools.python.path);
  const parts = (options.parts ?? defaultParts(settings)).map((part) => partUnit(part, settings, partEnv));
  return { services, parts };
}

/** All are awaited even when one fails: a start that goes on unseen could leave a process behind. */
async function startTogether(starts: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(starts);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** A server that someone else runs gets the search attributes as well, and says now rather than later if it is away. */
async function checkGivenServices(settings: Settings): Promise<void> {
  const timeoutMs = 15_000;
  if (settings.temporal.addressGiven) {
    const what = `Temporal at ${settings.temporal.address} (TEMPORAL_ADDRESS)`;
    await waitFor(() => prepareTemporal(settings.temporal), { what, timeoutMs });
  }
  if (settings.kafka.brokersGiven) {
    const what = `Kafka at ${settings.kafka.brokers.join(', ')} (KAFKA_BROKERS)`;
    await waitFor(() => checkKafka(settings.kafka), { what, timeoutMs });
  }
}

function initialState(settings: Settings): StackState {
  const { ports, temporal, kafka } = settings;
  return {
    status: 'starting',
    pid: process.pid,
    message: 'starting',
    kafkaKind: undefined,
    gateway: settings.url,
    serve: `http://127.0.0.1:${ports.serve}`,
    temporal: temporal.address,
    temporalUi: temporal.addressGiven ? undefined : `http://127.0.0.1:${ports.temporalUi}`,
    kafka: kafka.brokers.join(','),
  };
}

function stopSignal(given: AbortSignal | undefined): { readonly signal: AbortSignal; readonly release: () => void } {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals) => controller.abort(name);
  const onAbort = () => controller.abort('asked to');
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  given?.addEventListener('abort', onAbort, { once: true });
  if (given?.aborted === true) onAbort();
  return {
    signal: controller.signal,
    release: () => {
      process.off('SIGTERM', onSignal);
      process.off('SIGINT', onSignal);
      given?.removeEventListener('abort', onAbort);
    },
  };
}

function supervisorLog(home: string, progress: (line: string) => void): (line: string) => void {
  const path = logFile(home, 'supervisor');
  mkdirSync(`${home}/logs`, { recursive: true });
  mkdirSync(runFolder(home), { recursive: true });
  return (line) => {
    appendFileSync(path, `${new Date().toISOString()} ${line}\n`);
    progress(line);
  };
}
