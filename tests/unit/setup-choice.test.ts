/** Set-up takes each part from the first way that is there, and an error names the ways when none is. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SetupError } from '../../src/local/setup/errors.ts';
import { ensureKafka, findKafka } from '../../src/local/setup/kafka.ts';
import { ensurePython, findBasePython, findPython } from '../../src/local/setup/python.ts';
import { findTemporal } from '../../src/local/setup/temporal.ts';
import { parseSettings } from '../../src/settings.ts';

let folder: string;
let bin: string;
let cacheRoot: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-choice-'));
  bin = join(folder, 'bin');
  cacheRoot = join(folder, 'cache');
  await mkdir(bin);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A stand-in on a PATH that holds nothing else; it runs without any other tool. */
async function command(name: string, code: string): Promise<string> {
  const path = join(bin, name);
  await writeFile(path, `#!${process.execPath}\n${code}\n`);
  await chmod(path, 0o755);
  return path;
}
const context = (env: NodeJS.ProcessEnv = {}) => ({ env: { PATH: bin, ...env }, cacheRoot, progress: () => undefined });
const settings = (env: NodeJS.ProcessEnv = {}) => parseSettings(env, folder);

describe('Temporal', () => {
  it('is what TEMPORAL_ADDRESS names, then TEMPORAL_CLI_PATH, then the PATH, then the cache', async () => {
    expect(findTemporal(settings(), context())).toBeUndefined();
    await mkdir(join(cacheRoot, 'temporal-1.5.1'), { recursive: true });
    await writeFile(join(cacheRoot, 'temporal-1.5.1', 'temporal'), '');
    expect(findTemporal(settings(), context())?.detail).toMatch(/\(cache\)/);
    await command('temporal', '');
    expect(findTemporal(settings(), context())?.detail).toMatch(/\(PATH\)/);
    const own = await command('own', '');
    expect(findTemporal(settings(), context({ TEMPORAL_CLI_PATH: own }))).toMatchObject({ path: own });
    expect(findTemporal(settings({ TEMPORAL_ADDRESS: 'x:7233' }), context())).toMatchObject({ kind: 'given' });
  });

  it('a wrong TEMPORAL_CLI_PATH is an error, not a silent next way', () => {
    expect(() => findTemporal(settings(), context({ TEMPORAL_CLI_PATH: '/nonexistent' }))).toThrow(/TEMPORAL_CLI_PATH/);
  });
});

describe('Kafka', () => {
  it('is what KAFKA_BROKERS names, then a container, then Java', async () => {
    await command('docker', 'process.exit(process.argv[2] === "info" ? 1 : 0)');
    expect(await findKafka(settings(), context())).toBeUndefined();
    await mkdir(join(cacheRoot, 'kafka-4.1.0'), { recursive: true });
    await command('java', '');
    expect(await findKafka(settings(), context())).toMatchObject({ kind: 'java' });
    await command('docker', '');
    expect(await findKafka(settings(), context())).toMatchObject({ kind: 'docker' });
    expect(await findKafka(settings({ KAFKA_BROKERS: 'x:9092' }), context())).toMatchObject({ kind: 'given' });
  });

  it('a docker without compose does not count', async () => {
    await command('docker', 'process.exit(process.argv[2] === "compose" ? 1 : 0)');
    expect(await findKafka(settings(), context())).toBeUndefined();
  });

  it('with no way at all the error names the ways', async () => {
    await expect(ensureKafka(settings(), context())).rejects.toThrow(/KAFKA_BROKERS.*Docker.*Java.*Maven/);
  });
});

describe('Python', () => {
  it('passes by those that are too old or refuse to run', async () => {
    await command('python3.13', 'process.exit(127)');
    await command('python3', 'console.log("3.10.1")');
    expect(await findBasePython(context().env)).toBeUndefined();
    await command('python', 'console.log("3.12.4")');
    expect(await findBasePython(context().env)).toMatchObject({ version: '3.12.4' });
  });

  it('is what REFIT_PYTHON names; a wrong one is an error', async () => {
    const own = await command('mypython', '');
    expect(await findPython(settings({ REFIT_PYTHON: 'mypython' }), context())).toMatchObject({ path: own });
    await expect(findPython(settings({ REFIT_PYTHON: '/nonexistent' }), context())).rejects.toThrow(SetupError);
  });

  it('with none the error says what to do', async () => {
    await expect(ensurePython(settings(), context())).rejects.toThrow(/Python 3\.11 or newer.*REFIT_PYTHON/);
  });
});
