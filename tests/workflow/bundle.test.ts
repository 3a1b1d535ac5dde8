/** The determinism boundary: what is under workflows/ bundles without Node, and nothing there parses with zod. */
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';
import { describe, expect, it } from 'vitest';
import { bundleWorkflows } from '../../src/local/bundle.ts';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const silent = { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error() {} };

describe('the workflow bundle', () => {
  it('is refused when a workflow imports from Node, and the refusal names the module', async () => {
    const said: string[] = [];
    const logger = { ...silent, error: (message: string) => void said.push(message) };
    await expect(bundleWorkflowCode({ workflowsPath: path('fixtures/reads-files.ts'), logger })).rejects.toThrow();
    expect(said.join('\n')).toContain('Reading from "node:fs" is not handled');
  });

  it('has every workflow, and no zod', async () => {
    const code = await bundleWorkflows(path('../../workflows/index.ts'));
    for (const name of ['dataset', 'lifecycle', 'rollout', 'run', 'sweep'])
      expect(code).toContain(`workflows/${name}.ts`);
    // Modules are named in the bundle by their paths.
    expect(code).not.toMatch(/node_modules\/zod\//);
  });

  it('is made of files that import no package but those of Temporal', async () => {
    const folder = path('../../workflows/');
    for (const file of await readdir(folder)) {
      const imports = [
        ...(await readFile(folder + file, 'utf8')).matchAll(/^(import|export) (?!type)[^;]*? from '([^']+)';/gm),
      ];
      const packages = imports.map((match) => match[2] ?? '').filter((name) => !name.startsWith('.'));
      expect(
        packages.filter((name) => !/^@temporalio\/(workflow|common)$/.test(name)),
        file,
      ).toEqual([]);
    }
  });
});
