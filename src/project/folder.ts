/** The files of a project folder: what `apply` bundles. */
import { execFile } from 'node:child_process';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ProjectFiles } from './check.ts';

/** Data belongs into datasets, not into definitions. */
const LEFT_OUT = new Set(['data', 'node_modules', '__pycache__', 'dist']);
const MAX_FILES = 1_000;
const MAX_BYTES = 20_000_000;

export class ProjectFolderError extends Error {
  override readonly name = 'ProjectFolderError';
}

/** Regular files below the folder; links, dot files, and the folders data, node_modules, dist and __pycache__ are left out. */
export async function readProjectFolder(folder: string): Promise<ProjectFiles> {
  const found = await stat(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (!found?.isDirectory())
    throw new ProjectFolderError(`${folder} is not a folder; name the folder of a model project`);
  const files = new Map<string, Uint8Array>();
  let bytes = 0;
  async function walk(prefix: string): Promise<void> {
    const entries = await readdir(join(folder, prefix), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.startsWith('.') || LEFT_OUT.has(entry.name)) continue;
      const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
      if (entry.isDirectory()) await walk(path);
      if (!entry.isFile()) continue;
      const content = await readFile(join(folder, path));
      bytes += content.length;
      files.set(path, content);
      if (files.size > MAX_FILES || bytes > MAX_BYTES) {
        throw new ProjectFolderError(
          `${folder} has more than ${MAX_FILES} files or ${MAX_BYTES / 1e6} MB at ${path}; put data into the folder data/, which is left out`,
        );
      }
    }
  }
  await walk('');
  return files;
}

/** The commit that the folder stands at; null outside of git. */
export async function gitCommitOf(folder: string): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)('git', ['-C', folder, 'rev-parse', 'HEAD']);
    return stdout.trim();
  } catch {
    // No git, or no repository: the bundle's digest names the definition all the same.
    return null;
  }
}
