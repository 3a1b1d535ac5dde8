/** Ports for workflow tests: the real registry and store in a folder of their own; engine, trainer and servers do as told. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Context } from '@temporalio/activity';
import type { Ports } from '../../activities/ports.ts';
import { createBatchScorer } from '../../src/adapters/batch-scorer.ts';
import { createScorer } from '../../src/adapters/onnx/scorer.ts';
import { schedules } from '../../src/adapters/schedule.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import { LATENCY_BUCKETS_MS, type ReplicaReport, type TrafficPlan } from '../../src/contracts/plan.ts';
import { type DataEngine, DataProblem, type DriftDetector, type Evaluator } from '../../src/ports/data.ts';
import type { Messenger } from '../../src/ports/messenger.ts';
import type { Registry } from '../../src/ports/registry.ts';
import type { Surroundings } from '../../src/ports/surroundings.ts';
import type { TrainerRunner } from '../../src/ports/trainer.ts';
import { freshRegistry } from './registry-fixtures.ts';
import type { Behaviours } from './workflow-behaviour.ts';

/** The model whose run this activity works for. */
const modelAtWork = (): string => Context.current().info.workflowExecution?.workflowId.split('/')[1] ?? '';

const unused = (what: string) => (): never => {
  throw new Error(`${what} is not part of these tests`);
};

/** Files are named `….ROWS.csv` and say so many rows. */
function rowsOf(text: string): number {
  const found = /\.(\d+)\.csv$/.exec(text);
  return found ? Number(found[1]) : 0;
}

function fakeEngine(behaviours: Behaviours): DataEngine {
  return {
    async convert({ path, output }) {
      const text = await readFile(path, 'utf8');
      await writeFile(output, text);
      return { rows: rowsOf(text), columns: [{ name: 'x', type: 'float64' }], minTime: null, maxTime: null };
    },
    check: async () => [],
    profile: async () => ({ rows: 0, columns: [] }),
    emptyColumns: async () => [],
    columns: async () => [],
    checkFeatures: unused('checkFeatures'),
    columnsOfExpression: unused('columnsOfExpression'),
    buildLookup: async () => ({ rows: 0, maxTime: null }),
    computeFeatures: async () => ({ rows: 0 }),
    findIds: async () => ({ found: [], lacking: [] }),
    withoutIds: async () => null,
    async snapshot({ output }) {
      for (const name of ['train', 'validation', 'test', 'reference', 'test_source']) {
        await writeFile(join(output, `${name}.parquet`), name);
      }
      const isBad = behaviours.of(modelAtWork()).data === 'one class';
      return {
        features: [{ name: 'x', type: 'float64' }],
        source: [{ name: 'x', type: 'float64' }],
        classes: [],
        rows: { train: 80, validation: 10, test: 10 },
        testStart: null,
        failures: isBad ? [{ check: 'one class', column: 'y', severity: 'block', detail: 'only 1', examples: [] }] : [],
      };
    },
  };
}

function fakeTrainer(behaviours: Behaviours): TrainerRunner {
  return {
    async run({ spec, signal }) {
      const model = modelAtWork();
      const { training } = behaviours.of(model);
      const end = training === 'waits' ? await behaviours.untilReleased(model, signal) : 'released';
      if (end === 'stopped') return { status: 'failed', cause: 'signal', reason: 'stopped', log: '' };
      if (training === 'fails')
        return {
          status: 'failed',
          cause: 'exit',
          reason: 'the trainer exited with 1',
          log: 'no luck with ana@example.com',
        };
      await writeFile(join(spec.output, 'model.onnx'), Context.current().info.workflowExecution?.workflowId ?? '');
      await writeFile(join(spec.output, 'predictions.parquet'), 'predictions');
      return { status: 'done', seconds: 1, metrics: {}, log: '' };
    },
    environment: async () => ({}),
  };
}

function fakeEvaluator(behaviours: Behaviours): Evaluator {
  return {
    async evaluate({ metric }) {
      const { rmse, data } = behaviours.of(modelAtWork());
      if (data === 'changes') throw new DataProblem('join', 'column temp is float64 by now', 'temp', ['Olga']);
      const metrics = rmse === undefined ? {} : { [metric]: rmse };
      return { evaluation: { rows: 10, metric, metrics, slices: [] }, parity: 0, comparison: null };
    },
  };
}

const drift: DriftDetector = {
  skew: async () => ({ rows: 0, differing: 0, features: [] }),
  detect: async () => ({ rows: 0, labelled: 0, features: [], performance: null }),
  compare: unused('compare'),
};

/** One replica that always has the plan in force, and counts what the behaviour says. */
function report(plan: TrafficPlan, behaviours: Behaviours): ReplicaReport {
  const { challenger } = behaviours.of(plan.model);
  const counts = plan.entries.map(({ version, role }) => {
    const requests = role === 'champion' || challenger !== 'silent' ? 100 : 0;
    const errors = role !== 'champion' && challenger === 'failing' ? 50 : 0;
    return {
      version,
      role,
      requests,
      errors,
      latencyBuckets: LATENCY_BUCKETS_MS.map((_, at) => (at === 3 ? requests : 0)),
    };
  });
  const droppedLogs = challenger === 'dropped' && plan.revision === 1 ? 1 : 0;
  return { replica: 'one', ...plan, counts, droppedLogs, failures: [] };
}

function withServers(registry: Registry, behaviours: Behaviours): Registry {
  return {
    ...registry,
    async replicas(model, since) {
      const plan = await registry.plan(model);
      if (!plan || behaviours.of(model).challenger === 'absent') return [];
      return [{ ...report(plan, behaviours), at: since }];
    },
  };
}

function surroundings(folder: string): Surroundings {
  return {
    // The server's clock: in skipped time it is far from that of this machine.
    now: () => new Date(Context.current().info.currentAttemptScheduledTimestampMs),
    async scratch(work) {
      const attempt = await mkdtemp(join(folder, 'attempt-'));
      try {
        return await work(attempt);
      } finally {
        await rm(attempt, { recursive: true, force: true });
      }
    },
    expand: (uri) => Promise.resolve([uri]),
    async fetch(uri, _place, target) {
      await writeFile(target, uri);
      return { sha256: createHash('sha256').update(uri).digest('hex'), bytes: uri.length };
    },
  };
}

export interface TestPorts {
  readonly ports: Ports;
  readonly registry: Registry;
  readonly close: () => Promise<void>;
}

export async function testPorts(behaviours: Behaviours, messenger: Messenger): Promise<TestPorts> {
  const { registry: real, file, close } = await freshRegistry();
  const folder = join(file, '..');
  const registry = withServers(real, behaviours);
  const ports: Ports = {
    registry,
    store: await openStore(`file:${join(folder, 'artifacts')}`),
    engine: fakeEngine(behaviours),
    evaluator: fakeEvaluator(behaviours),
    batchScorer: createBatchScorer(createScorer),
    drift,
    trainer: fakeTrainer(behaviours),
    messenger,
    notifier: {
      async notify(notification) {
        behaviours.notifications.push(notification);
      },
    },
    schedules,
    surroundings: surroundings(folder),
  };
  return { ports, registry, close };
}
