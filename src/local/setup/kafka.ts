/** Kafka for the local stack: brokers that are given, a container, or Apache Kafka by Java and Maven. */
import { join } from 'node:path';
import type { Settings } from '../../settings/types.ts';
import { cached, cachedPath } from './cache.ts';
import { SetupError } from './errors.ts';
import { fetchJars, haveJava, haveMaven } from './maven.ts';
import { withHeartbeat } from './progress.ts';
import { findOnPath, run } from './run.ts';
import type { SetupContext } from './temporal.ts';

const KAFKA_VERSION = '4.1.0';
const ENTRY = `kafka-${KAFKA_VERSION}`;
/** A docker client without an engine may wait long for one that never answers. */
const DOCKER_PROBE_MS = 8_000;

export type KafkaTool =
  | { readonly kind: 'given'; readonly detail: string }
  | { readonly kind: 'docker'; readonly detail: string }
  | { readonly kind: 'java'; readonly libFolder: string; readonly detail: string };

export async function findKafka(
  settings: Settings,
  context: Omit<SetupContext, 'progress'>,
): Promise<KafkaTool | undefined> {
  if (settings.kafka.brokersGiven) return { kind: 'given', detail: `brokers ${settings.kafka.brokers.join(', ')}` };
  if (await dockerAnswers(context.env)) return { kind: 'docker', detail: 'docker compose' };
  return findKafkaJars(context);
}

function findKafkaJars(context: Omit<SetupContext, 'progress'>): (KafkaTool & { kind: 'java' }) | undefined {
  const path = cachedPath(context.cacheRoot, ENTRY);
  if (path === undefined || !haveJava(context.env)) return undefined;
  return { kind: 'java', libFolder: join(path, 'lib'), detail: `Apache Kafka ${KAFKA_VERSION} by Java (cache)` };
}

export async function ensureKafka(settings: Settings, context: SetupContext): Promise<KafkaTool> {
  return (await findKafka(settings, context)) ?? { ...(await fetchKafkaJars(context)) };
}

/** For tests, which take the Java one always: it starts in seconds, and every test machine gives the same broker. */
export async function ensureKafkaJars(context: SetupContext): Promise<string> {
  return (findKafkaJars(context) ?? (await fetchKafkaJars(context))).libFolder;
}

async function fetchKafkaJars(context: SetupContext): Promise<KafkaTool & { kind: 'java' }> {
  const { env, progress, cacheRoot } = context;
  if (!haveMaven(env)) {
    throw new SetupError(
      'No Kafka. Set KAFKA_BROKERS to a cluster, start a Docker engine with the compose plugin, ' +
        'or install Java (17 or newer) and Maven so that Apache Kafka can be fetched',
    );
  }
  progress(`Kafka: fetching Apache Kafka ${KAFKA_VERSION} with Maven`);
  const entry = await cached(cacheRoot, ENTRY, (folder) =>
    withHeartbeat(progress, 'Kafka: mvn', () =>
      fetchJars(
        [
          { groupId: 'org.apache.kafka', artifactId: 'kafka_2.13', version: KAFKA_VERSION },
          { groupId: 'org.slf4j', artifactId: 'slf4j-simple', version: '1.7.36' },
        ],
        join(folder, 'lib'),
        env,
      ),
    ),
  );
  return { kind: 'java', libFolder: join(entry, 'lib'), detail: `Apache Kafka ${KAFKA_VERSION} by Java` };
}

export async function dockerAnswers(env: NodeJS.ProcessEnv): Promise<boolean> {
  if (findOnPath('docker', env) === undefined) return false;
  const compose = await run('docker', ['compose', 'version'], { env, timeoutMs: DOCKER_PROBE_MS });
  if (!compose.ok) return false;
  return (await run('docker', ['info'], { env, timeoutMs: DOCKER_PROBE_MS })).ok;
}
