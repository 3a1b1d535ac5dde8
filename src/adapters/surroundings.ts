/** Clock, scratch space and local files. */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { DataProblem } from '../ports/data.ts';
import type { Surroundings } from '../ports/surroundings.ts';

function pathOfUri(uri: string): string {
  if (!uri.startsWith('file://'))
    throw new DataProblem('uri', `${uri} is not a file: address; only file:///absolute/path is taken`);
  if (/%2f|%5c|%00/i.test(uri)) throw new DataProblem('uri', `${uri} hides a separator behind an escape`);
  try {
    return fileURLToPath(uri);
  } catch {
    throw new DataProblem('uri', `${uri} is not a file: address of this host`);
  }
}

/** The path behind links, when it lies in an allowed root. */
async function allowedPath(uri: string, roots: readonly string[]): Promise<string> {
  const path = pathOfUri(uri);
  let real: string;
  try {
    real = await realpath(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new DataProblem('uri', `${uri} does not exist`);
    if (code === 'ELOOP' || code === 'ENAMETOOLONG')
      throw new DataProblem('uri', `${uri} cannot be followed (${code})`);
    throw error;
  }
  const real_roots = await Promise.all(roots.map((root) => realpath(root)));
  if (!real_roots.some((root) => real.startsWith(root.endsWith(sep) ? root : root + sep))) {
    throw new DataProblem(
      'uri',
      `${uri} lies outside the allowed folders (${roots.join(', ')}); widen them with REFIT_DATA_ROOTS`,
    );
  }
  if (!(await stat(real)).isFile()) throw new DataProblem('uri', `${uri} is not a file`);
  return real;
}

export interface SurroundingsOptions {
  /** Folder for scratch space. */
  readonly scratchRoot: string;
  /** From REFIT_DATA_ROOTS; empty: the project folder of the dataset. */
  readonly dataRoots: readonly string[];
}

export function createSurroundings({ scratchRoot, dataRoots }: SurroundingsOptions): Surroundings {
  return {
    now: () => new Date(),
    async scratch(work) {
      await mkdir(scratchRoot, { recursive: true });
      const folder = await mkdtemp(join(scratchRoot, 'attempt-'));
      try {
        return await work(folder);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
    async fetch(uri, roots, target) {
      const source = await allowedPath(uri, dataRoots.length > 0 ? dataRoots : roots);
      const hash = createHash('sha256');
      let bytes = 0;
      const measure = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          hash.update(chunk);
          bytes += chunk.length;
          done(null, chunk);
        },
      });
      await pipeline(createReadStream(source), measure, createWriteStream(target));
      return { sha256: hash.digest('hex'), bytes };
    },
  };
}
