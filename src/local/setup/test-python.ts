/** What the tests need of Python, each in an environment of its own: a client of another language, a server. */
import { join } from 'node:path';
import { cached } from './cache.ts';
import { SetupError } from './errors.ts';
import { withHeartbeat } from './progress.ts';
import { findBasePython } from './python.ts';
import { run } from './run.ts';
import type { SetupContext } from './temporal.ts';

const INSTALL_TIMEOUT_MS = 300_000;

interface TestPackage {
  /** Name and exact version: also that of the entry in the cache. */
  readonly main: string;
  readonly others: readonly string[];
  readonly module: string;
}

/** librdkafka's client: records of other languages' clients are read. */
const KAFKA: TestPackage = { main: 'confluent-kafka==2.13.2', others: [], module: 'confluent_kafka' };
/** A server that speaks S3, conditional writes and multipart uploads included. */
const S3: TestPackage = {
  main: 'moto[s3]==5.1.9',
  others: ['flask==3.1.3', 'flask-cors==6.0.5'],
  module: 'moto.server',
};

async function ensure({ main, others, module }: TestPackage, context: SetupContext): Promise<string> {
  const { env, cacheRoot, progress } = context;
  const entry = await cached(cacheRoot, main.replace(/\[.*?\]/, '').replace('==', '-'), async (folder) => {
    const base = await findBasePython(env);
    if (base === undefined) throw new SetupError('No Python for the tests: install Python 3.11 or newer, with venv');
    const { PYTHONPATH: _path, PYTHONHOME: _home, VIRTUAL_ENV: _environment, ...clean } = env;
    const python = join(folder, 'bin', 'python');
    await withHeartbeat(progress, `Python: installing ${main} for the tests`, async () => {
      for (const [command, args] of [
        [base.path, ['-m', 'venv', folder]],
        [python, ['-m', 'pip', 'install', '--quiet', '--only-binary=:all:', main, ...others]],
        [python, ['-c', `import ${module}`]],
      ] as const) {
        const step = await run(command, args, { env: clean, timeoutMs: INSTALL_TIMEOUT_MS });
        if (!step.ok) throw new SetupError(`cannot install ${main} for the tests: ${step.problem}`);
      }
    });
  });
  return join(entry, 'bin', 'python');
}

/** The path of a Python that can `import confluent_kafka`. */
export const ensureKafkaPython = (context: SetupContext): Promise<string> => ensure(KAFKA, context);
/** The path of a Python that can run `moto.server`. */
export const ensureS3Python = (context: SetupContext): Promise<string> => ensure(S3, context);
