/** Clock, scratch space and the files that arrivals name. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Surroundings } from '../ports/surroundings.ts';
import { createSources, type SourceOptions } from './sources/index.ts';

export interface SurroundingsOptions extends SourceOptions {
  /** Folder for scratch space. */
  readonly scratchRoot: string;
}

export function createScratch(scratchRoot: string): Surroundings['scratch'] {
  return async (work) => {
    await mkdir(scratchRoot, { recursive: true });
    const folder = await mkdtemp(join(scratchRoot, 'attempt-'));
    try {
      return await work(folder);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };
}

export function createSurroundings({ scratchRoot, ...sources }: SurroundingsOptions): Surroundings {
  return { now: () => new Date(), scratch: createScratch(scratchRoot), ...createSources(sources) };
}
