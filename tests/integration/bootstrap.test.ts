/** The bootstrap on a clone: it builds once, also when two run at the same time, does nothing when nothing changed. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const ROOT = new URL('../..', import.meta.url).pathname;
const TIMEOUT_MS = 60_000;
let clone: string;

beforeEach(async () => {
  clone = await mkdtemp(join(tmpdir(), 'refit-clone-'));
  await mkdir(join(clone, 'src', 'local'), { recursive: true });
  for (const file of ['package.json', 'package-lock.json', 'tsconfig.json', 'src/local/bootstrap.mjs']) {
    await copyFile(join(ROOT, file), join(clone, file));
  }
  // As after `npm ci`: what is installed agrees with the lock, so nothing is fetched.
  await symlink(join(ROOT, 'node_modules'), join(clone, 'node_modules'));
  await writeFile(join(clone, 'src', 'one.ts'), 'export const one: number = 1;\n');
});
afterEach(() => rm(clone, { recursive: true, force: true }));

function bootstrap(): Promise<{ readonly code: number | null; readonly stderr: string }> {
  const child = spawn(process.execPath, [join(clone, 'src', 'local', 'bootstrap.mjs')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stderr }));
  });
}

describe('bootstrap', () => {
  it(
    'builds once when two run at the same time, then not again until a source changes',
    async () => {
      const both = await Promise.all([bootstrap(), bootstrap()]);
      expect(both.map((run) => run.code)).toEqual([0, 0]);
      expect(both.filter((run) => run.stderr.includes('compiling'))).toHaveLength(1);
      expect(existsSync(join(clone, 'dist', 'src', 'one.js'))).toBe(true);
      expect(await readdir(join(clone, '.refit'))).toEqual([]);

      expect(await bootstrap()).toEqual({ code: 0, stderr: '' });
      await writeFile(join(clone, 'src', 'two.ts'), 'export const two: number = 2;\n');
      expect((await bootstrap()).stderr).toMatch(/compiling/);
      expect(existsSync(join(clone, 'dist', 'src', 'two.js'))).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'tells a compiler error, exits 1, and builds again once it is mended',
    async () => {
      await writeFile(join(clone, 'src', 'one.ts'), 'export const one: number = "1";\n');
      const failed = await bootstrap();
      expect(failed.code).toBe(1);
      expect(failed.stderr).toMatch(/src\/one\.ts.*TS2322/);
      await writeFile(join(clone, 'src', 'one.ts'), 'export const one: number = 11;\n');
      expect(await bootstrap()).toMatchObject({ code: 0 });
    },
    TIMEOUT_MS,
  );

  it(
    'takes over the lock of a bootstrap that died',
    async () => {
      await mkdir(join(clone, '.refit', 'bootstrap.lock'), { recursive: true });
      await writeFile(join(clone, '.refit', 'bootstrap.lock', 'owner'), '999999999');
      expect(await bootstrap()).toMatchObject({ code: 0 });
    },
    TIMEOUT_MS,
  );
});
