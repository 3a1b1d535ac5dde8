/** The forms of the chaos run, and the flags that scale them. */
import { parseArgs } from 'node:util';
import type { Failpoint, WHENS } from '../parts/failpoints.ts';

export interface ChaosOptions {
  readonly seed: number;
  readonly events: number;
  readonly models: number;
  readonly datasets: number;
  /** How long events are published and faults injected. */
  readonly seconds: number;
  /** SIGKILL of a gateway, worker or server, failpoints that end a process included. */
  readonly kills: number;
  /** SIGSTOP past the session and heartbeat timeouts, then SIGCONT. */
  readonly stops: number;
  readonly kafka: number;
  readonly temporal: number;
  /** How often somebody else holds the registry's write lock, and for how long. */
  readonly locks: number;
  readonly lockSeconds: number;
  readonly workers: number;
  /** Whether an inference server runs; with it, rollouts have steps. */
  readonly serve: boolean;
  /** Aimed at these effects; `all`: before and after each, one after another. */
  readonly failpoints: readonly (Failpoint & { readonly part: 'gateway' | 'worker' })[] | 'all';
  /** Starts by hand, rollbacks, and approvers who are removed before their quorum is reached. */
  readonly operators: number;
  /** How long to wait for the end before the oracle judges what is there. */
  readonly patienceSeconds: number;
  /** Gives up waiting when nothing has moved for so long; 0: waits on. */
  readonly stallSeconds: number;
  /** Servers that are there already, for many short runs one after another; without faults of theirs. */
  readonly servers: { readonly temporal: string; readonly kafka: string } | null;
}

/** At most 75 s on two idle cores. */
export const SHORT: ChaosOptions = {
  seed: 1,
  events: 300,
  models: 5,
  datasets: 3,
  seconds: 22,
  kills: 3,
  stops: 1,
  kafka: 1,
  temporal: 1,
  locks: 1,
  lockSeconds: 4,
  workers: 1,
  serve: false,
  failpoints: [
    { part: 'gateway', port: 'messenger', method: 'eventsArrived', when: 'before', call: 3 },
    { part: 'gateway', port: 'bus', method: 'publish', when: 'after', call: 4 },
    { part: 'worker', port: 'registry', method: 'openRun', when: 'after', call: 2 },
    { part: 'worker', port: 'messenger', method: 'runFinished', when: 'before', call: 1 },
    { part: 'worker', port: 'registry', method: 'promote', when: 'timeout', call: 1 },
    { part: 'worker', port: 'registry', method: 'openDeployment', when: 'late', call: 1 },
  ],
  operators: 3,
  patienceSeconds: 300,
  stallSeconds: 0,
  servers: null,
};

/** One aimed scenario: enough for a planted bug to show. */
export const AIMED: ChaosOptions = {
  ...SHORT,
  events: 90,
  models: 3,
  datasets: 2,
  seconds: 7,
  kills: 0,
  stops: 0,
  failpoints: [],
  kafka: 0,
  temporal: 0,
  locks: 0,
  patienceSeconds: 120,
  // Longer than any debounce. With a killed gateway it has to be longer: its group waits 10 s for the one that died.
  stallSeconds: 30,
};

/** The acceptance run, scaled to the minutes given: 20,000 events and 300 kills belong to 45. */
export function longForm(minutes: number): ChaosOptions {
  const share = minutes / 45;
  const scaled = (count: number): number => Math.max(1, Math.round(count * share));
  return {
    ...SHORT,
    events: scaled(20_000),
    models: 50,
    datasets: 10,
    seconds: minutes * 60,
    kills: scaled(300),
    stops: scaled(30),
    kafka: scaled(20),
    temporal: scaled(20),
    locks: scaled(3),
    lockSeconds: 60,
    workers: 2,
    serve: true,
    failpoints: 'all',
    operators: scaled(60),
    patienceSeconds: 600,
  };
}

/** `gateway:messenger.dataArrived:before[:call[:about]]`. */
export function parseFailpoint(text: string): Failpoint & { readonly part: 'gateway' | 'worker' } {
  const [part, effect = '', when, call = '1', about] = text.split(':');
  const [port = '', method = ''] = effect.split('.');
  const isWhen = (one: string | undefined): one is (typeof WHENS)[number] =>
    one === 'before' || one === 'after' || one === 'timeout' || one === 'late' || one === 'slow';
  if (
    (part !== 'gateway' && part !== 'worker') ||
    port === '' ||
    method === '' ||
    !isWhen(when) ||
    !(Number(call) >= 1)
  )
    throw new Error(`--failpoint ${text}: write part:port.method:before|after|timeout|late|slow[:call[:about]]`);
  return { part, port, method, when, call: Number(call), ...(about === undefined ? {} : { about }) };
}

export interface Command {
  readonly options: ChaosOptions;
  /** Names of planted bugs, or none for all of them; null: no planted bug, the product itself. */
  readonly mutants: readonly string[] | null;
  /** The scenarios of the planted bugs without the bugs. */
  readonly clean: boolean;
  /** Leave the home of the run for a look. */
  readonly keep: boolean;
}

const NUMBERS = [
  'seed',
  'events',
  'models',
  'datasets',
  'seconds',
  'kills',
  'stops',
  'kafka',
  'temporal',
  'locks',
  'workers',
  'operators',
  'patience',
] as const;

export function parseCommand(args: readonly string[]): Command {
  const text = { type: 'string' } as const;
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...(Object.fromEntries(NUMBERS.map((name) => [name, text])) as Record<(typeof NUMBERS)[number], typeof text>),
      minutes: text,
      form: text,
      failpoint: { type: 'string', multiple: true },
      serve: { type: 'boolean' },
      servers: text,
      mutants: { type: 'boolean', default: false },
      clean: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
    },
  });
  const number = (name: (typeof NUMBERS)[number] | 'minutes', fallback: number): number => {
    const given = values[name];
    if (given === undefined) return fallback;
    const read = Number(given);
    if (!Number.isFinite(read) || read < 0) throw new Error(`--${name} ${given}: a number from 0 is needed`);
    return read;
  };
  const minutes = number('minutes', 0);
  const base = minutes > 0 ? longForm(minutes) : values.form === 'aimed' || values.mutants ? AIMED : SHORT;
  const [temporal, kafka] = (values.servers ?? '').split(',');
  const options: ChaosOptions = {
    ...base,
    seed: number('seed', base.seed),
    events: number('events', base.events),
    models: number('models', base.models),
    datasets: Math.min(number('datasets', base.datasets), number('models', base.models)),
    seconds: number('seconds', base.seconds),
    kills: number('kills', base.kills),
    stops: number('stops', base.stops),
    kafka: number('kafka', base.kafka),
    temporal: number('temporal', base.temporal),
    locks: number('locks', base.locks),
    lockSeconds: base.lockSeconds,
    workers: number('workers', base.workers),
    operators: number('operators', base.operators),
    patienceSeconds: number('patience', base.patienceSeconds),
    serve: values.serve ?? base.serve,
    failpoints: values.failpoint?.map(parseFailpoint) ?? base.failpoints,
    stallSeconds: base.stallSeconds > 0 && values.failpoint !== undefined ? 30 : base.stallSeconds,
    servers: temporal && kafka ? { temporal, kafka } : null,
  };
  return { options, mutants: values.mutants ? positionals : null, clean: values.clean, keep: values.keep };
}
