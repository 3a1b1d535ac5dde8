/** Runs a trainer: any command that keeps the trainer contract. */
import type { FeatureColumn } from '../contracts/data.ts';
import type { ModelDocument } from '../contracts/documents.ts';
import { durationMs } from '../contracts/duration.ts';
import type { Task } from '../contracts/values.ts';

/** What a trainer reads from the file named by REFIT_SPEC. */
export interface TrainerSpec {
  readonly task: Task;
  /** Column of the outcome: a number for regression, else the index of the class in `classes`. */
  readonly label: string;
  readonly columns: readonly (FeatureColumn & { readonly role: 'feature' | 'label' })[];
  readonly classes: readonly string[];
  readonly train: string;
  readonly validation: string;
  /** Number of folds; column `__fold` of both files says from 0 in which a row is. Left out without cross-validation. */
  readonly folds?: number;
  readonly params: Readonly<Record<string, string | number | boolean | null>>;
  readonly seed: number;
  readonly threads: number;
  readonly output: string;
  readonly checkpoint: string;
}

/** What every run gives its trainer, in production and in a simulation alike. Paths are local. */
export function trainerSpec(
  { task, training, split }: ModelDocument,
  { features, classes }: { readonly features: readonly FeatureColumn[]; readonly classes: readonly string[] },
  paths: Pick<TrainerSpec, 'train' | 'validation' | 'output' | 'checkpoint'>,
): TrainerSpec {
  const type = classes.length > 0 ? ('int64' as const) : ('float64' as const);
  return {
    task,
    label: '__label',
    columns: [
      ...features.map((feature) => ({ ...feature, role: 'feature' as const })),
      { name: '__label', type, role: 'label' as const },
    ],
    classes,
    ...(split.folds === undefined ? {} : { folds: split.folds }),
    params: training.params,
    seed: training.seed,
    threads: training.limits.cpu,
    ...paths,
  };
}

/** A definition's limits of time and memory. */
export function trainerLimits({ training: { limits } }: ModelDocument): Pick<TrainerRequest, 'timeMs' | 'memoryBytes'> {
  const unit = limits.memory.endsWith('GiB') ? 2 ** 30 : 2 ** 20;
  return { timeMs: durationMs(limits.time), memoryBytes: Number.parseInt(limits.memory, 10) * unit };
}

export interface TrainerRequest {
  /** A trainer that comes with Refit, or a command run in the project folder. */
  readonly command: { readonly trainer: string } | { readonly argv: readonly string[]; readonly folder: string };
  readonly spec: TrainerSpec;
  readonly specPath: string;
  /** Names of variables that are passed through. */
  readonly environment: readonly string[];
  readonly timeMs: number;
  readonly memoryBytes: number;
  readonly signal: AbortSignal;
  readonly onProgress: (metric: { readonly step: number; readonly name: string; readonly value: number }) => void;
}

export type TrainerOutcome =
  | {
      readonly status: 'done';
      readonly seconds: number;
      readonly metrics: Readonly<Record<string, number>>;
      readonly log: string;
    }
  | {
      readonly status: 'failed';
      readonly cause: 'exit' | 'signal' | 'time' | 'memory' | 'start';
      /** What happened, in one sentence without any of its own words: it goes where nothing is forgotten. */
      readonly reason: string;
      /** The last lines that it wrote. They may be values of rows. */
      readonly log: string;
    };

export interface TrainerRunner {
  run(request: TrainerRequest): Promise<TrainerOutcome>;
  /** Versions that a repetition of the run would need: python, lightgbm, onnx and so on. */
  environment(command: TrainerRequest['command']): Promise<Readonly<Record<string, string>>>;
}
