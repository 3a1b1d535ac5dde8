/**
 * Settings: read once from the environment, checked, and passed down. Nothing else reads `process.env` for Refit's own
 * settings, so that a part can be started twice in one process with different settings, and tests need no globals.
 */
import { existsSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { readKafka, readTemporal } from './settings/connections.ts';
import { readDataRoots } from './settings/data-roots.ts';
import { SettingsError } from './settings/errors.ts';
import { readBytes, readDurationMs, readPort, readText } from './settings/read.ts';
import { readS3 } from './settings/s3.ts';
import { Secret } from './settings/secret.ts';
import { readTracing } from './settings/tracing.ts';
import { LOG_LEVELS, type LogLevel, type PortSettings, type Settings } from './settings/types.ts';

export { SettingsError } from './settings/errors.ts';
export type * from './settings/types.ts';

/** The setting that moves each port; errors about a taken port name it. */
export const PORT_VARIABLES: Readonly<Record<keyof PortSettings, string>> = {
  temporal: 'REFIT_TEMPORAL_PORT',
  temporalUi: 'REFIT_TEMPORAL_UI_PORT',
  kafka: 'REFIT_KAFKA_PORT',
  gateway: 'REFIT_GATEWAY_PORT',
  serve: 'REFIT_SERVE_PORT',
};

export function parseSettings(env: NodeJS.ProcessEnv, cwd: string): Settings {
  const home = resolve(cwd, readText(env, 'REFIT_HOME') ?? join(nearestProject(cwd), '.refit'));
  const ports = readPorts(env);
  return {
    home,
    url: readUrl(env, ports.gateway),
    actor: readText(env, 'REFIT_ACTOR'),
    temporal: readTemporal(env, cwd, ports.temporal),
    kafka: readKafka(env, cwd, ports.kafka),
    databaseUrl: readDatabaseUrl(env, cwd, join(home, 'refit.db')),
    artifactsUrl: readArtifactsUrl(env, cwd, join(home, 'artifacts')),
    artifactsCacheBytes: readBytes(env, 'REFIT_ARTIFACTS_CACHE', '20GiB'),
    s3: readS3(env),
    dataRoots: readDataRoots(env, cwd),
    dataMaxBytes: readBytes(env, 'REFIT_DATA_MAX_BYTES', '50GiB'),
    ports,
    python: resolveCommand(readText(env, 'REFIT_PYTHON'), cwd),
    logLevel: readLogLevel(env),
    tracing: readTracing(env),
    eventLingerMs: readLinger(env),
    retention: {
      eventsMs: readRetention(env, 'REFIT_EVENT_RETENTION', '400d'),
      predictionsMs: readRetention(env, 'REFIT_PREDICTION_RETENTION', '400d'),
      runsMs: readRetention(env, 'REFIT_RUN_RETENTION', 'forever'),
      dataMs: readRetention(env, 'REFIT_DATA_RETENTION', 'forever'),
    },
    workerMetricsPort:
      readText(env, 'REFIT_WORKER_METRICS_PORT') === undefined
        ? undefined
        : readPort(env, 'REFIT_WORKER_METRICS_PORT', 9464),
  };
}

/** The absolute path behind a `file:` setting. */
export function filePathOf(fileUrl: string): string {
  if (!fileUrl.startsWith('file:/')) throw new SettingsError(`${fileUrl} is not a file: address with an absolute path`);
  return fileUrl.slice('file:'.length);
}

/** A plain copy for logs, `doctor` and bug reports. A secret shows that it is set, never what it is. */
export function describeSettings(settings: Settings): Record<string, unknown> {
  // Secret serialises itself as a mask, so that no field can be forgotten here.
  return JSON.parse(JSON.stringify(settings)) as Record<string, unknown>;
}

function nearestProject(cwd: string): string {
  for (let folder = resolve(cwd); ; folder = dirname(folder)) {
    if (['package.json', 'refit.yaml', '.git'].some((marker) => existsSync(join(folder, marker)))) return folder;
    if (dirname(folder) === folder) return resolve(cwd);
  }
}

function readPorts(env: NodeJS.ProcessEnv): PortSettings {
  const ports: PortSettings = {
    temporal: readPort(env, PORT_VARIABLES.temporal, 7233),
    temporalUi: readPort(env, PORT_VARIABLES.temporalUi, 8233),
    kafka: readPort(env, PORT_VARIABLES.kafka, 9092),
    gateway: readPort(env, PORT_VARIABLES.gateway, 8090),
    serve: readPort(env, PORT_VARIABLES.serve, 8080),
  };
  const byPort = new Map<number, string>();
  for (const [name, port] of Object.entries(ports) as [keyof PortSettings, number][]) {
    const other = byPort.get(port);
    if (other !== undefined) {
      throw new SettingsError(`${other} and ${PORT_VARIABLES[name]} are both ${port}; give each a port of its own`);
    }
    byPort.set(port, PORT_VARIABLES[name]);
  }
  return ports;
}

function readUrl(env: NodeJS.ProcessEnv, gatewayPort: number): string {
  const text = readText(env, 'REFIT_URL');
  if (text === undefined) return `http://127.0.0.1:${gatewayPort}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new SettingsError('REFIT_URL (the address of the gateway) must be like http://127.0.0.1:8090');
  }
  if (url.username !== '' || url.password !== '') {
    throw new SettingsError('REFIT_URL must not carry a user or password: it is shown in messages and logs');
  }
  return url.href.replace(/\/+$/, '');
}

interface FileUrlRule {
  readonly variable: string;
  readonly fallback: string;
  /** What else the variable may hold, for the error. */
  readonly others?: string;
}

function readArtifactsUrl(env: NodeJS.ProcessEnv, cwd: string, fallback: string): string {
  const variable = 'REFIT_ARTIFACTS_URL';
  const text = readText(env, variable);
  if (text === undefined || !/^s3:/i.test(text))
    return readFileUrl(env, cwd, { variable, fallback, others: ' or s3://BUCKET/PREFIX' });
  if (!/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[A-Za-z0-9!_.*'()-]+)*\/?$/.test(text) || text.includes('..'))
    throw new SettingsError(
      `${variable} must be s3://BUCKET/PREFIX; keys and the endpoint stand in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL_S3`,
    );
  return text.replace(/\/+$/, '');
}

function readDatabaseUrl(env: NodeJS.ProcessEnv, cwd: string, fallback: string): Secret {
  const variable = 'REFIT_DATABASE_URL';
  const text = readText(env, variable);
  if (text === undefined || !/^postgres(ql)?:/i.test(text)) {
    const url = readFileUrl(env, cwd, {
      variable,
      fallback,
      others: ' or postgres://USER:PASSWORD@HOST:PORT/DATABASE',
    });
    return new Secret(url, url);
  }
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.hostname === '' || url.pathname.length < 2) {
    throw new SettingsError(
      `${variable} must be like postgres://USER:PASSWORD@HOST:5432/DATABASE, with special characters of the password percent-encoded`,
    );
  }
  if (url.searchParams.has('password')) {
    throw new SettingsError(`${variable} must have its password before the host, where it is never shown`);
  }
  const shown = new URL(url);
  if (shown.password !== '') shown.password = '***';
  return new Secret(text, shown.href);
}

function readFileUrl(env: NodeJS.ProcessEnv, cwd: string, rule: FileUrlRule): string {
  const text = readText(env, rule.variable);
  if (text === undefined) return `file:${rule.fallback}`;
  // The value is not repeated in the error: a database address may hold a password.
  if (!/^file:/i.test(text) || text.length === 'file:'.length) {
    throw new SettingsError(
      `${rule.variable} must be file:PATH${rule.others ?? ''}, for example file:${rule.fallback}`,
    );
  }
  return `file:${resolve(cwd, text.slice('file:'.length).replace(/^\/\/(?=\/)/, ''))}`;
}

/** A command with a slash is a path relative to where the user stands; a bare one is looked up on the PATH later. */
function resolveCommand(command: string | undefined, cwd: string): string | undefined {
  if (command === undefined || isAbsolute(command) || !command.includes('/')) return command;
  return resolve(cwd, command);
}

function readLogLevel(env: NodeJS.ProcessEnv): LogLevel {
  const text = readText(env, 'REFIT_LOG_LEVEL') ?? 'info';
  const level = LOG_LEVELS.find((known) => known === text);
  if (level === undefined) {
    throw new SettingsError(`REFIT_LOG_LEVEL is '${text}'; it must be one of ${LOG_LEVELS.join(', ')}`);
  }
  return level;
}

/** Longer than this, every event would be late for nothing. */
const MAX_LINGER_MS = 10_000;

function readLinger(env: NodeJS.ProcessEnv): number {
  const lingerMs = readDurationMs(env, 'REFIT_EVENT_LINGER', '20ms');
  if (lingerMs > MAX_LINGER_MS) throw new SettingsError('REFIT_EVENT_LINGER must be at most 10s');
  return lingerMs;
}

function readRetention(env: NodeJS.ProcessEnv, variable: string, fallback: string): number | null {
  return (readText(env, variable) ?? fallback) === 'forever'
    ? null
    : readDurationMs(env, variable, '400d', "or 'forever'");
}
