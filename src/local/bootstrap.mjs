/**
 * Makes a clean clone runnable: node modules, the compiled code, the workflow bundle, and with --tools what the stack and
 * the tests need. Plain JavaScript without dependencies, because it runs before there are any. Quick when nothing changed,
 * and safe when two run at once: the second waits.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const modules = join(root, 'node_modules');
const moduleStamp = join(modules, '.refit-lock');
const dist = join(root, 'dist');
const buildStamp = join(dist, '.refit-build');
const lock = join(root, '.refit', 'bootstrap.lock');
const UNNAMED_STALE_MS = 10_000;

const startedMs = Date.now();
const say = (line) => process.stderr.write(`[${((Date.now() - startedMs) / 1000).toFixed(1).padStart(5)} s] ${line}\n`);
const hash = (...texts) => texts.reduce((sum, text) => sum.update(text), createHash('sha256')).digest('hex');
const readText = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : '');

async function run(what, command, args) {
  say(what);
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'ignore', 'pipe'], env: process.env });
  let tail = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    tail = (tail + text).slice(-8_192);
  });
  const how = await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(code === 0 ? '' : (signal ?? `exit code ${code}`)));
  });
  if (how !== '') throw new Error(`${what}: ${command} ${args.join(' ')} ended with ${how}\n${tail.trim()}`);
}

/** For steps that print what a person should see: compiler errors, progress of set-up. */
async function runVisibly(what, args) {
  say(what);
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 2, 2], env: process.env });
  const how = await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(code === 0 ? '' : (signal ?? `exit code ${code}`)));
  });
  if (how !== '') throw new Error(`${what}: ended with ${how}`);
}

async function installModules() {
  const wanted = hash(readFileSync(join(root, 'package-lock.json')), process.versions.modules, process.platform);
  if (readText(moduleStamp) === wanted) return;
  // Who typed npm ci already does not wait for it twice.
  if (!installedAsLocked()) {
    await run('node modules: npm ci', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  }
  writeFileSync(moduleStamp, wanted);
}

/** npm leaves a list of what it installed; optional packages for other platforms are rightly not in it. */
function installedAsLocked() {
  const listed = readText(join(modules, '.package-lock.json'));
  if (listed === '') return false;
  const installed = JSON.parse(listed).packages;
  const { '': _project, ...locked } = JSON.parse(readText(join(root, 'package-lock.json'))).packages;
  const same = (name) => installed[name]?.version === locked[name]?.version;
  return (
    Object.keys(installed).every(same) &&
    Object.keys(locked).every((name) => locked[name].optional === true || same(name))
  );
}

/** What the build depends on: sources by name, size and time, which is quick to read. */
function buildKey() {
  const entries = [];
  const visit = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && entry.name !== 'node_modules') visit(path);
      else if (entry.name.endsWith('.ts')) {
        const { size, mtimeMs } = statSync(path);
        entries.push(`${path} ${size} ${mtimeMs}`);
      }
    }
  };
  for (const folder of ['src', 'workflows', 'activities', 'workers', 'examples']) {
    if (existsSync(join(root, folder))) visit(join(root, folder));
  }
  return hash(entries.sort().join('\n'), readFileSync(join(root, 'tsconfig.json')), readText(moduleStamp));
}

async function compile() {
  const wanted = buildKey();
  if (readText(buildStamp) === wanted) return;
  const tsc = join(modules, 'typescript', 'bin', 'tsc');
  await runVisibly('compiling', [tsc, '-p', join(root, 'tsconfig.json')]);
  const bundle = join(dist, 'src', 'local', 'bundle.js');
  if (existsSync(bundle)) await runVisibly('bundling the workflows', [bundle]);
  mkdirSync(dist, { recursive: true });
  // Last, so that a build that was cut off is done again.
  writeFileSync(buildStamp, wanted);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function isStale() {
  const owner = Number(readText(join(lock, 'owner')));
  if (owner > 0) return !isAlive(owner);
  const made = statSync(lock, { throwIfNoEntry: false });
  return made !== undefined && Date.now() - made.mtimeMs > UNNAMED_STALE_MS;
}

/** One breaker at a time, who looks again: otherwise the second would remove the lock that the first just took. */
function breakLock() {
  const breaking = `${lock}.breaking`;
  try {
    mkdirSync(breaking);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    const made = statSync(breaking, { throwIfNoEntry: false });
    if (made !== undefined && Date.now() - made.mtimeMs > UNNAMED_STALE_MS) rmSync(breaking, { recursive: true });
    return;
  }
  try {
    if (isStale()) rmSync(lock, { recursive: true, force: true });
  } finally {
    rmSync(breaking, { recursive: true, force: true });
  }
}

async function withLock(work) {
  for (let told = false; ; ) {
    try {
      mkdirSync(join(root, '.refit'), { recursive: true });
      mkdirSync(lock);
      writeFileSync(join(lock, 'owner'), String(process.pid));
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (isStale()) breakLock();
    else {
      if (!told) say('another set-up of this folder is under way; waiting for it');
      told = true;
      await sleep(200);
    }
  }
  try {
    await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 20)) {
  process.stderr.write(`Refit needs Node 20.20 or newer; this is ${process.versions.node}\n`);
  process.exit(2);
}
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    if (Number(readText(join(lock, 'owner'))) === process.pid) rmSync(lock, { recursive: true, force: true });
    process.exit(1);
  });
}
try {
  await withLock(async () => {
    await installModules();
    await compile();
  });
  if (process.argv.includes('--tools')) {
    await runVisibly('setting up the tools', [join(dist, 'src', 'local', 'setup', 'main.js')]);
  }
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
