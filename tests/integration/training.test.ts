/** The activity around a trainer: what was trained once is kept, whatever is away or slow at that moment. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Ports } from '../../activities/ports.ts';
import { createTrainActivities } from '../../activities/train.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import type { TrainResult } from '../../src/contracts/messages.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import type { Registry } from '../../src/ports/registry.ts';
import type { ArtifactStore } from '../../src/ports/store.ts';
import type { TrainerOutcome, TrainerRunner } from '../../src/ports/trainer.ts';
import { BACKENDS, freshOn } from '../support/registry-backends.ts';
import { project } from '../support/registry-fixtures.ts';

const MODEL = 'm';
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'refit-training-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Surrounded {
  readonly registry?: (registry: Registry) => Partial<Registry>;
  readonly store?: (store: ArtifactStore) => Partial<ArtifactStore>;
  readonly outcome?: TrainerOutcome;
}

/** A run at its training, by a trainer that writes what is needed and counts how often it was started. */
async function training(registry: Registry, change: Surrounded = {}) {
  const store = await openStore(`file://${join(folder, 'artifacts')}`);
  const base = project([MODEL]);
  await registry.apply(base);
  const definitionDigest = base.models[0]?.definitionDigest ?? '';
  const part = { digest: await store.putBytes(Buffer.from('rows')), rows: 1 };
  const snapshot = { features: [], classes: [], parts: { train: part, validation: part, test: part } };
  const opened = await registry.openRun({
    ...{ model: MODEL, requestKey: 'one', trigger: 'manual', eventKeys: [], requester: null, reason: null },
    ...{ definitionDigest, at: new Date().toISOString() },
  });
  if (opened.status !== 'opened') throw new Error(opened.reason);
  const request = {
    ...{ model: MODEL, run: opened.run.run, definitionDigest },
    snapshot: await store.putBytes(Buffer.from(canonicalJson(snapshot))),
  };
  let starts = 0;
  const trainer: TrainerRunner = {
    async run({ spec }) {
      starts += 1;
      await writeFile(join(spec.output, 'model.onnx'), 'onnx');
      await writeFile(join(spec.output, 'predictions.parquet'), 'predictions');
      return change.outcome ?? { status: 'done', seconds: 3, metrics: { loss: 0.5 }, log: 'the end' };
    },
    environment: async () => ({ python: '3' }),
  };
  const ports = {
    registry: { ...registry, ...change.registry?.(registry) },
    store: { ...bound(store), ...change.store?.(store) },
    trainer,
    surroundings: {
      now: () => new Date(),
      scratch: async <T>(work: (path: string) => Promise<T>) => work(await mkdtemp(join(folder, 'scratch-'))),
    },
  };
  const { train } = createTrainActivities(ports as unknown as Ports);
  const activity = new MockActivityEnvironment();
  return {
    activity,
    run: request.run,
    starts: () => starts,
    train: () => activity.run<[typeof request], TrainResult, typeof train>(train, request),
  };
}

const bound = (store: ArtifactStore): Partial<ArtifactStore> => ({
  getBytes: (digest) => store.getBytes(digest),
  putBytes: (bytes) => store.putBytes(bytes),
  putFile: (path) => store.putFile(path),
  pathOf: (digest) => store.pathOf(digest),
});

/** Fails so many times, as a server that is away does. */
function awayFor<Given extends readonly unknown[], Result>(
  times: number,
  work: (...given: Given) => Promise<Result>,
): (...given: Given) => Promise<Result> {
  let asked = 0;
  return async (...given) => {
    asked += 1;
    if (asked <= times) throw new Error('connect ECONNREFUSED');
    return work(...given);
  };
}

describe.each(BACKENDS)('a finished training (registry on %s)', (backend) => {
  it('is kept by the attempt that made it, once registry and store are back', async () => {
    const opened = await freshOn(backend);
    try {
      const one = await training(opened.registry, {
        registry: ({ settleCost, updateRun }) => ({
          settleCost: awayFor(1, settleCost),
          updateRun: awayFor(1, updateRun),
        }),
        store: (store) => ({ putFile: awayFor(1, (path) => store.putFile(path)) }),
      });
      const trained = await one.train();
      expect(one.starts()).toBe(1);
      const stored = await opened.registry.run(one.run);
      expect(stored).toMatchObject({ stage: 'evaluate', onnx: trained.onnx, cpuSeconds: { spent: 6 } });
      expect(stored?.training).toMatchObject({ ...trained, attempt: 1, metrics: { loss: 0.5 } });
      // Asked again, after a crash, the row answers.
      expect(await one.train()).toEqual(trained);
      expect(one.starts()).toBe(1);
    } finally {
      await opened.close();
    }
  });
});

describe.each(BACKENDS)('a training that failed (registry on %s)', (backend) => {
  it('says so in a sentence of its own, and keeps what the trainer wrote in the row of the run alone', async () => {
    const opened = await freshOn(backend);
    try {
      const { registry } = opened;
      const one = await training(registry, {
        outcome: { status: 'failed', cause: 'exit', reason: 'the trainer exited with 1', log: 'KeyError: ana' },
      });
      await expect(one.train()).rejects.toThrow(/^the trainer exited with 1$/);
      const whole = 'the trainer exited with 1; its last lines:\nKeyError: ana';
      expect(await registry.run(one.run)).toMatchObject({ outcome: null, outcomeReason: whole });
      await registry.finishRun(one.run, 'failed', whole, new Date().toISOString());
      expect((await registry.run(one.run))?.outcomeReason).toBe(whole);
      const told = [await registry.audit(MODEL, 100), await registry.outbox(100)];
      for (const what of told) {
        expect(JSON.stringify(what)).toContain('the trainer exited with 1');
        expect(JSON.stringify(what)).not.toContain('KeyError');
      }
      // An end that came first stays.
      await registry.keepReason(one.run, 'something else');
      expect((await registry.run(one.run))?.outcomeReason).toBe(whole);
    } finally {
      await opened.close();
    }
  });
});

describe('a training', () => {
  it('is alive for Temporal while its data comes and while its files go', async () => {
    const opened = await freshOn('sqlite');
    try {
      const beat = () => new Promise((resolve) => one.activity.once('heartbeat', resolve));
      const slow = new Set(['fetch', 'keep']);
      const one = await training(opened.registry, {
        store: (store) => ({
          async pathOf(digest) {
            if (slow.delete('fetch')) await beat();
            return store.pathOf(digest);
          },
          async putFile(path) {
            if (slow.delete('keep')) await beat();
            return store.putFile(path);
          },
        }),
      });
      await one.train();
      expect([one.starts(), ...slow]).toEqual([1]);
    } finally {
      await opened.close();
    }
  }, 30_000);

  it('of an attempt that has lapsed writes nothing beside the one after it', async () => {
    const opened = await freshOn('sqlite');
    try {
      const one = await training(opened.registry, {
        store: (store) => ({
          async putFile(path) {
            one.activity.cancel();
            return store.putFile(path);
          },
        }),
      });
      await expect(one.train()).rejects.toThrow('another attempt does this now');
      expect(await opened.registry.run(one.run)).toMatchObject({ training: null, cpuSeconds: { spent: null } });
    } finally {
      await opened.close();
    }
  });

  it('waits for no registry once it was cancelled', async () => {
    const opened = await freshOn('sqlite');
    try {
      const one = await training(opened.registry, {
        registry: () => ({
          updateRun: async () => {
            one.activity.cancel();
            throw new Error('connect ECONNREFUSED');
          },
        }),
      });
      await expect(one.train()).rejects.toThrow('ECONNREFUSED');
      expect((await opened.registry.run(one.run))?.training).toBeNull();
    } finally {
      await opened.close();
    }
  });
});
