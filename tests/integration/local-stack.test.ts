/** The local stack: it comes up, mends what dies, goes down with or without its supervisor, and continues where it was. */
import { readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Connection, WorkflowClient } from '@temporalio/client';
import { Kafka, logLevel } from 'kafkajs';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { readLivePid, writePidFile } from '../../src/local/child.ts';
import { doctor } from '../../src/local/doctor.ts';
import { pidFile } from '../../src/local/home.ts';
import type { PartSpec } from '../../src/local/parts.ts';
import { defaultParts, partEnvironment } from '../../src/local/parts.ts';
import { accepts } from '../../src/local/ports.ts';
import type { StackTools } from '../../src/local/setup/index.ts';
import { down, up } from '../../src/local/stack.ts';
import { runSupervisor } from '../../src/local/supervisor.ts';
import { waitFor } from '../../src/local/wait.ts';
import type { Settings } from '../../src/settings/types.ts';
import { parseSettings } from '../../src/settings.ts';
import { project, ship, waitingCandidate } from '../support/registry-fixtures.ts';
import { temporaryHome, testSettings, testTools } from '../support/stack.ts';
import { portsEnvironment, supervisorProcess } from '../support/supervisor-process.ts';

const TRIVIAL = new URL('../support/trivial-part.mjs', import.meta.url).pathname;
// How long it takes is not what is proven here, and the machine may be busy.
const MINUTES_MS = 60_000;

let home: string;
let settings: Settings;
let lines: string[];
let stopAll: (() => Promise<void>)[];
const progress = (line: string) => void lines.push(line);

beforeEach(async () => {
  home = await temporaryHome('stack');
  settings = await testSettings(home);
  lines = [];
  stopAll = [];
});

afterEach(async () => {
  for (const stop of stopAll) await stop();
  await down(settings, { progress });
  await rm(home, { recursive: true, force: true });
});

const trivial = (name: string, ...flags: string[]): PartSpec => ({
  name,
  command: [process.execPath, TRIVIAL, name, ...flags],
});

async function stackTools(): Promise<StackTools> {
  const tools = await testTools(settings);
  return {
    temporal: { kind: 'binary', path: tools.temporalCli, detail: 'test' },
    kafka: { kind: 'java', libFolder: tools.kafkaLibFolder, detail: 'test' },
    python: { path: tools.python, detail: 'test' },
  };
}

/** The parts alone, as with services that someone else runs. */
const noServices: StackTools = {
  temporal: { kind: 'given', detail: 'none' },
  kafka: { kind: 'given', detail: 'none' },
  python: { path: 'python3', detail: 'none' },
};

/** Starts in this process and returns once ready; `stop` is what SIGTERM does. */
async function start(parts: readonly PartSpec[], tools: StackTools) {
  const stopping = new AbortController();
  let running: Promise<void> = Promise.resolve();
  await new Promise<void>((resolve, reject) => {
    running = runSupervisor(settings, { progress, parts, tools, signal: stopping.signal, onReady: () => resolve() });
    running.catch(reject);
  });
  const stop = async () => {
    stopping.abort();
    await running;
  };
  stopAll.push(stop);
  return stop;
}

const livePid = (part: string) => readLivePid(home, part);

describe('parts', () => {
  it('a killed part is started again, and the log says so', async () => {
    const stop = await start([trivial('gateway'), trivial('worker')], noServices);
    const first = await livePid('worker');
    process.kill(first?.pid ?? 0, 'SIGKILL');
    const second = await waitFor(
      async () => {
        const now = await livePid('worker');
        return now !== undefined && now.pid !== first?.pid ? now : undefined;
      },
      { what: 'the new worker', timeoutMs: 120_000 },
    );
    await waitFor(async () => (lines.some((line) => line.includes('worker is ready again')) ? true : undefined), {
      what: 'the line about it',
      timeoutMs: 120_000,
    });
    expect(second.pid).not.toBe(first?.pid);
    expect(await readFile(join(home, 'logs', 'supervisor.log'), 'utf8')).toMatch(/worker ended with signal SIGKILL/);
    await stop();
    expect(await livePid('worker')).toBeUndefined();
    expect(await livePid('gateway')).toBeUndefined();
  });

  it('a server with a model whose champion cannot be loaded is up, and comes back when it is killed', async () => {
    settings = await testSettings(home, { KAFKA_BROKERS: inject('kafkaBrokers') });
    const registry = await openRegistry(settings.databaseUrl.reveal());
    try {
      await registry.apply(project(['m']));
      // Its bundle is in no store, as after a restore that lacks a file.
      await ship(registry, await waitingCandidate(registry, 'm', 'k'));
    } finally {
      await registry.close();
    }
    await start(
      defaultParts(settings).filter(({ name }) => name === 'serve'),
      noServices,
    );
    const answer = async (path: string) => (await fetch(`http://127.0.0.1:${settings.ports.serve}${path}`)).status;
    expect([await answer('/v2/health/live'), await answer('/v2/health/ready')]).toEqual([200, 503]);
    process.kill((await livePid('serve'))?.pid ?? 0, 'SIGKILL');
    await waitFor(async () => (lines.some((line) => line.includes('serve is ready again')) ? true : undefined), {
      ...{ what: 'the server again', timeoutMs: 2 * MINUTES_MS },
    });
    expect([await answer('/v2/health/live'), await answer('/v2/models/m/ready')]).toEqual([200, 503]);
  }, 300_000);

  it('stops in reverse order of start', async () => {
    const stop = await start([trivial('gateway'), trivial('worker'), trivial('serve')], noServices);
    await stop();
    const stopped = lines.filter((line) => line.endsWith(' stopped'));
    expect(stopped.at(-1)).toBe('gateway stopped');
    expect(stopped).toHaveLength(3);
  });

  it('a part that cannot start fails the whole start, with the end of its log, and leaves nothing', async () => {
    await expect(start([trivial('gateway'), trivial('worker', '--broken')], noServices)).rejects.toThrow(
      /worker ended with exit code 7 while it started[\s\S]*this part cannot start[\s\S]*worker\.log/,
    );
    expect(await livePid('gateway')).toBeUndefined();
    expect(await livePid('supervisor')).toBeUndefined();
  });

  it('a second start in the same home is refused', async () => {
    await start([trivial('gateway')], noServices);
    await expect(start([trivial('gateway')], noServices)).rejects.toThrow(/is up already \(supervisor \d+\)/);
    expect(await livePid('gateway')).toBeDefined();
  });

  it('a taken port is a clear error before anything starts', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(settings.ports.gateway, '127.0.0.1', resolve));
    try {
      const part: PartSpec = { ...trivial('gateway'), port: 'gateway' };
      await expect(start([trivial('worker'), part], noServices)).rejects.toThrow(
        new RegExp(`Port ${settings.ports.gateway} for the part gateway is taken.*REFIT_GATEWAY_PORT`),
      );
      expect(await livePid('worker')).toBeUndefined();
      const checks = await doctor(settings, { registry: async () => 'SQLite', store: async () => 'a folder' });
      expect(checks.find((check) => check.name === 'port gateway')).toMatchObject({ ok: false });
    } finally {
      await new Promise((resolve) => holder.close(resolve));
    }
  });

  it('gets an environment that finds the same stack from any folder', () => {
    const env = partEnvironment(settings, { TEMPORAL_API_KEY: 'k' }, '/usr/bin/python3');
    const there = parseSettings(env, '/');
    expect(there).toMatchObject({
      home: settings.home,
      url: settings.url,
      artifactsUrl: settings.artifactsUrl,
      ports: settings.ports,
      python: '/usr/bin/python3',
      temporal: { address: settings.temporal.address, addressGiven: true },
      kafka: { brokers: settings.kafka.brokers, brokersGiven: true },
    });
    expect(there.databaseUrl.reveal()).toBe(settings.databaseUrl.reveal());
    expect(there.temporal.apiKey?.reveal()).toBe('k');
  });
});

describe('down', () => {
  it('ends everything when the supervisor was killed, does nothing the second time, and up works again', async () => {
    const supervisor = await supervisorProcess(settings);
    const before = await Promise.all(['gateway', 'worker', 'serve'].map(livePid));
    expect(before.every((identity) => identity !== undefined)).toBe(true);
    process.kill(supervisor, 'SIGKILL');
    await waitFor(async () => ((await livePid('supervisor')) === undefined ? true : undefined), {
      what: 'the end of the supervisor',
      timeoutMs: 120_000,
    });
    expect(await Promise.all(['gateway', 'worker', 'serve'].map(livePid))).toEqual(before);
    expect((await down(settings, { progress })).stopped).toEqual(['serve', 'worker', 'gateway']);
    expect(await livePid('worker')).toBeUndefined();
    expect((await down(settings, { progress })).stopped).toEqual([]);

    await supervisorProcess(settings);
    expect((await down(settings, { progress })).stopped).toEqual(['supervisor']);
    expect(await livePid('gateway')).toBeUndefined();
  });

  it('up after a killed supervisor takes over: the parts that were left are stopped, new ones run', async () => {
    const supervisor = await supervisorProcess(settings);
    const before = await livePid('worker');
    process.kill(supervisor, 'SIGKILL');
    await waitFor(async () => ((await livePid('supervisor')) === undefined ? true : undefined), {
      what: 'the end of the supervisor',
      timeoutMs: 120_000,
    });
    await supervisorProcess(settings);
    expect((await livePid('worker'))?.pid).not.toBe(before?.pid);
    expect(await readFile(join(home, 'logs', 'supervisor.log'), 'utf8')).toMatch(/stopped worker, left by an earlier/);
  });

  it('never ends a process that only has the same pid', async () => {
    await writePidFile(home, 'worker', { pid: process.pid, startTime: '1' });
    expect((await down(settings, { progress })).stopped).toEqual([]);
    await expect(readFile(pidFile(home, 'worker'), 'utf8')).rejects.toThrow(/ENOENT/);
  });
});

describe('services', () => {
  it(
    'Temporal and Kafka keep their data over down and up, and over kill -9',
    async () => {
      const tools = await stackTools();
      const stop = await start([trivial('worker')], tools);
      await startWorkflow('kept-1');
      await onKafka(async (kafka) => {
        const admin = kafka.admin();
        await admin.connect();
        await admin.createTopics({ topics: [{ topic: 'kept' }], waitForLeaders: true });
        await admin.disconnect();
        const producer = kafka.producer();
        await producer.connect();
        await producer.send({ topic: 'kept', acks: -1, messages: [{ value: 'one' }] });
        await producer.disconnect();
      });
      for (const name of ['temporal', 'kafka']) process.kill((await livePid(name))?.pid ?? 0, 'SIGKILL');
      await waitFor(
        async () => (lines.filter((line) => / is ready again /.test(line)).length >= 2 ? true : undefined),
        { what: 'both services again', timeoutMs: 10 * MINUTES_MS },
      );
      expect(await workflowStatus('kept-1')).toBe('RUNNING');
      expect(
        (await doctor(settings, { registry: async () => 'SQLite', store: async () => 'a folder' })).filter(
          (check) => !check.ok,
        ),
      ).toEqual([]);
      await stop();
      expect(await accepts('127.0.0.1', settings.ports.kafka)).toBe(false);

      await start([trivial('worker')], tools);
      expect(await workflowStatus('kept-1')).toBe('RUNNING');
      await onKafka(async (kafka) => {
        const admin = kafka.admin();
        await admin.connect();
        const offsets = await admin.fetchTopicOffsets('kept');
        await admin.disconnect();
        expect(offsets[0]?.offset).toBe('1');
      });
    },
    10 * MINUTES_MS,
  );

  it(
    'detached: up tells the failure of a part that is not there, and leaves nothing running',
    async () => {
      const env = { ...process.env, REFIT_PYTHON: '/nonexistent/python' };
      const given = parseSettings({ ...portsEnvironment(settings), REFIT_PYTHON: '/nonexistent/python' }, home);
      await expect(up(given, { detach: true, progress, env })).rejects.toThrow(/REFIT_PYTHON/);
      expect(await livePid('supervisor')).toBeUndefined();
    },
    10 * MINUTES_MS,
  );
});

async function withWorkflows<T>(work: (client: WorkflowClient) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address: settings.temporal.address });
  try {
    return await work(new WorkflowClient({ connection }));
  } finally {
    await connection.close();
  }
}

/** No worker takes it, so it waits, as a run that waits for approval does. */
async function startWorkflow(workflowId: string): Promise<void> {
  await withWorkflows((client) => client.start('waits', { workflowId, taskQueue: 'nobody', args: [] }));
}

function workflowStatus(workflowId: string): Promise<string> {
  return withWorkflows(async (client) => (await client.getHandle(workflowId).describe()).status.name);
}

async function onKafka(work: (kafka: Kafka) => Promise<void>): Promise<void> {
  await work(new Kafka({ clientId: 'test', brokers: [...settings.kafka.brokers], logLevel: logLevel.NOTHING }));
}
