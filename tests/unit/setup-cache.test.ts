/** The cache of set-up: built once by two at the same time, nothing of a failed build, no lock that outlives its owner. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cached } from '../../src/local/setup/cache.ts';
import { run } from '../../src/local/setup/run.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'refit-cache-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

describe('an entry', () => {
  it('is built once when two ask at the same time', async () => {
    let builds = 0;
    const make = async (folder: string) => {
      builds += 1;
      await writeFile(join(folder, 'tool'), 'made');
    };
    const [one, other] = await Promise.all([cached(root, 'tool-1', make), cached(root, 'tool-1', make)]);
    expect(one).toBe(other);
    expect(builds).toBe(1);
    expect(await readFile(join(one, 'tool'), 'utf8')).toBe('made');
    expect(await readdir(root)).toEqual(['tool-1']);
  });

  it('leaves nothing when its build fails, and can be built afterwards', async () => {
    const failing = cached(root, 'tool-1', async (folder) => {
      await writeFile(join(folder, 'half'), '');
      throw new Error('no network');
    });
    await expect(failing).rejects.toThrow('no network');
    expect(await readdir(root)).toEqual([]);
    await cached(root, 'tool-1', (folder) => writeFile(join(folder, 'tool'), ''));
    expect(existsSync(join(root, 'tool-1', 'tool'))).toBe(true);
  });

  it('is built although a dead owner left its lock', async () => {
    await mkdir(join(root, 'tool-1.lock'));
    await writeFile(join(root, 'tool-1.lock', 'owner'), '999999999\n1\n');
    await cached(root, 'tool-1', (folder) => writeFile(join(folder, 'tool'), ''));
    expect(await readdir(root)).toEqual(['tool-1']);
  });
});

describe('a tool', () => {
  it('is ended with its group at the limit, and the reason is told', async () => {
    const script =
      'require("node:child_process").spawn(process.execPath,["-e","setInterval(()=>{},1e3)"],{stdio:"inherit"})';
    const result = await run(process.execPath, ['-e', script], { timeoutMs: 300 });
    expect(result).toMatchObject({ ok: false, problem: expect.stringContaining('took longer than 0.3 s') });
  });

  it('that fails tells the end of what it wrote', async () => {
    const result = await run(process.execPath, ['-e', 'console.error("why"); process.exit(3)'], { timeoutMs: 5_000 });
    expect(result.problem).toMatch(/ended with exit code 3:\n {2}why/);
  });

  it('that is not there is a problem, not a crash', async () => {
    expect(await run('/nonexistent/tool', [], { timeoutMs: 1_000 })).toMatchObject({ ok: false });
  });
});
