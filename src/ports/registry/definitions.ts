/** What was applied: datasets, models with their policies, and their history. */
import type { DatasetDocument, ModelDocument, PolicyDocument } from '../../contracts/documents.ts';

export interface DatasetRecord {
  readonly name: string;
  readonly document: DatasetDocument;
  /** Roots from which its files may come: the project folder of the last apply. */
  readonly root: string;
}

export interface ModelRecord {
  readonly name: string;
  readonly document: ModelDocument;
  /** sha256 of the canonical definition: the document with the project bundle's digest. */
  readonly definitionDigest: string;
  /** The project folder as a content-addressed bundle: digest of a JSON manifest {path: digest}. */
  readonly projectDigest: string;
  readonly revision: number;
  readonly gitCommit: string | null;
  readonly actor: string;
  readonly appliedAt: string;
}

export interface ApplyInput {
  readonly datasets: readonly DatasetDocument[];
  readonly models: readonly { readonly document: ModelDocument; readonly definitionDigest: string }[];
  readonly policies: readonly PolicyDocument[];
  readonly projectDigest: string;
  readonly root: string;
  readonly gitCommit: string | null;
  readonly actor: string;
  readonly at: string;
}
export interface ApplyChange {
  readonly kind: 'Dataset' | 'Model' | 'Policy';
  readonly name: string;
  readonly status: 'created' | 'changed' | 'unchanged';
}

export interface DefinitionRegistry {
  /** Idempotent: what is registered already is `unchanged`. */
  apply(input: ApplyInput): Promise<readonly ApplyChange[]>;
  dataset(name: string): Promise<DatasetRecord | undefined>;
  datasets(): Promise<readonly DatasetRecord[]>;
  /** The newest definition. */
  model(name: string): Promise<ModelRecord | undefined>;
  models(): Promise<readonly ModelRecord[]>;
  modelsOfDataset(dataset: string): Promise<readonly string[]>;
  definition(model: string, definitionDigest: string): Promise<ModelRecord | undefined>;
  policies(): Promise<readonly PolicyDocument[]>;
}
