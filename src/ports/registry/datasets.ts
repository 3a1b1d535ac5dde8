/** Versions of a dataset. */
import type { DatasetManifest } from '../../contracts/data.ts';
import type { Correction } from '../../domain/dataset-versions.ts';

export interface DatasetVersionRecord {
  readonly dataset: string;
  readonly version: number;
  readonly manifestDigest: string;
  readonly manifest: DatasetManifest;
  readonly eventKey: string;
  readonly newRows: number;
  readonly createdAt: string;
  /** The partition that it corrects: what was there before, and is no more. Null where it only adds. */
  readonly corrects: Correction | null;
}

export interface DatasetRegistry {
  latestDatasetVersion(dataset: string): Promise<DatasetVersionRecord | undefined>;
  datasetVersion(dataset: string, version: number): Promise<DatasetVersionRecord | undefined>;
  datasetVersionOfEvent(dataset: string, eventKey: string): Promise<DatasetVersionRecord | undefined>;
  datasetVersions(dataset: string, limit: number): Promise<readonly DatasetVersionRecord[]>;
  /** Version must be latest + 1, else `conflict`. The same event again gives what is there. */
  commitDatasetVersion(record: DatasetVersionRecord): Promise<DatasetVersionRecord | 'conflict'>;
}
