/** How to start one of our own scripts as a process: compiled JavaScript as it is, TypeScript (in tests) through tsx. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = fileURLToPath(import.meta.url);
const fromSource = here.endsWith('.ts');

/** The folder with package.json, whether this runs from `src` or from `dist`. */
export const projectRoot = findProjectRoot();

/** Command and arguments of a script, named by its path under `src/local` without the extension. */
export function scriptCommand(name: string): [string, ...string[]] {
  return nodeCommand(join(dirname(here), name));
}

/** Command and arguments of a part (`gateway`, `worker`, `serve`) through the CLI. */
export function partCommand(part: string): [string, ...string[]] {
  return [...nodeCommand(join(dirname(here), '..', 'cli', 'main')), part];
}

function nodeCommand(pathWithoutExtension: string): [string, ...string[]] {
  if (!fromSource) return [process.execPath, `${pathWithoutExtension}.js`];
  const tsx = pathToFileURL(createRequire(here).resolve('tsx/esm')).href;
  return [process.execPath, '--import', tsx, `${pathWithoutExtension}.ts`];
}

function findProjectRoot(): string {
  for (let folder = dirname(here); folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
  }
  throw new Error(`no package.json above ${here}`);
}
