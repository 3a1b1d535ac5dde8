/** Training: a trainer turns the snapshot into an ONNX file and nothing else. */
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Context } from '@temporalio/activity';
import type { SnapshotManifest } from '../src/contracts/data.ts';
import type { ModelDocument } from '../src/contracts/documents.ts';
import type { StageRequest, TrainResult } from '../src/contracts/messages.ts';
import { readProjectManifest } from '../src/ports/project.ts';
import type { ModelRecord } from '../src/ports/registry/definitions.ts';
import { readJson } from '../src/ports/store.ts';
import { type TrainerRequest, type TrainerSpec, trainerLimits, trainerSpec } from '../src/ports/trainer.ts';
import { presentPath } from './artifacts.ts';
import { pinned } from './definition.ts';
import { FAILURES, fail, required } from './failures.ts';
import { beating } from './heartbeat.ts';
import type { Ports } from './ports.ts';

export type TrainActivities = ReturnType<typeof createTrainActivities>;

/** A trainer that was killed may succeed the next time; one that says no will say so again. */
const MAX_ATTEMPTS = 3;

async function requireFile(path: string, what: string): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!found || found.size === 0)
    throw fail(
      FAILURES.trainer,
      `the trainer exited 0 but wrote no ${what}; it must write it to the folder \`output\` of its spec`,
    );
}

export function createTrainActivities(ports: Ports) {
  const { registry, store, trainer, surroundings } = ports;

  async function materialize(record: ModelRecord, folder: string): Promise<void> {
    for (const [path, digest] of Object.entries((await readProjectManifest(store, record.projectDigest)).files)) {
      const target = join(folder, path);
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, await store.getBytes(digest));
    }
  }

  async function commandOf(record: ModelRecord, folder: string): Promise<TrainerRequest['command']> {
    const { training } = record.document;
    if (training.command === undefined) return { trainer: training.trainer ?? 'lightgbm' };
    const project = join(folder, 'project');
    await materialize(record, project);
    return { argv: training.command, folder: project };
  }

  async function specOf(document: ModelDocument, snapshot: SnapshotManifest, folder: string): Promise<TrainerSpec> {
    const output = join(folder, 'output');
    const checkpoint = join(folder, 'checkpoint');
    await mkdir(output);
    await mkdir(checkpoint);
    const train = await presentPath(ports, snapshot.parts.train.digest);
    const validation = await presentPath(ports, snapshot.parts.validation.digest);
    return trainerSpec(document, snapshot, { train, validation, output, checkpoint });
  }

  async function trainIn(folder: string, request: StageRequest & { readonly snapshot: string }): Promise<TrainResult> {
    const record = await pinned(ports, request);
    const { training } = record.document;
    const snapshot = await readJson<SnapshotManifest>(store, request.snapshot);
    const spec = await specOf(record.document, snapshot, folder);
    const specPath = join(folder, 'spec.json');
    await writeFile(specPath, JSON.stringify(spec));
    const context = Context.current();
    let progress: unknown = null;
    const command = await commandOf(record, folder);
    const outcome = await beating(
      () =>
        trainer.run({
          command,
          spec,
          specPath,
          environment: training.environment.env,
          ...trainerLimits(record.document),
          signal: context.cancellationSignal,
          onProgress: (metric) => {
            progress = metric;
          },
        }),
      () => progress,
    );
    if (outcome.status === 'failed') {
      const mayHelp = (outcome.cause === 'signal' || outcome.cause === 'memory') && context.info.attempt < MAX_ATTEMPTS;
      if (mayHelp) throw new Error(outcome.reason);
      throw fail(FAILURES.trainer, outcome.reason);
    }
    await requireFile(join(spec.output, 'model.onnx'), 'model.onnx');
    await requireFile(join(spec.output, 'predictions.parquet'), 'predictions.parquet');
    // What is charged to the budget is what was kept for it: wall time on all its cores.
    const cpuSeconds = outcome.seconds * training.limits.cpu;
    await registry.settleCost(request.run, cpuSeconds, surroundings.now().toISOString());
    const onnx = (await store.putFile(join(spec.output, 'model.onnx'))).digest;
    const predictions = (await store.putFile(join(spec.output, 'predictions.parquet'))).digest;
    await registry.updateRun(
      request.run,
      {
        stage: 'evaluate',
        onnx,
        training: {
          onnx,
          predictions,
          log: await store.putBytes(Buffer.from(outcome.log)),
          seconds: outcome.seconds,
          attempt: context.info.attempt,
          trainer: training.trainer ?? training.command?.join(' ') ?? '',
          environment: await trainer.environment(command),
          metrics: outcome.metrics,
        },
      },
      surroundings.now().toISOString(),
    );
    return { onnx, predictions, seconds: outcome.seconds };
  }

  return {
    async train(request: StageRequest & { readonly snapshot: string }): Promise<TrainResult> {
      const { training } = required(await registry.run(request.run), request.run);
      if (training) return { onnx: training.onnx, predictions: training.predictions, seconds: training.seconds };
      return surroundings.scratch((folder) => trainIn(folder, request));
    },
  };
}
