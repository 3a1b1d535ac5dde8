/** Everything that activities need from outside, as narrow ports. Workers wire the real ones. */
import type { BatchScorer, DataEngine, DriftDetector, Evaluator } from '../src/ports/data.ts';
import type { Messenger } from '../src/ports/messenger.ts';
import type { Registry } from '../src/ports/registry.ts';
import type { Schedules } from '../src/ports/schedules.ts';
import type { ArtifactStore } from '../src/ports/store.ts';
import type { Notifier, Surroundings } from '../src/ports/surroundings.ts';
import type { TrainerRunner } from '../src/ports/trainer.ts';

export interface Ports {
  readonly registry: Registry;
  readonly store: ArtifactStore;
  readonly engine: DataEngine;
  readonly evaluator: Evaluator;
  readonly batchScorer: BatchScorer;
  readonly drift: DriftDetector;
  readonly trainer: TrainerRunner;
  readonly messenger: Messenger;
  readonly notifier: Notifier;
  readonly schedules: Schedules;
  readonly surroundings: Surroundings;
}
