/** A whole local stack by the CLI: ports and a home of its own, ended by its process ids. */

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { type Ended, quietPorts, ROOT, runRefit, until } from './e2e-refit.ts';
import { query } from './trainer.ts';

const PARTS = ['supervisor', 'temporal', 'kafka', 'gateway', 'worker', 'serve'] as const;
export type PartName = (typeof PARTS)[number];

export interface Run {
  readonly run: string;
  readonly model: string;
  readonly trigger: string;
  readonly eventKeys: readonly string[];
  readonly stage: string;
  readonly outcome: string | null;
  readonly outcomeReason: string | null;
  readonly version: number | null;
  readonly training: { readonly attempt: number } | null;
}
export interface Version {
  readonly version: number;
  readonly role: string;
  readonly bundleDigest: string;
  readonly run: string;
}
export interface Approval {
  readonly run: string;
  readonly model: string;
  readonly version: number;
  readonly bundleDigest: string;
}
interface Deployment {
  readonly deployment: number;
  readonly toVersion: number;
  readonly outcome: string | null;
  readonly outcomeReason: string | null;
  readonly steps: readonly { readonly step: string; readonly status: string; readonly detail: string }[];
}
export interface Rollout {
  readonly plan: {
    readonly deployment: number;
    readonly revision: number;
    readonly entries: readonly { readonly version: number; readonly role: string }[];
  } | null;
  readonly deployments: readonly Deployment[];
}
export interface ShownEvent {
  readonly source: string;
  readonly id: string;
  readonly settled: boolean;
  readonly deliveries: readonly { readonly fate: string | null }[];
  readonly fates: readonly {
    readonly model: string;
    readonly fate: string;
    readonly run: string | null;
    readonly reason: string | null;
  }[];
}
interface Verified {
  readonly ok: boolean;
  readonly rows: number;
  readonly head: { readonly sequence: number; readonly hash: string } | null;
}

export class E2eStack {
  readonly home: string;
  readonly gateway: string;
  readonly inference: string;
  readonly temporal: string;
  readonly kafka: string;

  private constructor(
    /** Holds the home, and a working directory for each who runs a command. */
    readonly folder: string,
    readonly environment: NodeJS.ProcessEnv,
  ) {
    this.home = join(folder, 'home');
    const port = (name: string): string => `127.0.0.1:${environment[`REFIT_${name}_PORT`]}`;
    this.gateway = `http://${port('GATEWAY')}`;
    this.inference = `http://${port('SERVE')}`;
    this.temporal = port('TEMPORAL');
    this.kafka = port('KAFKA');
  }

  static async create(python: string, more: NodeJS.ProcessEnv = {}): Promise<E2eStack> {
    const folder = await mkdtemp(join(tmpdir(), 'refit-e2e-'));
    const [temporal, ui, kafka, gateway, serve] = (await quietPorts(5)).map(String);
    await mkdir(join(folder, 'operator'));
    return new E2eStack(folder, {
      REFIT_HOME: join(folder, 'home'),
      REFIT_TEMPORAL_PORT: temporal,
      REFIT_TEMPORAL_UI_PORT: ui,
      REFIT_KAFKA_PORT: kafka,
      REFIT_GATEWAY_PORT: gateway,
      REFIT_SERVE_PORT: serve,
      REFIT_PYTHON: python,
      ...more,
    });
  }

  /** The same stack, for commands that are called with other settings. */
  withEnvironment(more: NodeJS.ProcessEnv): E2eStack {
    return new E2eStack(this.folder, { ...this.environment, ...more });
  }
  /** Any exit code: a code above 0 is an answer. */
  async try(...args: string[]): Promise<Ended> {
    return runRefit(args, { cwd: join(this.folder, 'operator'), env: this.environment });
  }
  async refit(...args: string[]): Promise<Ended> {
    const ended = await this.try(...args);
    if (ended.code !== 0)
      throw new Error(`refit ${args.join(' ')} exited with ${ended.code}: ${ended.stderr || ended.stdout}`);
    return ended;
  }
  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse((await this.refit(...args, '--json')).stdout) as T;
  }
  up(): Promise<Ended> {
    return this.refit('up', '--detach');
  }

  async read<T>(path: string): Promise<T> {
    const response = await fetch(`${this.gateway}/api/v1${path}`);
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }
  /** Null while the gateway is away: for waiting through a kill. */
  async readOrNull<T>(path: string): Promise<T | null> {
    try {
      return await this.read<T>(path);
    } catch (error) {
      if (error instanceof TypeError) return null;
      throw error;
    }
  }
  runs = (model: string): Promise<Run[]> => this.read<Run[]>(`/runs?model=${model}&limit=100`);
  versions = (model: string): Promise<Version[]> => this.read<Version[]>(`/models/${model}/versions`);
  rollout = (model: string): Promise<Rollout> => this.read<Rollout>(`/models/${model}/rollout?limit=100`);
  verifyAudit = (model: string, head?: string): Promise<Verified> =>
    this.json<Verified>('audit', 'verify', model, ...(head === undefined ? [] : ['--head', head]));

  /** The run of this number once `wanted`; one that ended otherwise is told at once. */
  async runAt(
    model: string,
    number: number,
    wanted: (run: Run) => boolean,
    what: string,
    timeoutMs = 300_000,
  ): Promise<Run> {
    const name = `${model}-${String(number).padStart(6, '0')}`;
    return until(
      `${name} ${what}`,
      async () => {
        const run = (await this.readOrNull<Run[]>(`/runs?model=${model}&limit=100`))?.find((one) => one.run === name);
        if (run && wanted(run)) return run;
        if (run?.outcome) throw new Error(`${name} ended ${run.outcome} before it ${what}: ${run.outcomeReason}`);
        return null;
      },
      timeoutMs,
      async () => JSON.stringify(await this.readOrNull(`/models/${model}`)),
    );
  }
  waits(model: string, number: number): Promise<Run> {
    return this.runAt(model, number, (run) => run.stage === 'decide' && run.outcome === null, 'waits for a decision');
  }
  approval(run: string): Promise<Approval> {
    return until(`${run} asks for approval`, async () =>
      (await this.readOrNull<Approval[]>('/approvals'))?.find((one) => one.run === run),
    );
  }
  async champion(model: string, version: number, timeoutMs = 300_000): Promise<void> {
    await until(
      `${model}@${version} is champion and serves`,
      async () => {
        const status = await this.readOrNull<{ readonly champion: { readonly version: number } | null }>(
          `/models/${model}`,
        );
        if (status?.champion?.version !== version) {
          const ended = (await this.rollout(model)).deployments.find((one) => one.toVersion === version);
          if (ended?.outcome && ended.outcome !== 'promoted')
            throw new Error(`${model}@${version}: its deployment ended ${ended.outcome}: ${ended.outcomeReason}`);
          return null;
        }
        return (
          (await fetch(`${this.inference}/v2/models/${model}/versions/${version}/ready`).catch(() => null))?.ok || null
        );
      },
      timeoutMs,
      async () => JSON.stringify((await this.rollout(model)).deployments),
    );
  }
  async signal(workflowId: string, name: string, message: object): Promise<void> {
    const connection = await Connection.connect({ address: this.temporal });
    await new Client({ connection }).workflow.getHandle(workflowId).signal(name, message);
    await connection.close();
  }
  /** All payloads of a workflow's history, as they are stored. */
  async historyText(workflowId: string): Promise<string> {
    const connection = await Connection.connect({ address: this.temporal });
    const history = await new Client({ connection }).workflow.getHandle(workflowId).fetchHistory();
    await connection.close();
    const textsIn = (value: unknown): readonly string[] => {
      if (value instanceof Uint8Array) return [Buffer.from(value).toString('utf8')];
      return value !== null && typeof value === 'object' ? Object.values(value).flatMap(textsIn) : [];
    };
    return textsIn(history.events).join('\n');
  }
  async settled(): Promise<Readonly<Record<string, number>>> {
    let last: unknown;
    return until(
      'every event is settled',
      async () => {
        const answer = await this.readOrNull<{ published: number; counts: Record<string, number> }>('/events/counts');
        last = answer;
        if (answer?.counts.held !== 0 || answer.counts.received !== 0) return null;
        return { published: answer.published, ...answer.counts };
      },
      300_000,
      () => JSON.stringify(last),
    );
  }

  async pid(part: PartName): Promise<number> {
    return Number((await readFile(join(this.home, 'run', `${part}.pid`), 'utf8')).split('\n')[0]);
  }
  /** kill -9 by the pid file. Gives the pid. */
  async kill(part: PartName): Promise<number> {
    const pid = await this.pid(part);
    process.kill(pid, 'SIGKILL');
    return pid;
  }
  async killEverything(): Promise<void> {
    const pids = await Promise.all(PARTS.map((part) => this.pid(part)));
    for (const pid of pids) process.kill(pid, 'SIGKILL');
  }

  /** What has this digest in the artifact store, whole; anything else throws. */
  async artifact(digest: string): Promise<Buffer> {
    const path = [digest, digest.slice(2)]
      .map((name) => join(this.home, 'artifacts', 'sha256', digest.slice(0, 2), name))
      .find(existsSync);
    if (path === undefined) throw new Error(`${digest} is not in the artifact store`);
    const bytes = await readFile(path);
    const found = createHash('sha256').update(bytes).digest('hex');
    if (found !== digest) throw new Error(`${digest} has the content of ${found}`);
    return bytes;
  }
  /** The bundle with this digest and all files that it names have the content that their digests say. */
  async verifyBundle(digest: string): Promise<void> {
    const manifest = JSON.parse((await this.artifact(digest)).toString('utf8')) as Record<string, string>;
    for (const name of ['onnx', 'featuresSql']) {
      const file = manifest[name];
      if (file !== undefined && /^[0-9a-f]{64}$/.test(file)) await this.artifact(file);
    }
  }

  async close(): Promise<void> {
    await this.try('down');
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A copy of a project of tests/support/projects with the files that all share, outside of the home, for tests to change. */
export async function copyProject(name: string, folder: string): Promise<string> {
  const target = join(folder, name);
  for (const from of ['common', name])
    await cp(join(ROOT, 'tests', 'support', 'projects', from), target, { recursive: true });
  await mkdir(join(target, 'data'), { recursive: true });
  return target;
}

/**
 * Rows of a garden: numbers made of the row's number, so that they are the same everywhere. `from` and `count` name the rows, one a
 * minute; the outcome depends on light, water and soil, with noise.
 */
export async function writeGarden(path: string, from: number, count: number): Promise<string> {
  const format = path.endsWith('.csv') ? 'csv, header' : path.endsWith('.jsonl') ? 'json' : 'parquet';
  await query(`
    copy (
      with base as (
        select i, hash(i * 31) % 10000 / 10000.0 as light, hash(i * 37) % 10000 / 10000.0 as water,
          ['clay', 'loam', 'sand'][(hash(i * 41) % 3)::int + 1] as soil, hash(i * 43) % 10000 / 10000.0 - 0.5 as noise
        from range(${from}, ${from + count}) t(i)
      ), made as (
        select *, light * 2 + water + case soil when 'loam' then 0.6 else 0 end + noise * 0.4 as vigour from base
      )
      select 'p' || i as plant, timestamp '2026-01-01' + interval (i) minute as planted, light, water, soil,
        round(vigour * 10, 3) as height, vigour > 1.7 as bloomed,
        case when vigour < 1.3 then 'weak' when vigour < 2.1 then 'fair' else 'strong' end as state
      from made order by i
    ) to '${path}' (format ${format})`);
  return path;
}

/** An inference request for rows as `writeGarden` makes them; `id` routes it. */
export const gardenRequest = (id: string, rows = 4): object => {
  const indices = Array.from({ length: rows }, (_, index) => index);
  return {
    id,
    inputs: [
      { name: 'light', datatype: 'FP64', shape: [rows], data: indices.map((index) => (index + 1) / (rows + 1)) },
      { name: 'water', datatype: 'FP64', shape: [rows], data: indices.map((index) => 1 - index / rows) },
      { name: 'soil', datatype: 'BYTES', shape: [rows], data: indices.map(() => 'loam') },
    ],
  };
};
