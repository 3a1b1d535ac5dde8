/** All of set-up: every tool the local stack and the tests need, each from the first way that is there. */
import type { Settings } from '../../settings/types.ts';
import { cacheRoot } from './cache.ts';
import { ensureKafka, ensureKafkaJars, type KafkaTool } from './kafka.ts';
import type { Progress } from './progress.ts';
import { ensurePython, type PythonTool } from './python.ts';
import { ensureTemporal, ensureTemporalCli, type SetupContext, type TemporalTool } from './temporal.ts';
import { ensureKafkaPython, ensureS3Python } from './test-python.ts';
import { ensureTestServer } from './test-server.ts';

export interface StackTools {
  readonly temporal: TemporalTool;
  readonly kafka: KafkaTool;
  readonly python: PythonTool;
}

export interface TestTools {
  readonly temporalCli: string;
  readonly testServer: string;
  readonly kafkaLibFolder: string;
  readonly python: string;
  /** A Python with librdkafka's client. */
  readonly kafkaPython: string;
  /** A Python with a server that speaks S3. */
  readonly s3Python: string;
}

export function setupContext(progress: Progress, env: NodeJS.ProcessEnv = process.env): SetupContext {
  return { env, cacheRoot: cacheRoot(env), progress };
}

/** One after another: Maven, Go and pip would only fight for the same cores and lines. */
export async function ensureStackTools(settings: Settings, context: SetupContext): Promise<StackTools> {
  const temporal = await ensureTemporal(settings, context);
  context.progress(`Temporal: ${temporal.detail}`);
  const kafka = await ensureKafka(settings, context);
  context.progress(`Kafka: ${kafka.detail}`);
  const python = await ensurePython(settings, context);
  context.progress(`Python: ${python.detail}`);
  return { temporal, kafka, python };
}

export async function ensureTestTools(settings: Settings, context: SetupContext): Promise<TestTools> {
  const temporalCli = await ensureTemporalCli(context);
  const testServer = await ensureTestServer(context);
  const kafkaLibFolder = await ensureKafkaJars(context);
  const python = await ensurePython(settings, context);
  const kafkaPython = await ensureKafkaPython(context);
  const s3Python = await ensureS3Python(context);
  return { temporalCli, testServer, kafkaLibFolder, python: python.path, kafkaPython, s3Python };
}
