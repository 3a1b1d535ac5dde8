/** Processes of the stack without their supervisor: found by their pid files, ended in the right order. */
import { readdir } from 'node:fs/promises';
import { readLivePid, removePidFile, stopProcess } from './child.ts';
import { PARTS, runFolder, SERVICES } from './home.ts';

/** The names of what was still running and is stopped now. */
export async function stopLeftovers(home: string): Promise<string[]> {
  const stopped: string[] = [];
  for (const name of await namesInStopOrder(home)) {
    const identity = await readLivePid(home, name);
    if (identity !== undefined) {
      await stopProcess(identity);
      stopped.push(name);
    }
    await removePidFile(home, name);
  }
  return stopped;
}

async function namesInStopOrder(home: string): Promise<string[]> {
  const files = await readdir(runFolder(home)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const names = files.filter((file) => file.endsWith('.pid')).map((file) => file.slice(0, -'.pid'.length));
  const order: readonly string[] = [...SERVICES, ...PARTS];
  // A name that is not known stops first: whatever it is, it may need the others.
  const rank = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  return names.filter((name) => name !== 'supervisor').sort((one, other) => rank(other) - rank(one));
}
