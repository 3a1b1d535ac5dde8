/** Files of this host, in the folders that data may be read from; links are followed before they are judged. */
import { createReadStream } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isFolder, MAX_MATCHES, patternOf, problem, requireMatches } from './address.ts';

/** Entries that a pattern may look at: one over a whole disk would never end. */
const MAX_ENTRIES = 100_000;

function pathOfUri(uri: string): string {
  try {
    return fileURLToPath(uri);
  } catch {
    throw problem(`${uri} is not a file: address of this host`);
  }
}

async function realPathOf(path: string, uri: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw problem(`${uri} does not exist`);
    if (code === 'ELOOP' || code === 'ENAMETOOLONG') throw problem(`${uri} cannot be followed (${code})`);
    throw error;
  }
}

/** The path behind links, when it lies in an allowed root. */
async function allowedPath(path: string, uri: string, roots: readonly string[]): Promise<string> {
  const real = await realPathOf(path, uri);
  const real_roots = await Promise.all(roots.filter(isFolder).map((root) => realpath(root)));
  if (!real_roots.some((root) => `${real}${sep}`.startsWith(root.endsWith(sep) ? root : root + sep))) {
    throw problem(`${uri} lies outside the allowed folders (${roots.join(', ')}); widen them with REFIT_DATA_ROOTS`);
  }
  return real;
}

export async function openFile(uri: string, roots: readonly string[]): Promise<NodeJS.ReadableStream> {
  const real = await allowedPath(pathOfUri(uri), uri, roots);
  if (!(await stat(real)).isFile()) throw problem(`${uri} is not a file`);
  return createReadStream(real);
}

/** All that a pattern names, sorted; an address without one names itself. Folders behind links are not entered. */
export async function expandFiles(uri: string, roots: readonly string[]): Promise<readonly string[]> {
  const path = pathOfUri(uri);
  const pattern = patternOf(path);
  if (!pattern) return [uri];
  const fixed = path.slice(0, path.lastIndexOf('/', path.indexOf('*')));
  // Before its folder is listed: what lies outside is not even looked at.
  await allowedPath(fixed === '' ? '/' : fixed, uri, roots);
  const depth = path.includes('**') ? Number.POSITIVE_INFINITY : path.split('/').length;
  const matches: string[] = [];
  let seen = 0;
  const walk = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder === '' ? '/' : folder, { withFileTypes: true })) {
      seen += 1;
      if (seen > MAX_ENTRIES)
        throw problem(`${uri} looks through more than ${MAX_ENTRIES} entries; name a narrower one`);
      const at = join(folder === '' ? '/' : folder, entry.name);
      if (entry.isDirectory() && at.split('/').length < depth) await walk(at);
      else if (!entry.isDirectory() && pattern.test(at)) matches.push(pathToFileURL(at).href);
      if (matches.length > MAX_MATCHES) return;
    }
  };
  await walk(fixed);
  return requireMatches(uri, matches);
}
