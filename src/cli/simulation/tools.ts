/** What training on this machine needs: the trainers' Python, set up at the first use as for a worker. */
import { join } from 'node:path';
import { installationRoot } from '../../../workers/worker.ts';
import { stderrProgress } from '../../local/index.ts';
import { setupContext } from '../../local/setup/index.ts';
import { ensurePython } from '../../local/setup/python.ts';
import type { Settings } from '../../settings.ts';

export interface TrainingTools {
  readonly python: string;
  readonly trainers: string;
  /** From which a trainer is given what its definition names. */
  readonly environment: NodeJS.ProcessEnv;
}

export async function trainingTools(settings: Settings): Promise<TrainingTools> {
  const context = setupContext(stderrProgress());
  const { path } = await ensurePython(settings, context);
  return { python: path, trainers: join(installationRoot(), 'trainers'), environment: context.env };
}
