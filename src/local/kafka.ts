/** The local Kafka: one node that is broker and controller (KRaft), on a folder, by Java or in a container. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Settings } from '../settings/types.ts';
import { projectRoot } from './entry.ts';
import { StackError } from './errors.ts';
import { accepts, quietPorts } from './ports.ts';
import { checkKafka } from './probes.ts';
import type { KafkaTool } from './setup/kafka.ts';
import { run } from './setup/run.ts';
import { type StackUnit, type StartedUnit, startUnit } from './unit.ts';

const JAVA_READY_TIMEOUT_MS = 60_000;
/** The image may have to be pulled first. */
const DOCKER_READY_TIMEOUT_MS = 600_000;
const JAVA_FLAGS = ['-Xms128m', '-Xmx512m', '-XX:+UseSerialGC', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'];

export interface KafkaServerOptions {
  readonly settings: Settings;
  readonly tool: Exclude<KafkaTool, { kind: 'given' }>;
  readonly env: NodeJS.ProcessEnv;
}

export function kafkaUnit(options: KafkaServerOptions): StackUnit {
  const { settings, tool } = options;
  const port = settings.ports.kafka;
  return {
    name: 'kafka',
    ports: [{ port, what: 'Kafka', variable: 'REFIT_KAFKA_PORT' }],
    readyTimeoutMs: tool.kind === 'docker' ? DOCKER_READY_TIMEOUT_MS : JAVA_READY_TIMEOUT_MS,
    prepare: () => (tool.kind === 'docker' ? prepareDocker(options) : prepareJava(options, tool.libFolder)),
    probe: async () => {
      if (!(await accepts('127.0.0.1', port))) return undefined;
      await checkKafka({
        brokers: [`127.0.0.1:${port}`],
        brokersGiven: true,
        clientId: 'refit',
        topicPrefix: 'refit.',
      });
      return true;
    },
  };
}

export function startKafka(options: KafkaServerOptions): Promise<StartedUnit> {
  return startUnit(kafkaUnit(options));
}

async function prepareJava({ settings, env }: KafkaServerOptions, libFolder: string) {
  const folder = join(settings.home, 'kafka');
  const config = join(folder, 'server.properties');
  const data = join(folder, 'data');
  await mkdir(folder, { recursive: true });
  const [controllerPort] = await quietPorts(1);
  await writeFile(config, serverProperties(settings.ports.kafka, controllerPort ?? 0, data));
  const java: [string, ...string[]] = ['java', ...JAVA_FLAGS, '-cp', join(libFolder, '*')];
  if (!existsSync(join(data, 'meta.properties'))) await format(java, config, data, env);
  return { home: settings.home, env, cwd: folder, command: [...java, 'kafka.Kafka', config] as [string, ...string[]] };
}

/** meta.properties is what formatting writes last: without it the folder is new, or a format was cut off. */
async function format(java: readonly [string, ...string[]], config: string, data: string, env: NodeJS.ProcessEnv) {
  await rm(data, { recursive: true, force: true });
  const [command, ...args] = java;
  // 16 random bytes in URL-safe base64, as `random-uuid` gives them; a leading dash would read as an option.
  const clusterId = randomBytes(16).toString('base64url').replace(/^-/, 'A');
  const formatted = await run(command, [...args, 'kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', config], {
    env,
    timeoutMs: 60_000,
  });
  if (!formatted.ok) throw new StackError(`Kafka's folder ${data} cannot be formatted: ${formatted.problem}`);
}

function serverProperties(port: number, controllerPort: number, data: string): string {
  const properties: Record<string, string | number | boolean> = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': data,
    // Topics are created explicitly: a misspelt name must be an error, not a new topic.
    'auto.create.topics.enable': false,
    'num.partitions': 1,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 1,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'share.coordinator.state.topic.num.partitions': 1,
    // After kill -9 the new process waits until the old one's session has lapsed: 9 s by default, with heartbeats each 2 s.
    'broker.session.timeout.ms': 3_000,
    'broker.heartbeat.interval.ms': 500,
    // The wait for more members of a group; here there is one.
    'group.initial.rebalance.delay.ms': 0,
    // The cleaner's buffer is 128 MB by default, a quarter of the heap.
    'log.cleaner.dedupe.buffer.size': 16_777_216,
  };
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

/** Attached, so that this one process stands for the container: ending it stops the container. */
async function prepareDocker({ settings, env }: KafkaServerOptions) {
  const command: [string, ...string[]] = ['docker', ...composeArguments(settings.home), 'up', 'kafka'];
  return {
    home: settings.home,
    env: { ...env, REFIT_KAFKA_PORT: String(settings.ports.kafka) },
    cwd: projectRoot,
    command,
  };
}

/** For `down` after the attached process was killed: its container would run on. */
export async function stopKafkaContainer(home: string, env: NodeJS.ProcessEnv): Promise<void> {
  const stopped = await run('docker', [...composeArguments(home), 'stop', 'kafka'], { env, timeoutMs: 60_000 });
  if (!stopped.ok) throw new StackError(`Kafka's container cannot be stopped: ${stopped.problem}`);
}

/** A compose project for each home, so that two stacks on one machine do not share a container. */
function composeArguments(home: string): string[] {
  const project = `refit-${createHash('sha256').update(home).digest('hex').slice(0, 8)}`;
  return ['compose', '-f', join(projectRoot, 'docker-compose.yml'), '-p', project];
}
