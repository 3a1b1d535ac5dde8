/** What the inference server needs from outside, no wider than it uses it. */
import type { Prediction } from '../contracts/events.ts';
import type { OutgoingRecord, Settled } from '../ports/bus.ts';
import type { FeatureEngineFactory, ScorerFactory } from '../ports/data.ts';
import type { Registry } from '../ports/registry.ts';
import type { ArtifactStore } from '../ports/store.ts';

export type ServingRegistry = Pick<Registry, 'plans' | 'reportReplica' | 'lookup'> & {
  version(model: string, version: number): Promise<{ readonly bundleDigest: string } | undefined>;
};

export interface PredictionPublisher {
  /** A row as it is published. Made once, so that what is offered again is the same record. */
  recordOf(prediction: Prediction): OutgoingRecord;
  /** Settles the first of the records, at least one. Rejects where none can be kept now: they are offered again. */
  publish(records: readonly OutgoingRecord[]): Promise<Settled>;
}

export interface InferenceServerOptions {
  readonly registry: ServingRegistry;
  readonly store: Pick<ArtifactStore, 'getBytes'>;
  readonly createFeatureEngine: FeatureEngineFactory;
  readonly createScorer: ScorerFactory;
  readonly publisher: PredictionPublisher;
  /** Folder of its own, on a disk that outlives the process: plan and files for a start without the registry. */
  readonly cacheFolder: string;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly replica: string;
  readonly clock: () => Date;
  /** @default 1000 */
  readonly pollIntervalMs?: number;
  /** Without the registry for this long, the champion takes all traffic. @default 10000 */
  readonly registryPatienceMs?: number;
  /** Rows of the prediction log that wait for the publisher; more are dropped and counted. @default 50000 */
  readonly logBufferRows?: number;
  /** Threads of the ONNX runtime for one call. @default 1 */
  readonly scorerThreads?: number;
  /** Told of what goes wrong in the background. */
  readonly onProblem?: (problem: string, error: unknown) => void;
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
