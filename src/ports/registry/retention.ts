/** What is past its retention. */
import type { SinkFile } from './monitoring.ts';

/** What is past its retention. Deleting the bytes is the caller's; every method can be called again. */
export interface RetentionRegistry {
  /** Of the oldest files of predictions, at most `limit`, those without a row after `before`. */
  oldSinkFiles(before: string, limit: number): Promise<readonly SinkFile[]>;
  dropSinkFile(file: SinkFile): Promise<void>;
  /** Runs that ended before, whose version (if any) is rejected or archived and never was champion, and whose artifacts are still there. */
  oldRuns(before: string, limit: number): Promise<readonly RunArtifacts[]>;
  /** All runs but these whose artifacts are still there. */
  runsKept(but: readonly string[]): Promise<readonly RunArtifacts[]>;
  /** Audited. */
  artifactsDeleted(run: string, count: number, at: string): Promise<void>;
  /** Datasets from which a correction or an erasure took files before. */
  correctedDatasets(before: string): Promise<readonly string[]>;
}

/** Digests of what a run made. */
export interface RunArtifacts {
  readonly run: string;
  readonly snapshot: string | null;
  /** ONNX file, the trainer's predictions, the end of its log. */
  readonly artifacts: readonly string[];
}
