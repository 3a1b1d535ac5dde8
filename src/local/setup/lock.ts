/** A lock between processes: a folder, which the file system makes for one of them only. A dead owner's lock is taken. */
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isSameProcess, ownIdentity, parseIdentity } from '../process-identity.ts';

const RETRY_MS = 200;
/** An owner writes its name right after making the folder; an unnamed lock older than this lost its owner in between. */
const UNNAMED_STALE_MS = 10_000;

export async function withLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  await acquire(path);
  try {
    return await work();
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

async function acquire(path: string): Promise<void> {
  for (;;) {
    try {
      await mkdir(path);
      await writeFile(join(path, 'owner'), await ownIdentity());
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (await isStale(path)) await removeStale(path);
    else await sleep(RETRY_MS);
  }
}

async function isStale(path: string): Promise<boolean> {
  try {
    return !(await isSameProcess(parseIdentity(await readFile(join(path, 'owner'), 'utf8'))));
  } catch {
    // No owner file: just made, just released, or abandoned; only age tells the last apart.
    const made = await stat(path).catch(() => undefined);
    return made !== undefined && Date.now() - made.mtimeMs > UNNAMED_STALE_MS;
  }
}

/** One breaker at a time, who looks again: otherwise the second of two would remove the lock that the first just took. */
async function removeStale(path: string): Promise<void> {
  const breaking = `${path}.breaking`;
  try {
    await mkdir(breaking);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const made = await stat(breaking).catch(() => undefined);
    if (made !== undefined && Date.now() - made.mtimeMs > UNNAMED_STALE_MS) await rm(breaking, { recursive: true });
    else await sleep(RETRY_MS);
    return;
  }
  try {
    if (await isStale(path)) await rm(path, { recursive: true, force: true });
  } finally {
    await rm(breaking, { recursive: true, force: true });
  }
}
