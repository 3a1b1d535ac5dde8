/** Python for the trainers: the one that is named, else a virtual environment of our own, keyed by the lock's content. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Settings } from '../../settings/types.ts';
import { projectRoot } from '../entry.ts';
import { cached, cachedPath } from './cache.ts';
import { SetupError } from './errors.ts';
import { type Progress, withHeartbeat } from './progress.ts';
import { findOnPath, run } from './run.ts';
import type { SetupContext } from './temporal.ts';

const LOCK = join(projectRoot, 'trainers', 'requirements.lock');
const INSTALLER_LOCK = join(projectRoot, 'trainers', 'installer.lock');
const CANDIDATES = ['python3.13', 'python3.12', 'python3.11', 'python3', 'python'];
const INSTALL_TIMEOUT_MS = 900_000;
const PYTHON_IN_VENV = join('bin', 'python');

export interface PythonTool {
  readonly path: string;
  readonly detail: string;
}

/** Where the trainers' own package lies: the runner puts it on PYTHONPATH. */
export const TRAINERS_FOLDER = join(projectRoot, 'trainers');

export async function findPython(
  settings: Settings,
  context: Omit<SetupContext, 'progress'>,
): Promise<PythonTool | undefined> {
  if (settings.python !== undefined) {
    const path = findOnPath(settings.python, context.env);
    if (path === undefined) throw new SetupError(`REFIT_PYTHON: ${settings.python} is not an executable file`);
    return { path, detail: `${path} (REFIT_PYTHON)` };
  }
  const entry = cachedPath(context.cacheRoot, join(await entryName(), PYTHON_IN_VENV));
  return entry === undefined ? undefined : { path: entry, detail: 'an environment of its own (cache)' };
}

export async function ensurePython(settings: Settings, context: SetupContext): Promise<PythonTool> {
  const there = await findPython(settings, context);
  if (there !== undefined) return there;
  const { env, cacheRoot, progress } = context;
  const base = await findBasePython(env);
  if (base === undefined) {
    throw new SetupError(
      'No Python for the trainers: install Python 3.11 or newer (with venv), or name one that has what ' +
        'trainers/requirements.lock lists in REFIT_PYTHON',
    );
  }
  progress(`Python: making an environment from ${base.path} (${base.version})`);
  const entry = await cached(cacheRoot, await entryName(), (folder) =>
    withHeartbeat(progress, 'Python: installing', () => install(base.path, folder, env, progress)),
  );
  return { path: join(entry, PYTHON_IN_VENV), detail: `an environment of its own, from ${base.version}` };
}

async function entryName(): Promise<string> {
  const lock = await readFile(LOCK);
  return `python-${createHash('sha256').update(lock).digest('hex').slice(0, 16)}`;
}

/** Asked for its version, not only looked up: version managers put names on the PATH that then refuse to run. */
export async function findBasePython(
  env: NodeJS.ProcessEnv,
): Promise<{ readonly path: string; readonly version: string } | undefined> {
  for (const name of CANDIDATES) {
    const path = findOnPath(name, env);
    if (path === undefined) continue;
    const script = 'import sys, venv; print("%d.%d.%d" % sys.version_info[:3])';
    const result = await run(path, ['-c', script], { env, timeoutMs: 20_000 });
    const version = result.stdout.trim();
    const [major, minor] = version.split('.').map(Number);
    if (result.ok && major === 3 && (minor ?? 0) >= 11) return { path, version };
  }
  return undefined;
}

async function install(base: string, folder: string, env: NodeJS.ProcessEnv, progress: Progress): Promise<void> {
  const python = join(folder, PYTHON_IN_VENV);
  // A PYTHONPATH or PYTHONHOME of the user must not leak into an environment that others rely on.
  const clean: NodeJS.ProcessEnv = { ...env };
  for (const variable of ['PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV']) delete clean[variable];
  const step = (args: readonly string[]) => run(python, args, { env: clean, timeoutMs: INSTALL_TIMEOUT_MS });

  const made = await run(base, ['-m', 'venv', folder], { env: clean, timeoutMs: 120_000 });
  if (!made.ok) throw new SetupError(`cannot make a virtual environment: ${made.problem}`);
  const uv = await step(['-m', 'pip', 'install', '--quiet', '--require-hashes', '-r', INSTALLER_LOCK]);
  if (!uv.ok) progress('Python: uv is not to be had; pip does it, more slowly');
  const installed = await step(
    uv.ok
      ? [
          '-m',
          'uv',
          'pip',
          'install',
          '--quiet',
          '--python',
          python,
          '--require-hashes',
          '--compile-bytecode',
          '-r',
          LOCK,
        ]
      : ['-m', 'pip', 'install', '--quiet', '--require-hashes', '-r', LOCK],
  );
  if (!installed.ok) throw new SetupError(`cannot install trainers/requirements.lock: ${installed.problem}`);
  const checked = await step(['-c', 'import lightgbm, onnx, pyarrow.parquet, sklearn']);
  if (!checked.ok) throw new SetupError(`the trainers' environment does not work: ${checked.problem}`);
}
