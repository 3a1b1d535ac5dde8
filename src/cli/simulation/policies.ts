/** Policies to try: the `retraining` section of a Model document in a file of its own, over the definition at hand. */
import { readFile } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import { parse } from 'yaml';
import { schedules } from '../../adapters/schedule.ts';
import { type ModelDocument, modelSchema } from '../../contracts/documents.ts';
import type { LifecycleConfig } from '../../contracts/messages.ts';
import { lifecycleConfig } from '../../domain/config.ts';
import { CliError, EXIT } from '../exit.ts';

export interface NamedPolicy {
  readonly name: string;
  readonly config: LifecycleConfig;
}

export const policyOf = (name: string, document: ModelDocument): NamedPolicy => ({
  name,
  config: lifecycleConfig(document, ''),
});

function valueIn(file: string, text: string): unknown {
  try {
    const value: unknown = parse(text, { maxAliasCount: 50 });
    if (value !== null && typeof value === 'object' && 'retraining' in value) return value.retraining;
    return value;
  } catch (error) {
    throw new CliError(EXIT.usage, `${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A file with the fields of `retraining`, at the top or under that name. What it leaves out has its default. */
export async function readPolicy(file: string, document: ModelDocument): Promise<NamedPolicy> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new CliError(EXIT.usage, `${file} cannot be read: ${error.message}`);
  });
  const parsed = modelSchema.shape.retraining.safeParse(valueIn(file, text) ?? {});
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.') || 'retraining'}: ${issue.message}`);
    throw new CliError(EXIT.usage, `${file} is no retraining policy:\n${problems.join('\n')}`);
  }
  const { schedule } = parsed.data;
  const problem = schedule ? schedules.problem(schedule) : null;
  if (problem !== null) throw new CliError(EXIT.usage, `${file}: schedule: ${problem}`);
  return policyOf(basename(file, extname(file)), { ...document, retraining: parsed.data });
}
