/** Fuzzed files through the conversion that every arrival goes through: each ends as converted or as a DataProblem, in bounded time and memory. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { withSession } from '../../src/adapters/duckdb/session.ts';
import { DataProblem } from '../../src/ports/data.ts';
import { fuzzFile } from './fuzz-files.ts';

export interface FuzzReport {
  readonly files: number;
  readonly converted: number;
  /** By the check that the problem names. */
  readonly problems: Readonly<Record<string, number>>;
  /** Files that ended in any other way, with their numbers: what must not be. */
  readonly faults: readonly string[];
  /** Whose message says nothing of the file, or something of this machine. */
  readonly unnamed: readonly string[];
  readonly slowestMs: number;
  /** Resident memory of the largest process that read files, in MiB, as far as samples saw. */
  readonly peakMiB: number;
  /** Files that brought their reader down. */
  readonly crashes: readonly number[];
}

async function wholeParquets(folder: string): Promise<Buffer[]> {
  const queries = [
    "SELECT i AS id, 'text ' || i AS b, i / 7.0 AS c, TIMESTAMP '2024-01-01' + INTERVAL (i) HOUR AS at FROM range(300) t(i)",
    'SELECT i AS id, i % 3 AS small, NULL::INTEGER AS none, i % 2 = 0 AS flag FROM range(3000) t(i)',
    "SELECT [i, i] AS list, {'a': i} AS nested FROM range(50) t(i)",
    'SELECT 1 AS only',
  ];
  const found: Buffer[] = [];
  for (const [index, query] of queries.entries())
    for (const compression of ['zstd', 'snappy', 'gzip', 'uncompressed']) {
      const path = join(folder, `${index}-${compression}.parquet`);
      await withSession({ folders: [folder] }, (session) =>
        session.run(`COPY (${query}) TO '${path}' (FORMAT parquet, COMPRESSION ${compression}, ROW_GROUP_SIZE 2048)`),
      );
      found.push(await readFile(path));
    }
  return found;
}

/** Of the children of this process, as the system counts their peak. */
async function childrenPeakMiB(): Promise<number> {
  let peak = 0;
  for (const pid of (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name)))
    try {
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      if (Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]) !== process.pid) continue;
      peak = Math.max(peak, Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024);
    } catch {
      // It has ended meanwhile.
    }
  return Math.round(peak);
}

/** @param progress told now and then, with how many are done */
export async function fuzz(
  options: { readonly count: number; readonly seed: number; readonly from?: number },
  progress: (done: number) => void = () => undefined,
): Promise<FuzzReport> {
  const folder = await mkdtemp(join(tmpdir(), 'refit-fuzz-'));
  const engine = createDataEngine({ maxBytes: 64 * 2 ** 20, timeMs: 30_000 });
  const problems: Record<string, number> = {};
  const faults: string[] = [];
  const unnamed: string[] = [];
  const crashes: number[] = [];
  let [converted, done, slowestMs, peakMiB] = [0, 0, 0, 0];
  const sampler = setInterval(() => {
    void childrenPeakMiB().then((mib) => {
      peakMiB = Math.max(peakMiB, mib);
    });
  }, 250);
  try {
    const parquets = await wholeParquets(folder);
    const from = options.from ?? 0;
    let next = from;
    const work = async (): Promise<void> => {
      for (let number = next; number < from + options.count; number = next) {
        next += 1;
        const { kind, format, bytes, csv, timeColumn } = fuzzFile(options.seed, number, parquets);
        const own = join(folder, String(number));
        await mkdir(own);
        await writeFile(join(own, 'source'), bytes);
        const started = performance.now();
        try {
          await engine.convert({
            ...{ path: join(own, 'source'), output: join(own, 'out.parquet'), name: 'fuzzed', format, timeColumn },
            ...(csv === undefined ? {} : { csv }),
          });
          converted += 1;
        } catch (error) {
          const said = `${number} (${kind}): ${error instanceof Error ? error.message.slice(0, 300) : String(error)}`;
          if (!(error instanceof DataProblem)) faults.push(said);
          else {
            problems[error.check] = (problems[error.check] ?? 0) + 1;
            if (!error.message.includes('fuzzed') || error.message.includes(folder)) unnamed.push(said);
            if (error.message.includes('brings its reader down')) crashes.push(number);
          }
        }
        slowestMs = Math.max(slowestMs, performance.now() - started);
        await rm(own, { recursive: true, force: true });
        done += 1;
        progress(done);
      }
    };
    await Promise.all([work(), work()]);
  } finally {
    clearInterval(sampler);
    await rm(folder, { recursive: true, force: true });
  }
  return { files: done, converted, problems, faults, unnamed, slowestMs: Math.round(slowestMs), peakMiB, crashes };
}
