/** Training: a trainer turns the snapshot into an ONNX file and nothing else. */
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Context } from '@temporalio/activity';
import type { SnapshotManifest } from '../src/contracts/data.ts';
import type { ModelDocument } from '../src/contracts/documents.ts';
import type { StageRequest, TrainResult } from '../src/contracts/messages.ts';
import { withLastLines } from '../src/domain/rejection.ts';
import { readProjectManifest } from '../src/ports/project.ts';
import type { ModelRecord } from '../src/ports/registry/definitions.ts';
import { readJson } from '../src/ports/store.ts';
import {
  type TrainerOutcome,
  type TrainerRequest,
  type TrainerSpec,
  trainerLimits,
  trainerSpec,
} from '../src/ports/trainer.ts';
import { presentPath } from './artifacts.ts';
import { pinned } from './definition.ts';
import { FAILURES, fail, required } from './failures.ts';
import { beating, stopIfCancelled, withinAttempt } from './heartbeat.ts';
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

  async function trainIn(
    folder: string,
    request: StageRequest & { readonly snapshot: string },
    onProgress: TrainerRequest['onProgress'],
  ): Promise<TrainResult> {
    const record = await pinned(ports, request);
    const { training } = record.document;
    const snapshot = await readJson<SnapshotManifest>(store, request.snapshot);
    const spec = await specOf(record.document, snapshot, folder);
    const specPath = join(folder, 'spec.json');
    await writeFile(specPath, JSON.stringify(spec));
    const context = Context.current();
    const command = await commandOf(record, folder);
    const outcome = await trainer.run({
      command,
      spec,
      specPath,
      environment: training.environment.env,
      ...trainerLimits(record.document),
      signal: context.cancellationSignal,
      onProgress,
    });
    if (outcome.status === 'failed') {
      const mayHelp = (outcome.cause === 'signal' || outcome.cause === 'memory') && context.info.attempt < MAX_ATTEMPTS;
      if (mayHelp) throw new Error(outcome.reason);
      // A failure stays in the history; what the trainer wrote, which may be values of rows, stays where an erasure finds it.
      const reason = withLastLines(outcome.reason, outcome.log);
      await withinAttempt(`keeping why ${request.run} failed`, async () => {
        stopIfCancelled();
        await registry.keepReason(request.run, reason);
      });
      throw fail(FAILURES.trainer, outcome.reason);
    }
    await requireFile(join(spec.output, 'model.onnx'), 'model.onnx');
    await requireFile(join(spec.output, 'predictions.parquet'), 'predictions.parquet');
    // From here on the training is done, and its files are gone with the attempt: an outage is waited for.
    return withinAttempt(`keeping what ${request.run} trained`, () => keep(request, record, spec, command, outcome));
  }

  /** Files first, the row that names them last: a stage that is asked again answers from it. */
  async function keep(
    request: StageRequest,
    { document: { training } }: ModelRecord,
    { output }: TrainerSpec,
    command: TrainerRequest['command'],
    { seconds, metrics, log: said }: Extract<TrainerOutcome, { status: 'done' }>,
  ): Promise<TrainResult> {
    const onnx = (await store.putFile(join(output, 'model.onnx'))).digest;
    const predictions = (await store.putFile(join(output, 'predictions.parquet'))).digest;
    const log = await store.putBytes(Buffer.from(said));
    const made = { onnx, predictions, log, seconds, metrics, attempt: Context.current().info.attempt };
    const trainedBy = {
      trainer: training.trainer ?? training.command?.join(' ') ?? '',
      environment: await trainer.environment(command),
    };
    stopIfCancelled();
    const at = surroundings.now().toISOString();
    // What is charged to the budget is what was kept for it: wall time on all its cores.
    await registry.settleCost(request.run, seconds * training.limits.cpu, at);
    await registry.updateRun(request.run, { stage: 'evaluate', onnx, training: { ...made, ...trainedBy } }, at);
    return { onnx, predictions, seconds };
  }

  return {
    async train(request: StageRequest & { readonly snapshot: string }): Promise<TrainResult> {
      let progress: unknown = null;
      const onProgress: TrainerRequest['onProgress'] = (metric) => {
        progress = metric;
      };
      // Around all of it: to fetch the data and to store the files may take as long as they are large.
      return beating(
        async () => {
          const { training } = required(await registry.run(request.run), request.run);
          if (training) return { onnx: training.onnx, predictions: training.predictions, seconds: training.seconds };
          return surroundings.scratch((folder) => trainIn(folder, request, onProgress));
        },
        () => progress,
      );
    },
  };
}
