/** Bundles the workflows ahead of time: a worker that starts from the bundle is up in a third of the time. */
import { rename, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

const quiet = {
  log: () => {},
  trace: () => {},
  debug: () => {},
  info: () => {},
  warn: console.error,
  error: console.error,
};

/** @param workflowsPath the compiled `workflows/index.js` */
export async function bundleWorkflows(workflowsPath: string): Promise<string> {
  const { code } = await bundleWorkflowCode({ workflowsPath, logger: quiet });
  return code;
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] === self) {
  const dist = fileURLToPath(new URL('../..', import.meta.url));
  const target = `${dist}workflow-bundle.js`;
  await writeFile(`${target}.${process.pid}`, await bundleWorkflows(`${dist}workflows/index.js`));
  await rename(`${target}.${process.pid}`, target);
}
