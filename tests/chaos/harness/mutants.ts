/**
 * Planted bugs: each patch is applied to a copy of the tree, the changed files are compiled into the copy's build, and the aimed form runs on
 * it. The oracle must say no, and name the guarantee that the patch breaks.
 */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { ensureTestTools, setupContext } from '../../../src/local/setup/index.ts';
import { parseSettings } from '../../../src/settings.ts';
import { quietPorts } from '../../support/e2e-refit.ts';
import { ChaosStack } from './stack.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const FOLDER = fileURLToPath(new URL('../mutants/', import.meta.url));
/** What the copy needs; node_modules is a link. */
const COPIED = [
  'src',
  'workflows',
  'activities',
  'workers',
  'examples',
  'tests',
  'bin',
  'dist',
  'trainers',
  'package.json',
  'tsconfig.json',
];
const PATIENCE_MS = 150_000;

export interface Mutant {
  readonly name: string;
  readonly path: string;
  readonly patch: string;
  /** Letters of the guarantees that it breaks; the oracle must name at least one of them. */
  readonly breaks: readonly string[];
  readonly guarantee: string;
  /** Flags of the aimed form. */
  readonly flags: readonly string[];
  readonly files: readonly string[];
}

const header = (text: string, name: string): string => new RegExp(`^${name}: (.*)$`, 'm').exec(text)?.[1] ?? '';

export function readMutants(names: readonly string[] = []): readonly Mutant[] {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.patch'));
  const chosen = files.filter((file) => names.length === 0 || names.some((name) => file.startsWith(name)));
  if (chosen.length === 0) throw new Error(`no patch in ${FOLDER} begins with ${names.join(' or ')}`);
  return chosen.toSorted().map((file) => {
    const path = join(FOLDER, file);
    const patch = readFileSync(path, 'utf8');
    const guarantee = header(patch, 'Guarantee');
    return {
      name: file.replace(/\.patch$/, ''),
      ...{ path, patch, guarantee },
      breaks: /^[A-H]+/.exec(guarantee)?.[0].split('') ?? [],
      flags: header(patch, 'Chaos')
        .split(' ')
        .filter((flag) => flag !== ''),
      files: [...patch.matchAll(/^\+\+\+ b\/(.*)$/gm)].map((found) => found[1] ?? ''),
    };
  });
}

/** Why the patch does not apply to the tree in `folder`; null when it does. Nothing is changed with `check`. */
export function applyPatch(
  mutant: Pick<Mutant, 'path'>,
  folder: string,
  ...options: readonly ('--check' | '-R')[]
): string | null {
  // Outside of any repository, git takes a patch for the plain files of the folder.
  const env = { ...process.env, GIT_CEILING_DIRECTORIES: join(folder, '..') };
  const done = spawnSync('git', ['apply', ...options, mutant.path], { cwd: folder, env, encoding: 'utf8' });
  return done.status === 0 ? null : `${done.stderr}${done.error?.message ?? ''}`.trim();
}

/** A copy of the tree in which a bug can be planted. */
export class Copy {
  readonly folder = mkdtempSync(join(tmpdir(), 'refit-mutants-'));
  constructor() {
    for (const name of COPIED) {
      cpSync(join(ROOT, name), join(this.folder, name), {
        recursive: true,
        filter: (from) => !from.endsWith('.tsbuildinfo'),
      });
    }
    symlinkSync(join(ROOT, 'node_modules'), join(this.folder, 'node_modules'));
  }

  plant(mutant: Mutant): void {
    const problem = applyPatch(mutant, this.folder);
    if (problem !== null) throw new Error(`${mutant.name} does not apply: ${problem}`);
    this.#compile(mutant);
  }
  pullOut(mutant: Mutant): void {
    const problem = applyPatch(mutant, this.folder, '-R');
    if (problem !== null) throw new Error(`${mutant.name} cannot be taken back: ${problem}`);
    this.#compile(mutant);
  }
  /** Only what changed: types are the compiler's matter, and a planted bug keeps them. */
  #compile({ name, files }: Mutant): void {
    const { compilerOptions } = JSON.parse(readFileSync(join(this.folder, 'tsconfig.json'), 'utf8')) as {
      compilerOptions: object;
    };
    // A single file says nothing of the package that it is in: that it is a module has to be told.
    const { options } = ts.convertCompilerOptionsFromJson(
      { ...compilerOptions, module: 'esnext', moduleResolution: 'bundler', incremental: false },
      this.folder,
    );
    delete options.tsBuildInfoFile;
    for (const file of files) {
      const { outputText } = ts.transpileModule(readFileSync(join(this.folder, file), 'utf8'), {
        compilerOptions: options,
        fileName: file,
      });
      writeFileSync(join(this.folder, 'dist', file.replace(/\.ts$/, '.js')), outputText);
    }
    if (!files.some((file) => /^(workflows|src\/domain|src\/contracts)\//.test(file))) return;
    const bundled = spawnSync(process.execPath, [join(this.folder, 'dist/src/local/bundle.js')], {
      cwd: this.folder,
      encoding: 'utf8',
    });
    if (bundled.status !== 0) throw new Error(`${name}: the workflows cannot be bundled: ${bundled.stderr}`);
  }
  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export interface Verdict {
  readonly mutant: Mutant;
  /** Letters of the guarantees that the oracle saw broken. */
  readonly violated: readonly string[];
  readonly caught: boolean;
  readonly seconds: number;
  /** The first violation of a guarantee that was to break. */
  readonly first: string;
}

function play(folder: string, flags: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'tests/chaos/main.ts', '--form', 'aimed', ...flags], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    const timer = setTimeout(() => child.kill('SIGTERM'), PATIENCE_MS);
    const leave = (): boolean => child.kill('SIGTERM');
    process.once('exit', leave);
    child.once('close', () => {
      process.off('exit', leave);
      clearTimeout(timer);
      resolve(said);
    });
  });
}

/** With `clean`, the same scenarios without the bug: then nothing may be violated. */
export async function runMutants(
  mutants: readonly Mutant[],
  clean: boolean,
  tell: (line: string) => void,
): Promise<readonly Verdict[]> {
  const home = mkdtempSync(join(tmpdir(), 'refit-mutant-servers-'));
  const [temporal, ui, kafka] = await quietPorts(3);
  const settings = parseSettings(
    {
      REFIT_HOME: home,
      REFIT_TEMPORAL_PORT: `${temporal}`,
      REFIT_TEMPORAL_UI_PORT: `${ui}`,
      REFIT_KAFKA_PORT: `${kafka}`,
    },
    home,
  );
  const tools = await ensureTestTools(settings, setupContext(tell));
  const servers = new ChaosStack({
    settings,
    env: {},
    tools,
    workers: 0,
    gateway: false,
    serve: false,
    ownServers: true,
    failpoints: () => [],
  });
  const copy = new Copy();
  const verdicts: Verdict[] = [];
  try {
    await servers.start();
    const shared = `${settings.temporal.address},${settings.kafka.brokers.join(',')}`;
    for (const mutant of mutants) {
      const startedMs = Date.now();
      let said = '';
      try {
        if (!clean) copy.plant(mutant);
        said = await play(copy.folder, [...mutant.flags, '--servers', shared]);
        if (!clean) copy.pullOut(mutant);
      } catch (error) {
        said = String(error);
      }
      const home_ = /^kept: (.*)$/m.exec(said)?.[1];
      if (home_?.includes('refit-chaos-')) rmSync(home_, { recursive: true, force: true });
      const violated = /^violated: ([A-H, ]+);/m.exec(said)?.[1]?.split(', ') ?? [];
      const named = mutant.breaks.filter((letter) => violated.includes(letter));
      const first =
        new RegExp(`^${named[0] ?? '-'}: .*$`, 'm').exec(said)?.[0] ??
        (violated.length > 0 ? violated.join() : (said.trim().split('\n').at(-1) ?? ''));
      const verdict = { mutant, violated, caught: named.length > 0, seconds: (Date.now() - startedMs) / 1_000, first };
      verdicts.push(verdict);
      tell(asRow(verdict, clean));
    }
    return verdicts;
  } finally {
    await servers.stop();
    copy.remove();
    rmSync(home, { recursive: true, force: true });
  }
}

/** With `clean` there was no bug to catch, and nothing may be violated. */
export function asRow({ mutant, violated, caught, seconds, first }: Verdict, clean = false): string {
  const verdict = clean ? (violated.length === 0 ? 'holds ' : 'BROKEN') : caught ? 'caught' : 'MISSED';
  const by = (violated.join('') || '-').padEnd(6);
  return `${mutant.name.padEnd(52)} breaks ${mutant.breaks.join('').padEnd(3)} ${verdict} by ${by} ${seconds.toFixed(0).padStart(3)} s  ${first.slice(0, 140)}`;
}
