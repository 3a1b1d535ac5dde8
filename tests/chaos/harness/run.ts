/** One chaos run: a stack of its own, events, people and faults, the wait for the end, then the oracle. */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { prepareTemporal } from '../../../src/local/probes.ts';
import { ensureTestTools, setupContext } from '../../../src/local/setup/index.ts';
import { parseSettings } from '../../../src/settings.ts';
import { quietPorts } from '../../support/e2e-refit.ts';
import { linearOnnx } from '../../support/onnx-files.ts';
import { judge } from '../oracle/judge.ts';
import type { Report } from '../oracle/report.ts';
import { FailpointQueue, type FaultFigures, injectFaults } from './faults.ts';
import type { ChaosOptions } from './options.ts';
import { People } from './people.ts';
import { makePlan, modelName, projectYaml } from './plan.ts';
import { DiskLog, publish } from './publisher.ts';
import { type Rest, Watch } from './quiet.ts';
import { createRandom } from './random.ts';
import { ChaosStack } from './stack.ts';

export interface ChaosResult {
  readonly report: Report;
  readonly home: string;
}

const TRAINER = fileURLToPath(new URL('../project/trainer.cjs', import.meta.url));
const BUNDLE = fileURLToPath(new URL('../../../dist/workflow-bundle.js', import.meta.url));

async function settingsFor(home: string, servers: ChaosOptions['servers'], name: string) {
  const [temporal, temporalUi, kafka, gateway, serve] = await quietPorts(5);
  const env: NodeJS.ProcessEnv = {
    REFIT_HOME: home,
    REFIT_TEMPORAL_PORT: String(temporal),
    REFIT_TEMPORAL_UI_PORT: String(temporalUi),
    REFIT_KAFKA_PORT: String(kafka),
    REFIT_GATEWAY_PORT: String(gateway),
    REFIT_SERVE_PORT: String(serve),
    REFIT_TOPIC_PREFIX: `${name}.`,
    TEMPORAL_ADDRESS: servers?.temporal ?? `127.0.0.1:${temporal}`,
    TEMPORAL_NAMESPACE: servers === null ? 'default' : name,
    KAFKA_BROKERS: servers?.kafka ?? `127.0.0.1:${kafka}`,
  };
  return { env, settings: parseSettings(env, home) };
}

/** A namespace of its own on a server that others use as well. */
async function ownNamespace(settings: ReturnType<typeof parseSettings>): Promise<void> {
  const connection = await Connection.connect({ address: settings.temporal.address });
  await connection.workflowService.registerNamespace({
    namespace: settings.temporal.namespace,
    workflowExecutionRetentionPeriod: msToTs('1 day'),
  });
  for (const deadlineMs = Date.now() + 30_000; ; ) {
    try {
      await prepareTemporal(settings.temporal);
      await new Client({ connection, namespace: settings.temporal.namespace }).workflow.count();
      break;
    } catch (error) {
      // The server's parts learn of a namespace one after another.
      if (Date.now() > deadlineMs) throw error;
      await sleep(200);
    }
  }
  await connection.close();
}

async function untilQuiet(
  watch: Watch,
  { patienceSeconds, stallSeconds }: ChaosOptions,
  tell: (line: string) => void,
): Promise<Rest> {
  const deadlineMs = Date.now() + patienceSeconds * 1_000;
  let quiet = 0;
  let moved = { detail: '', atMs: Date.now() };
  let last: Rest = { isQuiet: false, detail: 'the registry could not be read', lag: 0 };
  let told = 0;
  while (Date.now() < deadlineMs) {
    try {
      last = await watch.look();
    } catch (error) {
      last = { ...last, isQuiet: false, detail: String(error) };
    }
    // Twice in a row: between two transactions all may look done.
    quiet = last.isQuiet ? quiet + 1 : 0;
    if (quiet === 3) return last;
    if (last.detail !== moved.detail) moved = { detail: last.detail, atMs: Date.now() };
    if (stallSeconds > 0 && Date.now() - moved.atMs > stallSeconds * 1_000) return last;
    if (Date.now() - told > 10_000) {
      tell(`draining: ${last.detail || 'quiet'}`);
      told = Date.now();
    }
    await sleep(400);
  }
  return last;
}

export async function runChaos(options: ChaosOptions, tell: (line: string) => void): Promise<ChaosResult> {
  const name = `chaos-${randomUUID().slice(0, 8)}`;
  const home = await mkdtemp(join(tmpdir(), `refit-${name}-`));
  const { env, settings } = await settingsFor(home, options.servers, name);
  const dataFolder = join(home, 'data');
  await mkdir(dataFolder);
  await mkdir(join(home, 'elsewhere'));
  const plan = makePlan(options, dataFolder);
  for (const file of plan.files) await writeFile(file.path, file.text);
  await writeFile(join(home, 'options.json'), JSON.stringify(options));

  const tools = await ensureTestTools(
    settings,
    setupContext((line) => tell(line)),
  );
  const queue = new FailpointQueue(options, createRandom(options.seed + 1));
  const stack = new ChaosStack({
    ...{ settings, env, tools, workers: options.workers, gateway: true, serve: options.serve },
    ownServers: options.servers === null,
    failpoints: (kind) => queue.next(kind),
  });
  const log = new DiskLog(join(home, 'people.jsonl'));
  const input = new DiskLog(join(home, 'input.jsonl'));
  const watch = new Watch(join(home, 'refit.db'), settings.kafka.brokers, settings.kafka.topicPrefix);
  let connection: Connection | null = null;
  const figures = { maxLag: 0 };
  try {
    if (options.servers !== null) await ownNamespace(settings);
    tell(`${name}: seed ${options.seed}; starting the stack`);
    await stack.start();
    connection = Connection.lazy({ address: settings.temporal.address });
    const client = new Client({ connection, namespace: settings.temporal.namespace });
    const people = new People({
      url: `http://127.0.0.1:${settings.ports.gateway}`,
      client: () => client,
      random: createRandom(options.seed + 2),
      log,
      root: dataFolder,
      models: options.models,
      revocations: options.operators,
    });
    await people.apply(projectYaml(options), {
      'trainer.cjs': await readFile(TRAINER),
      'linear.onnx': Buffer.from(linearOnnx('x', 2, 1)),
    });
    tell('applied; events and faults begin');
    people.start();
    const startedMs = Date.now();
    const publishing = publish(plan.records, {
      brokers: settings.kafka.brokers,
      prefix: settings.kafka.topicPrefix,
      log: input,
    });
    const operating = operate(options, people);
    let injecting = true;
    const lagging = (async () => {
      while (injecting) {
        const rest = await watch.look().catch(() => null);
        figures.maxLag = Math.max(figures.maxLag, rest?.lag ?? 0);
        await sleep(1_000);
      }
    })();
    const faults: FaultFigures = await injectFaults(options, stack, createRandom(options.seed + 3));
    await Promise.all([publishing.done, operating]);
    injecting = false;
    await lagging;
    stack.disarm();
    const lastFaultMs = Date.now();
    tell(`last fault after ${Math.round((lastFaultMs - startedMs) / 1_000)} s; waiting for the end`);
    const rest = await untilQuiet(watch, options, tell);
    const drainSeconds = (Date.now() - lastFaultMs) / 1_000;
    await people.stop();
    const failpointKills = stack.parts.reduce((sum, part) => sum + part.failpointKills, 0);
    const fired = (await readdir(join(home, 'fired'))).filter((one) => one !== 'disarmed');
    tell(
      rest.isQuiet ? `at rest after ${drainSeconds.toFixed(1)} s; the oracle judges` : `NOT at rest: ${rest.detail}`,
    );
    const report = await judge(
      {
        ...{ home, prefix: settings.kafka.topicPrefix, brokers: settings.kafka.brokers, bundle: BUNDLE },
        temporal: { address: settings.temporal.address, namespace: settings.temporal.namespace },
        serve: options.serve ? `http://127.0.0.1:${settings.ports.serve}` : null,
        models: Array.from({ length: options.models }, (_, index) => modelName(index)),
        datasets: options.datasets,
      },
      {
        ...{ isQuiet: rest.isQuiet, left: rest.detail, drainSeconds, maxLag: figures.maxLag },
        ...{ kills: faults.kills + failpointKills, failpoints: fired.length, failpointKills, stops: faults.stops },
        ...{
          kafkaRestarts: faults.kafka,
          temporalRestarts: faults.temporal,
          locks: faults.locks,
          everythingAtOnce: faults.everything,
        },
        seconds: (lastFaultMs - startedMs) / 1_000,
      },
    );
    await writeFile(join(home, 'fired.json'), JSON.stringify(fired));
    return { report, home };
  } finally {
    await watch.close();
    await stack.stop();
    await connection?.close();
    log.close();
    input.close();
  }
}

/** Starts by hand and rollbacks, spread over the run. */
async function operate(options: ChaosOptions, people: People): Promise<void> {
  const doing: Promise<void>[] = [];
  for (let at = 0; at < options.operators; at += 1) {
    await sleep((options.seconds * 1_000) / (options.operators + 1));
    doing.push(people.operate(at % 2 === 0 ? 'start' : 'rollback'));
  }
  await Promise.all(doing);
}

export async function removeHome({ home }: Pick<ChaosResult, 'home'>): Promise<void> {
  await rm(home, { recursive: true, force: true });
}
