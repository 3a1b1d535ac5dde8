/** The local Temporal server with its UI, on a file, so that what waits still waits after `down` and `up`. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Settings } from '../settings/types.ts';
import { accepts } from './ports.ts';
import { prepareTemporal } from './probes.ts';
import { SEARCH_ATTRIBUTES } from './search-attributes.ts';
import { type StackUnit, type StartedUnit, startUnit } from './unit.ts';

/** On a file the first start migrates a schema; a loaded machine with two cores has been seen to take ten seconds. */
const READY_TIMEOUT_MS = 60_000;

export interface TemporalServerOptions {
  readonly settings: Settings;
  /** The temporal CLI. */
  readonly executable: string;
  readonly env: NodeJS.ProcessEnv;
}

export function temporalUnit({ settings, executable, env }: TemporalServerOptions): StackUnit {
  const { home, ports, temporal } = settings;
  return {
    name: 'temporal',
    ports: [
      { port: ports.temporal, what: 'Temporal', variable: 'REFIT_TEMPORAL_PORT' },
      { port: ports.temporalUi, what: "Temporal's UI", variable: 'REFIT_TEMPORAL_UI_PORT' },
    ],
    readyTimeoutMs: READY_TIMEOUT_MS,
    prepare: async () => {
      await mkdir(home, { recursive: true });
      return { home, env, command: [executable, ...serverArguments(settings)] };
    },
    probe: async () => {
      // The cheap look first: a gRPC client that connects too early backs off for longer than the server needs.
      if (!(await accepts('127.0.0.1', ports.temporal))) return undefined;
      return prepareTemporal({ ...temporal, address: `127.0.0.1:${ports.temporal}` });
    },
  };
}

function serverArguments({ home, ports, temporal }: Settings): string[] {
  const attributes = Object.entries(SEARCH_ATTRIBUTES).flatMap(([name, type]) => [
    '--search-attribute',
    `${name}=${type.name}`,
  ]);
  return [
    'server',
    'start-dev',
    ...['--ip', '127.0.0.1', '--port', String(ports.temporal)],
    ...['--ui-ip', '127.0.0.1', '--ui-port', String(ports.temporalUi)],
    ...['--db-filename', join(home, 'temporal.db')],
    ...['--namespace', temporal.namespace],
    ...['--log-level', 'error', '--log-format', 'json'],
    // By default each task waits some 50 ms for its dispatch; one loop of ours has dozens of tasks.
    ...['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=2000'],
    ...attributes,
  ];
}

export function startTemporal(options: TemporalServerOptions): Promise<StartedUnit> {
  return startUnit(temporalUnit(options));
}
