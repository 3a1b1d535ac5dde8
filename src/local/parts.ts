/** The parts of Refit itself as units of the stack: their commands, their environment, and when they are ready. */
import { open } from 'node:fs/promises';
import { delimiter } from 'node:path';
import type { PortSettings, Settings } from '../settings/types.ts';
import { PORT_VARIABLES } from '../settings.ts';
import type { RunningChild } from './child.ts';
import { partCommand } from './entry.ts';
import { logFile, PARTS } from './home.ts';
import { answersHttp } from './probes.ts';
import type { StackUnit } from './unit.ts';

export interface PartSpec {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** Asked for a 2xx answer once the part has printed its ready line. */
  readonly readyUrl?: string;
  readonly port?: keyof PortSettings;
}

/** Bundling workflows, migrations and a first connection to Kafka, on a busy machine. */
const READY_TIMEOUT_MS = 90_000;

export function defaultParts(settings: Settings): PartSpec[] {
  const readyUrls: Record<string, { port: keyof PortSettings; path: string }> = {
    gateway: { port: 'gateway', path: '/health' },
    // Not whether all models are ready: one whose champion does not load must not end a server that answers for the others.
    serve: { port: 'serve', path: '/v2/health/live' },
  };
  return PARTS.map((name) => {
    const http = readyUrls[name];
    const url = http === undefined ? {} : { readyUrl: `http://127.0.0.1:${settings.ports[http.port]}${http.path}` };
    return { name, command: partCommand(name), ...(http === undefined ? {} : { port: http.port }), ...url };
  });
}

export function partUnit(spec: PartSpec, settings: Settings, env: NodeJS.ProcessEnv): StackUnit {
  const { home } = settings;
  let announced: RunningChild | undefined;
  return {
    name: spec.name,
    ports:
      spec.port === undefined
        ? []
        : [{ port: settings.ports[spec.port], what: `the part ${spec.name}`, variable: PORT_VARIABLES[spec.port] }],
    readyTimeoutMs: READY_TIMEOUT_MS,
    prepare: async () => ({ home, env, command: [...spec.command] as [string, ...string[]] }),
    probe: async (child) => {
      if (announced !== child && !(await saysReady(home, spec.name, child.logOffset))) return undefined;
      announced = child;
      return spec.readyUrl === undefined || (await answersHttp(spec.readyUrl)) ? true : undefined;
    },
  };
}

/** Looks for the line {"part":NAME,"status":"ready"} among what this child wrote. */
async function saysReady(home: string, part: string, fromOffset: number): Promise<boolean> {
  const file = await open(logFile(home, part));
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.max(0, size - fromOffset));
    await file.read(bytes, 0, bytes.length, fromOffset);
    return bytes
      .toString('utf8')
      .split('\n')
      .some((line) => isReadyLine(line, part));
  } finally {
    await file.close();
  }
}

function isReadyLine(line: string, part: string): boolean {
  if (!line.startsWith('{') || !line.includes('"ready"')) return false;
  try {
    const value = JSON.parse(line) as { readonly part?: unknown; readonly status?: unknown };
    return value.part === part && value.status === 'ready';
  } catch {
    // A line that is still being written.
    return false;
  }
}

/** What a part needs to find everything, wherever it is started from. Secrets pass through from the base. */
export function partEnvironment(settings: Settings, base: NodeJS.ProcessEnv, python: string): NodeJS.ProcessEnv {
  return {
    ...stackEnvironment(settings, base),
    TEMPORAL_ADDRESS: settings.temporal.address,
    KAFKA_BROKERS: settings.kafka.brokers.join(','),
    REFIT_PYTHON: python,
  };
}

/** The settings as variables, for a supervisor of its own: only what was given counts as given there. */
export function stackEnvironment(settings: Settings, base: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { ports } = settings;
  return {
    ...base,
    REFIT_HOME: settings.home,
    REFIT_URL: settings.url,
    REFIT_DATABASE_URL: settings.databaseUrl.reveal(),
    REFIT_ARTIFACTS_URL: settings.artifactsUrl,
    REFIT_ARTIFACTS_CACHE: String(settings.artifactsCacheBytes),
    REFIT_TOPIC_PREFIX: settings.kafka.topicPrefix,
    REFIT_LOG_LEVEL: settings.logLevel,
    REFIT_DATA_ROOTS: settings.dataRoots.join(delimiter),
    REFIT_DATA_MAX_BYTES: String(settings.dataMaxBytes),
    TEMPORAL_NAMESPACE: settings.temporal.namespace,
    ...(settings.temporal.addressGiven ? { TEMPORAL_ADDRESS: settings.temporal.address } : {}),
    ...(settings.kafka.brokersGiven ? { KAFKA_BROKERS: settings.kafka.brokers.join(',') } : {}),
    ...(settings.python === undefined ? {} : { REFIT_PYTHON: settings.python }),
    ...Object.fromEntries(
      (Object.keys(PORT_VARIABLES) as (keyof PortSettings)[]).map((name) => [
        PORT_VARIABLES[name],
        String(ports[name]),
      ]),
    ),
  };
}
