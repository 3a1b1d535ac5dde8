/**
 * What set-up fetched, kept for next time. An entry is built in a folder beside the cache and appears by one rename, so a
 * half-built entry is never seen; a lock makes the second of two set-ups wait instead of building the same thing again.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { withLock } from './lock.ts';

export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  const given = env.REFIT_CACHE?.trim();
  return given === undefined || given === '' ? join(homedir(), '.cache', 'refit') : resolve(given);
}

export function cachedPath(root: string, name: string): string | undefined {
  const path = join(root, name);
  return existsSync(path) ? path : undefined;
}

/** The folder of the entry, built by `make` when it is not there yet. `make` fills the folder it is given. */
export async function cached(root: string, name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const entry = join(root, name);
  if (existsSync(entry)) return entry;
  await mkdir(root, { recursive: true });
  return withLock(join(root, `${name}.lock`), async () => {
    if (existsSync(entry)) return entry;
    await removeAbandoned(root, name);
    const building = await mkdtemp(join(root, `.building-${name}-`));
    try {
      await make(building);
      await rename(building, entry);
    } finally {
      await rm(building, { recursive: true, force: true });
    }
    return entry;
  });
}

/** What a build that was killed left behind; under the lock nobody else builds this entry. */
async function removeAbandoned(root: string, name: string): Promise<void> {
  const abandoned = (await readdir(root)).filter((entry) => entry.startsWith(`.building-${name}-`));
  await Promise.all(abandoned.map((entry) => rm(join(root, entry), { recursive: true, force: true })));
}
