/** The definition that a run is pinned to, with the text of its features. */
import type { ModelDocument } from '../src/contracts/documents.ts';
import type { StageRequest } from '../src/contracts/messages.ts';
import { selectColumns } from '../src/domain/features.ts';
import { readProjectFile } from '../src/ports/project.ts';
import type { ModelRecord } from '../src/ports/registry/definitions.ts';
import { FAILURES, fail, required } from './failures.ts';
import type { Ports } from './ports.ts';

export async function pinned(
  { registry }: Pick<Ports, 'registry'>,
  { model, definitionDigest }: StageRequest,
): Promise<ModelRecord> {
  return required(await registry.definition(model, definitionDigest), `definition ${definitionDigest} of ${model}`);
}

export async function featuresText({ store }: Pick<Ports, 'store'>, record: ModelRecord): Promise<string> {
  const { features }: ModelDocument = record.document;
  if (typeof features !== 'string') return selectColumns(features);
  const text = await readProjectFile(store, record.projectDigest, features);
  if (text === undefined) throw fail(FAILURES.notFound, `${features} is not in the project of ${record.name}`);
  return text;
}
