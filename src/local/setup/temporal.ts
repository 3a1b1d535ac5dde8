/** The Temporal CLI, which is also the local server: the first of the ways that is there. */
import { join } from 'node:path';
import type { Settings } from '../../settings/types.ts';
import { cached, cachedPath } from './cache.ts';
import { downloadBySdk } from './download.ts';
import { SetupError } from './errors.ts';
import { type Progress, withHeartbeat } from './progress.ts';
import { findOnPath, isExecutableFile, run } from './run.ts';

/** The newest tag that `go install` accepts: later ones carry a replace directive. Brings server 1.29 and UI 2.42. */
const CLI_VERSION = '1.5.1';
const GO_PACKAGE = `github.com/temporalio/cli/cmd/temporal@v${CLI_VERSION}`;
const BUILT = `temporal-${CLI_VERSION}`;
const DOWNLOADED = 'temporal-sdk-download';
const BUILD_TIMEOUT_MS = 1_200_000;

export type TemporalTool =
  | { readonly kind: 'given'; readonly detail: string }
  | { readonly kind: 'binary'; readonly path: string; readonly detail: string };

export interface SetupContext {
  readonly env: NodeJS.ProcessEnv;
  readonly cacheRoot: string;
  readonly progress: Progress;
}

/** What is there already, without fetching anything. */
export function findTemporal(settings: Settings, context: Omit<SetupContext, 'progress'>): TemporalTool | undefined {
  if (settings.temporal.addressGiven) return { kind: 'given', detail: `server at ${settings.temporal.address}` };
  return findTemporalCli(context);
}

function findTemporalCli(context: Omit<SetupContext, 'progress'>): (TemporalTool & { kind: 'binary' }) | undefined {
  const named = context.env.TEMPORAL_CLI_PATH?.trim();
  if (named !== undefined && named !== '') {
    if (!isExecutableFile(named)) throw new SetupError(`TEMPORAL_CLI_PATH: ${named} is not an executable file`);
    return { kind: 'binary', path: named, detail: `${named} (TEMPORAL_CLI_PATH)` };
  }
  const onPath = findOnPath('temporal', context.env);
  if (onPath !== undefined) return { kind: 'binary', path: onPath, detail: `${onPath} (PATH)` };
  for (const entry of [DOWNLOADED, BUILT]) {
    const path = cachedPath(context.cacheRoot, join(entry, 'temporal'));
    if (path !== undefined) return { kind: 'binary', path, detail: `${path} (cache)` };
  }
  return undefined;
}

export async function ensureTemporal(settings: Settings, context: SetupContext): Promise<TemporalTool> {
  return findTemporal(settings, context) ?? (await fetchTemporalCli(context));
}

/** For tests, which need a server of their own even when TEMPORAL_ADDRESS names another. */
export async function ensureTemporalCli(context: SetupContext): Promise<string> {
  return (findTemporalCli(context) ?? (await fetchTemporalCli(context))).path;
}

async function fetchTemporalCli(context: SetupContext): Promise<TemporalTool & { kind: 'binary' }> {
  const { progress, cacheRoot, env } = context;
  progress("Temporal: trying the SDK's own download");
  let problem: string | undefined;
  const downloaded = await cached(cacheRoot, DOWNLOADED, async (folder) => {
    problem = await downloadBySdk('cli', join(folder, 'temporal'), env);
    if (problem !== undefined) throw new SetupError(problem);
  }).catch((error: unknown) => {
    if (error instanceof SetupError) return undefined;
    throw error;
  });
  if (downloaded !== undefined) {
    return { kind: 'binary', path: join(downloaded, 'temporal'), detail: "the SDK's download" };
  }
  progress(`Temporal: no download (${problem}); building it with go install, which takes some minutes`);
  if (findOnPath('go', env) === undefined) throw new SetupError(`${waysForTemporal(problem)}; go is not on the PATH`);
  const built = await cached(cacheRoot, BUILT, async (folder) => {
    const result = await withHeartbeat(progress, 'Temporal: go install', () =>
      run('go', ['install', GO_PACKAGE], { env: { ...env, GOBIN: folder }, timeoutMs: BUILD_TIMEOUT_MS }),
    );
    if (!result.ok) throw new SetupError(`${waysForTemporal(problem)}; ${result.problem}`);
  });
  return { kind: 'binary', path: join(built, 'temporal'), detail: `go install of ${CLI_VERSION}` };
}

function waysForTemporal(problem: string | undefined): string {
  return (
    'No Temporal. Set TEMPORAL_ADDRESS to a server, put the temporal CLI on the PATH or name it in TEMPORAL_CLI_PATH, ' +
    `or install Go so that it can be built. The SDK's download: ${problem ?? 'not there'}`
  );
}
