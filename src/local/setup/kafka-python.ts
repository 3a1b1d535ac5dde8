/** librdkafka's client for Python, for the tests that records of other languages' clients are read: an environment of its own. */
import { join } from 'node:path';
import { cached } from './cache.ts';
import { SetupError } from './errors.ts';
import { withHeartbeat } from './progress.ts';
import { findBasePython } from './python.ts';
import { run } from './run.ts';
import type { SetupContext } from './temporal.ts';

const PACKAGE = 'confluent-kafka==2.13.2';
const INSTALL_TIMEOUT_MS = 300_000;

/** The path of a Python that can `import confluent_kafka`. */
export async function ensureKafkaPython({ env, cacheRoot, progress }: SetupContext): Promise<string> {
  const entry = await cached(cacheRoot, PACKAGE.replace('==', '-'), async (folder) => {
    const base = await findBasePython(env);
    if (base === undefined) throw new SetupError('No Python for the tests: install Python 3.11 or newer, with venv');
    const { PYTHONPATH: _path, PYTHONHOME: _home, VIRTUAL_ENV: _environment, ...clean } = env;
    const python = join(folder, 'bin', 'python');
    await withHeartbeat(progress, `Python: installing ${PACKAGE} for the tests`, async () => {
      for (const [command, args] of [
        [base.path, ['-m', 'venv', folder]],
        [python, ['-m', 'pip', 'install', '--quiet', '--only-binary=:all:', PACKAGE]],
        [python, ['-c', 'import confluent_kafka']],
      ] as const) {
        const step = await run(command, args, { env: clean, timeoutMs: INSTALL_TIMEOUT_MS });
        if (!step.ok) throw new SetupError(`cannot install ${PACKAGE} for the tests: ${step.problem}`);
      }
    });
  });
  return join(entry, 'bin', 'python');
}
