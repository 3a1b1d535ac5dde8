/** Drift between two files, on this machine and without any service. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createDriftDetector } from '../adapters/drift.ts';
import { createDataEngine } from '../adapters/duckdb/engine.ts';
import { FORMAT_ENDINGS, formatOfName } from '../domain/formats.ts';
import { DataProblem } from '../ports/data.ts';
import type { FeatureDrift } from '../ports/registry/monitoring.ts';
import { CliError, EXIT } from './exit.ts';

export async function compareFiles(
  reference: string,
  current: string,
  threshold: number,
): Promise<readonly FeatureDrift[]> {
  const folder = await mkdtemp(join(tmpdir(), 'refit-compare-'));
  try {
    const engine = createDataEngine();
    const converted: string[] = [];
    for (const [index, path] of [reference, current].entries()) {
      const format = formatOfName(path);
      if (!format) throw new CliError(EXIT.usage, `${path}: the name must end in ${FORMAT_ENDINGS}`);
      await stat(path).catch(() => {
        throw new CliError(EXIT.usage, `${path} does not exist`);
      });
      const output = join(folder, `${index}.parquet`);
      await engine.convert({ path: resolve(path), format, timeColumn: null, output });
      converted.push(output);
    }
    const [one = '', two = ''] = converted;
    return await createDriftDetector().compare(one, two, threshold);
  } catch (error) {
    if (error instanceof DataProblem) throw new CliError(EXIT.usage, error.message);
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
