/** Servers for tests: free ports, a home of their own, ended by their process ids. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startKafka } from '../../src/local/kafka.ts';
import { ensureTestTools, setupContext, type TestTools } from '../../src/local/setup/index.ts';
import { startTemporal } from '../../src/local/temporal.ts';
import type { Settings } from '../../src/settings/types.ts';
import { parseSettings } from '../../src/settings.ts';
import { quietPorts } from './e2e-refit.ts';
import { startPostgres } from './postgres.ts';
import { startS3 } from './s3.ts';

export async function temporaryHome(name = 'test'): Promise<string> {
  return mkdtemp(join(tmpdir(), `refit-${name}-`));
}

/** Settings in a home of its own, on free ports, without anything from the environment of who runs the tests. */
export async function testSettings(home: string, env: NodeJS.ProcessEnv = {}): Promise<Settings> {
  const [temporal, temporalUi, kafka, gateway, serve] = await quietPorts(5);
  return parseSettings(
    {
      REFIT_HOME: home,
      REFIT_TEMPORAL_PORT: String(temporal),
      REFIT_TEMPORAL_UI_PORT: String(temporalUi),
      REFIT_KAFKA_PORT: String(kafka),
      REFIT_GATEWAY_PORT: String(gateway),
      REFIT_SERVE_PORT: String(serve),
      ...env,
    },
    home,
  );
}

export function testTools(settings: Settings): Promise<TestTools> {
  return ensureTestTools(
    settings,
    setupContext((line) => process.stderr.write(`${line}\n`)),
  );
}

export interface TestServers {
  readonly temporalAddress: string;
  readonly temporalUi: string;
  readonly kafkaBrokers: string;
  readonly postgresUrl: string;
  readonly s3Url: string;
  /** For \`TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } })\`. */
  readonly testServerPath: string;
  /** The Python that has what the trainers need. */
  readonly pythonPath: string;
  /** The Python that has librdkafka's client. */
  readonly kafkaPythonPath: string;
  /** Folder of Kafka's jars, its Java client among them. */
  readonly kafkaLibFolder: string;
  readonly stop: () => Promise<void>;
}

/** One Temporal server, one Kafka, one Postgres and one S3. Test files share them and keep apart by names of their own. */
export async function startTestServers(): Promise<TestServers> {
  const home = await temporaryHome('servers');
  const settings = await testSettings(home);
  const env = process.env;
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const one of stops.toReversed()) await one();
    await rm(home, { recursive: true, force: true });
  };
  try {
    const tools = await testTools(settings);
    const temporal = await startTemporal({ settings, executable: tools.temporalCli, env });
    stops.push(temporal.stop);
    const [postgresPort = 0, s3Port = 0] = await quietPorts(2);
    const s3 = await startS3(tools.s3Python, s3Port);
    stops.push(s3.stop);
    const postgres = await startPostgres(await temporaryHome('postgres'), postgresPort);
    stops.push(postgres.stop);
    const tool = { kind: 'java', libFolder: tools.kafkaLibFolder, detail: '' } as const;
    const kafka = await startKafka({ settings, tool, env });
    stops.push(kafka.stop);
    return {
      temporalAddress: settings.temporal.address,
      temporalUi: `http://127.0.0.1:${settings.ports.temporalUi}`,
      kafkaBrokers: settings.kafka.brokers.join(','),
      postgresUrl: postgres.url,
      s3Url: s3.url,
      testServerPath: tools.testServer,
      pythonPath: tools.python,
      kafkaPythonPath: tools.kafkaPython,
      kafkaLibFolder: tools.kafkaLibFolder,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
