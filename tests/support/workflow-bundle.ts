/** The workflows' bundle, made of the TypeScript sources once for each test file. */
import { fileURLToPath } from 'node:url';
import { bundleWorkflows } from '../../src/local/bundle.ts';

let made: Promise<{ readonly code: string }> | undefined;

export function workflowBundle(): Promise<{ readonly code: string }> {
  made ??= bundleWorkflows(fileURLToPath(new URL('../../workflows/index.ts', import.meta.url))).then((code) => ({
    code,
  }));
  return made;
}
