/** Definitions that answer events at once, without a run. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runRefit } from '../tests/support/e2e-refit.ts';

const modelDocument = (index: number): string => `apiVersion: refit.dev/v1
kind: Model
name: bench-${index}
task: regression
dataset: bench
label: { sql: y }
features: [x]
training: { trainer: sklearn }
retraining: { triggers: [data] }
`;

export async function writeModels(
  home: string,
  count: number,
  place: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<void> {
  const folder = join(home, 'project');
  await mkdir(folder);
  const models = Array.from({ length: count }, (_, index) => modelDocument(index));
  const dataset = 'apiVersion: refit.dev/v1\nkind: Dataset\nname: bench\n';
  await writeFile(join(folder, 'refit.yaml'), [dataset, ...models].join('---\n'));
  const ended = await runRefit(['apply', folder, '--as', 'bench'], place);
  if (ended.code !== 0) throw new Error(`apply: ${ended.stderr}`);
}
