/** The datasets and models of a project folder, without any service. */
import { createDataEngine } from '../adapters/duckdb/engine.ts';
import { schedules } from '../adapters/schedule.ts';
import type { DatasetDocument, ModelDocument } from '../contracts/documents.ts';
import { selectColumns } from '../domain/features.ts';
import { checkProject } from '../project/check.ts';
import { ProjectFolderError, readProjectFolder } from '../project/folder.ts';
import { CliError, EXIT } from './exit.ts';

export interface LocalModel {
  readonly document: ModelDocument;
  readonly dataset: DatasetDocument;
  readonly featuresSql: string;
  /** Datasets of the project, which a join may name. */
  readonly datasets: readonly DatasetDocument[];
}

export interface LocalProject {
  readonly datasets: readonly DatasetDocument[];
  /** Those whose dataset is in the project too. */
  readonly models: readonly LocalModel[];
}

/** @throws CliError with all problems of the project */
export async function readProject(folder: string): Promise<LocalProject> {
  const files = await readProjectFolder(folder).catch((error: unknown) => {
    throw error instanceof ProjectFolderError ? new CliError(EXIT.usage, error.message) : error;
  });
  const project = await checkProject(files, { datasets: new Map(), policies: [] }, createDataEngine(), schedules);
  const errors = project.problems.filter(({ severity }) => severity === 'error');
  if (errors.length > 0)
    throw new CliError(
      EXIT.usage,
      errors.map((one) => `${one.file}:${one.line}:${one.column}: ${one.message}`).join('\n'),
    );
  const models = project.models.flatMap((document) => {
    const dataset = project.datasets.find(({ name }) => name === document.dataset);
    const { features } = document;
    const featuresSql =
      typeof features === 'string' ? Buffer.from(files.get(features) ?? []).toString('utf8') : selectColumns(features);
    return dataset ? [{ document, dataset, featuresSql, datasets: project.datasets }] : [];
  });
  return { datasets: project.datasets, models };
}

export async function readModel(folder: string, model: string): Promise<LocalModel> {
  const { models } = await readProject(folder);
  const found = models.find(({ document }) => document.name === model);
  if (!found)
    throw new CliError(
      EXIT.usage,
      `${folder} defines no model ${model} with its dataset; it has ${models.map(({ document }) => document.name).join(', ') || 'none'}`,
    );
  return found;
}
