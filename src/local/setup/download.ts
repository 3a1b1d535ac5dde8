/** The bounded run of the SDK's download: given up as soon as nothing arrives, so that a closed network costs seconds. */
import { mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { scriptCommand } from '../entry.ts';
import { run } from './run.ts';

/** Without one byte by then, the network is closed: an open one answers within a second or two. */
const NO_HEADWAY_MS = 10_000;
const DOWNLOAD_TIMEOUT_MS = 300_000;

/** Puts the executable at `target`; answers why not when it cannot be had. */
export async function downloadBySdk(
  kind: 'cli' | 'test-server',
  target: string,
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  const folder = await mkdtemp(`${target}-download-`);
  const headway = new AbortController();
  const finished = new AbortController();
  try {
    const [command, ...args] = scriptCommand('setup/sdk-download');
    const watching = watchHeadway(folder, headway, finished.signal);
    const result = await run(command, [...args, kind, folder], {
      env,
      timeoutMs: DOWNLOAD_TIMEOUT_MS,
      signal: headway.signal,
    });
    finished.abort();
    await watching;
    // The file decides, not the exit code: the download may be whole although the server it started did not come up.
    const files = (await readdir(folder)).filter((name) => !name.endsWith('.downloading'));
    const [file] = files;
    if (file === undefined || !result.ok)
      return result.problem === '' ? 'nothing was downloaded' : lastLine(result.problem);
    await rename(join(folder, file), target);
    return undefined;
  } finally {
    finished.abort();
    await rm(folder, { recursive: true, force: true });
  }
}

async function watchHeadway(folder: string, headway: AbortController, finished: AbortSignal): Promise<void> {
  let seenBytes = 0;
  let lastHeadwayMs = Date.now();
  while (!finished.aborted) {
    const bytes = await folderBytes(folder);
    if (bytes > seenBytes) {
      seenBytes = bytes;
      lastHeadwayMs = Date.now();
    } else if (Date.now() - lastHeadwayMs > NO_HEADWAY_MS) {
      headway.abort(`received nothing for ${NO_HEADWAY_MS / 1000} s`);
      return;
    }
    await sleep(250, undefined, { signal: finished }).catch(() => undefined);
  }
}

async function folderBytes(folder: string): Promise<number> {
  const sizes = await Promise.all(
    (await readdir(folder)).map(async (name) => (await stat(join(folder, name)).catch(() => undefined))?.size ?? 0),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** The innermost cause: each layer of the native client puts its own words and the whole address before it. */
function lastLine(text: string): string {
  const line = text.trim().split('\n').at(-1)?.trim() ?? text;
  return line.slice(line.lastIndexOf('): ') + 1).replace(/^: /, '');
}
