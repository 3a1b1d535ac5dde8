/** The worker as one part: workflows and activities on the queues by cost. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import type { Logger } from 'pino';
import { createActivities } from '../activities/index.ts';
import type { Ports } from '../activities/ports.ts';
import { createBatchScorer } from '../src/adapters/batch-scorer.ts';
import { createDriftDetector } from '../src/adapters/drift.ts';
import { createDataEngine } from '../src/adapters/duckdb/engine.ts';
import { createEvaluator } from '../src/adapters/evaluation.ts';
import { createNotifier } from '../src/adapters/notifiers.ts';
import { createScorer } from '../src/adapters/onnx/scorer.ts';
import { openRegistry } from '../src/adapters/registry/index.ts';
import { schedules } from '../src/adapters/schedule.ts';
import { openArtifactStore } from '../src/adapters/store/index.ts';
import { createSurroundings } from '../src/adapters/surroundings.ts';
import { connectClient, connectWorker } from '../src/adapters/temporal/connection.ts';
import { createMessenger } from '../src/adapters/temporal/messenger.ts';
import { createProcessTrainer } from '../src/adapters/trainer/process.ts';
import { QUEUES } from '../src/contracts/values.ts';
import { missingSearchAttributes } from '../src/local/search-attributes.ts';
import type { Settings } from '../src/settings.ts';
import { tracedActivities } from '../src/telemetry/activities.ts';
import { EventTraces } from '../src/telemetry/events.ts';
import { tracedMessenger } from '../src/telemetry/gateway.ts';

export type QueueName = keyof typeof QUEUES;

/** At once in one worker: trainings share the machine's cores, data steps its memory. */
const CONCURRENCY: Readonly<Record<QueueName, number>> = { control: 100, data: 4, train: 2 };

/** Root of the installation: this file is at workers/worker.ts or dist/workers/worker.js. */
export function installationRoot(): string {
  const up = fileURLToPath(new URL('..', import.meta.url));
  return existsSync(join(up, 'package.json')) ? up : join(up, '..');
}

/** Temporal's own metrics: of the process, since its runtime is one. By default there is no endpoint. */
function serveMetrics(port: number | undefined, logger: Logger): void {
  if (port === undefined) return;
  const bindAddress = `127.0.0.1:${port}`;
  try {
    Runtime.install({ telemetryOptions: { metrics: { prometheus: { bindAddress, unitSuffix: true } } } });
  } catch (error) {
    throw new Error(`metrics cannot be served on ${bindAddress}; give REFIT_WORKER_METRICS_PORT another port`, {
      cause: error,
    });
  }
  logger.info({ address: `http://${bindAddress}/metrics` }, 'metrics are served');
}

export interface RunningWorker {
  /** Resolves when all queues have stopped; rejects when one of them broke. */
  readonly done: Promise<void>;
  readonly stop: () => void;
}

/**
 * @param python the interpreter of the trainers that come with Refit
 * @param decorate the seam for what has to see every call of a port, such as tracing or failpoints; by default nothing sees them
 */
export async function startWorker(
  settings: Settings,
  logger: Logger,
  queues: readonly QueueName[],
  python: string,
  decorate: (ports: Ports) => Ports = (ports) => ports,
): Promise<RunningWorker> {
  serveMetrics(settings.workerMetricsPort, logger);
  const registry = await openRegistry(settings.databaseUrl.reveal());
  const store = await openArtifactStore(settings);
  const client = await connectClient(settings.temporal);
  const root = installationRoot();
  const traces = new EventTraces(registry);
  const ports: Ports = {
    registry,
    store,
    engine: createDataEngine({ maxBytes: settings.dataMaxBytes }),
    evaluator: createEvaluator(createScorer),
    batchScorer: createBatchScorer(createScorer),
    drift: createDriftDetector(),
    trainer: createProcessTrainer({ python, trainersFolder: join(root, 'trainers'), environment: process.env }),
    messenger: settings.tracing.enabled ? tracedMessenger(createMessenger(client), traces) : createMessenger(client),
    notifier: createNotifier(logger, registry),
    schedules,
    surroundings: createSurroundings({
      scratchRoot: join(settings.home, 'scratch', 'worker'),
      dataRoots: settings.dataRoots,
      maxBytes: settings.dataMaxBytes,
      s3: settings.s3,
      environment: process.env,
    }),
  };
  const activities = createActivities(decorate(ports));
  const connection = await connectWorker(settings.temporal);
  // An unregistered attribute would fail each workflow task again and again; better not to start.
  const missing = await missingSearchAttributes(connection, settings.temporal.namespace);
  if (missing.length > 0) {
    throw new Error(
      `Temporal at ${settings.temporal.address} lacks the search attributes ${missing.join(', ')}; refit up registers them, or temporal operator search-attribute create`,
    );
  }
  const bundle: Pick<WorkerOptions, 'workflowBundle'> = {
    workflowBundle: { codePath: join(root, 'dist', 'workflow-bundle.js') },
  };
  const workers = await Promise.all(
    queues.map((queue) =>
      Worker.create({
        connection,
        namespace: settings.temporal.namespace,
        taskQueue: QUEUES[queue],
        activities,
        ...(settings.tracing.enabled ? { interceptors: { activity: [tracedActivities(traces)] } } : {}),
        maxConcurrentActivityTaskExecutions: CONCURRENCY[queue],
        // Only the control queue has workflows; the others run activities for them.
        ...(queue === 'control' ? bundle : {}),
        // Activities in hand are cancelled when this is over, and retried elsewhere.
        shutdownGraceTime: '5s',
        shutdownForceTime: '10s',
      }),
    ),
  );
  const done = (async () => {
    try {
      await Promise.all(workers.map((worker) => worker.run()));
    } finally {
      await connection.close();
      await client.connection.close();
      await registry.close();
    }
  })();
  return {
    done,
    stop: () => {
      for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
    },
  };
}
