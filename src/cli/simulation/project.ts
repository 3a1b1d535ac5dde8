/** A model of a project folder, without any service. */
import { createDataEngine } from '../../adapters/duckdb/engine.ts';
import { schedules } from '../../adapters/schedule.ts';
import type { DatasetDocument, ModelDocument } from '../../contracts/documents.ts';
import { selectColumns } from '../../domain/features.ts';
import { checkProject } from '../../project/check.ts';
import { readProjectFolder } from '../../project/folder.ts';
import { CliError, EXIT } from '../exit.ts';

export interface LocalModel {
  readonly document: ModelDocument;
  readonly dataset: DatasetDocument;
  readonly featuresSql: string;
}

export async function readModel(folder: string, model: string): Promise<LocalModel> {
  const files = await readProjectFolder(folder);
  const project = await checkProject(files, { datasets: new Map(), policies: [] }, createDataEngine(), schedules);
  const errors = project.problems.filter(({ severity }) => severity === 'error');
  if (errors.length > 0)
    throw new CliError(
      EXIT.usage,
      errors.map((one) => `${one.file}:${one.line}:${one.column}: ${one.message}`).join('\n'),
    );
  const document = project.models.find(({ name }) => name === model);
  if (!document)
    throw new CliError(
      EXIT.usage,
      `${folder} defines no model ${model}; it has ${project.models.map(({ name }) => name).join(', ') || 'none'}`,
    );
  const dataset = project.datasets.find(({ name }) => name === document.dataset);
  if (!dataset) throw new CliError(EXIT.usage, `${folder} lacks the dataset ${document.dataset} of ${model}`);
  const { features } = document;
  const featuresSql =
    typeof features === 'string' ? Buffer.from(files.get(features) ?? []).toString('utf8') : selectColumns(features);
  return { document, dataset, featuresSql };
}
