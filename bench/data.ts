/** Checks and profile of 3 million rows beside pandera and pandas, each in a process of its own, and of 10 million rows alone. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { withSession } from '../src/adapters/duckdb/session.ts';
import { cached, cacheRoot } from '../src/local/setup/cache.ts';
import { findBasePython } from '../src/local/setup/python.ts';
import { run } from '../src/local/setup/run.ts';
import { median, say, tellRatio } from './report.ts';

const ROWS = 3_000_000;
const MANY_ROWS = 10_000_000;
const ROUNDS = 3;
const TIMEOUT_MS = 900_000;

type What = 'checks' | 'unique' | 'profile';
interface Measured {
  readonly seconds: number;
  readonly peakMiB: number;
}

const beside = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** pandas and pandera, kept for the next time. */
async function peerPython(): Promise<string> {
  const requirements = beside('./data-requirements.txt');
  const key = createHash('sha256')
    .update(await readFile(requirements))
    .digest('hex')
    .slice(0, 16);
  const base = await findBasePython(process.env);
  if (!base) throw new Error('the bench needs Python 3.11 or newer with venv');
  const entry = await cached(cacheRoot(), `bench-python-${key}`, async (folder) => {
    say('installing pandas and pandera (once)');
    const made = await run(base.path, ['-m', 'venv', folder], { env: process.env, timeoutMs: TIMEOUT_MS });
    const python = join(folder, 'bin', 'python');
    const args = ['-m', 'pip', 'install', '--quiet', '-r', requirements];
    const installed = made.ok ? await run(python, args, { env: process.env, timeoutMs: TIMEOUT_MS }) : made;
    if (!installed.ok) throw new Error(`cannot install ${requirements}: ${installed.problem}`);
  });
  return join(entry, 'bin', 'python');
}

/** Eight columns: a name, a time, three numbers, two texts of few values, a truth. The same bytes each time. */
function makeFile(path: string, rows: number): Promise<void> {
  const share = (salt: number): string => `(hash(i * 16 + ${salt}) / 18446744073709551616.0)`;
  const query = `SELECT 'f' || i AS id, TIMESTAMP '2024-01-01' + to_seconds(i) AS seen, ${share(1)} * 1000 AS amount,
    CAST(floor(${share(2)} * 24) AS BIGINT) AS hour, ['EWR', 'JFK', 'LGA'][1 + CAST(floor(${share(3)} * 3) AS INT)] AS origin,
    'c' || CAST(floor(${share(4)} * 500) AS INT) AS code, CASE WHEN ${share(5)} >= 0.05 THEN ${share(6)} * 10 END AS score,
    ${share(7)} < 0.3 AS late FROM range(${rows}) t(i)`;
  return withSession({ folders: [join(path, '..')] }, (session) =>
    session.run(`COPY (${query}) TO '${path}' (FORMAT parquet, COMPRESSION zstd)`),
  );
}

async function measured(command: string, args: readonly string[]): Promise<Measured> {
  const ended = await run(command, args, { env: process.env, timeoutMs: TIMEOUT_MS });
  if (!ended.ok) throw new Error(`${command} ${args.join(' ')}: ${ended.problem}`);
  const line = ended.stdout.trim().split('\n').at(-1) ?? '';
  const { seconds, peakMiB } = JSON.parse(line) as { readonly seconds: readonly number[]; readonly peakMiB: number };
  return { seconds: median(seconds), peakMiB };
}

function engine(what: What, file: string): Promise<Measured> {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx/esm')).href;
  return measured(process.execPath, ['--import', tsx, beside('./data-engine.ts'), what, file, String(ROUNDS)]);
}

const told = ({ seconds, peakMiB }: Measured): string => `${seconds.toFixed(3)} s, ${peakMiB.toFixed(0)} MiB at most`;

export async function dataBench(): Promise<void> {
  const python = await peerPython();
  const folder = await mkdtemp(join(tmpdir(), 'refit-bench-data-'));
  try {
    const file = join(folder, 'three-million.parquet');
    await makeFile(file, ROWS);
    say(
      `${ROWS.toLocaleString('en')} rows of 8 columns, ${((await stat(file)).size / 2 ** 20).toFixed(0)} MiB of Parquet, read each time`,
    );
    const ratios: [string, number, number][] = [];
    for (const [what, name, target] of [
      ['checks', 'checks against pandera', 10],
      ['unique', 'checks with a unique id against pandera', 10],
      ['profile', 'profile against pandas', 1],
    ] as const) {
      const ours = await engine(what, file);
      const theirs = await measured(python, [beside('./data_peer.py'), what, file, String(ROUNDS)]);
      say(`${what}: Refit ${told(ours)}; ${what === 'profile' ? 'pandas' : 'pandera'} ${told(theirs)}`);
      ratios.push([name, theirs.seconds / ours.seconds, target]);
    }
    for (const [name, value, target] of ratios) tellRatio({ name, value, target, atLeast: true });
    const many = join(folder, 'ten-million.parquet');
    await makeFile(many, MANY_ROWS);
    say(`${MANY_ROWS.toLocaleString('en')} rows, ${((await stat(many)).size / 2 ** 20).toFixed(0)} MiB of Parquet`);
    for (const what of ['checks', 'unique', 'profile'] as const)
      say(`${what}: Refit ${told(await engine(what, many))}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
