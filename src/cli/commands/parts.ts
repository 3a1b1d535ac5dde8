/** refit gateway, worker, serve: one part as its own process. Each is loaded when asked for: a short command need not wait for them. */
import type { Command } from '@commander-js/extra-typings';
import pino, { type Logger } from 'pino';
import type { QueueName } from '../../../workers/worker.ts';
import { QUEUES } from '../../contracts/values.ts';
import { stderrProgress } from '../../local/index.ts';
import { setupContext } from '../../local/setup/index.ts';
import { ensurePython } from '../../local/setup/python.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { print } from '../output.ts';

const QUEUE_NAMES = Object.keys(QUEUES) as QueueName[];

function logger(level: string, part: string): Logger {
  return pino({ level, base: { part }, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
}

/** The line that the supervisor waits for. */
function announce(part: string, address?: string): void {
  print(JSON.stringify({ part, status: 'ready', ...(address === undefined ? {} : { address }) }));
}

/** Resolves at the first of SIGTERM and SIGINT. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve());
  });
}

function queuesOf(text: string): readonly QueueName[] {
  const names = text.split(',').map((name) => name.trim());
  const wrong = names.filter((name) => !QUEUE_NAMES.some((known) => known === name));
  if (wrong.length > 0) {
    throw new CliError(EXIT.usage, `--queues: ${wrong.join(', ')} is no queue; they are ${QUEUE_NAMES.join(', ')}`);
  }
  return QUEUE_NAMES.filter((name) => names.includes(name));
}

export function partCommands(program: Command, { settings }: Context): void {
  const tracingOf = async (part: string) => {
    const { startTracing } = await import('../../telemetry/tracing.ts');
    return startTracing(settings.tracing.enabled, part);
  };
  program
    .command('gateway')
    .description('run the gateway: events from Kafka and HTTP, the API, outbox relay, sink of predictions')
    .action(async () => {
      const stopped = stopSignal();
      const { startGateway } = await import('../../gateway/gateway.ts');
      const tracing = await tracingOf('gateway');
      const part = await startGateway(settings, logger(settings.logLevel, 'gateway'));
      announce('gateway', part.address);
      await stopped;
      await part.stop();
      await tracing.stop();
    });
  program
    .command('worker')
    .description('run a worker: workflows and activities')
    .option('--queues <names>', `comma-separated, of ${QUEUE_NAMES.join(', ')}`, QUEUE_NAMES.join(','))
    .action(async ({ queues }) => {
      const names = queuesOf(queues);
      const stopped = stopSignal();
      const python = await ensurePython(settings, setupContext(stderrProgress()));
      const { startWorker } = await import('../../../workers/worker.ts');
      const tracing = await tracingOf('worker');
      const worker = await startWorker(settings, logger(settings.logLevel, 'worker'), names, python.path);
      announce('worker');
      void stopped.then(worker.stop);
      await worker.done;
      await tracing.stop();
    });
  program
    .command('serve')
    .description('run an inference server: Open Inference Protocol v2')
    .action(async () => {
      const stopped = stopSignal();
      const { startServing } = await import('../../serving/part.ts');
      const part = await startServing(settings, logger(settings.logLevel, 'serve'));
      announce('serve', part.address);
      await stopped;
      await part.stop();
    });
}
