/** Retention of bytes: what is old and of no use goes, what serves, may serve again or is shared stays, and the registry says what went. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStore } from '../../src/adapters/store/directory.ts';
import type { DataFile } from '../../src/contracts/data.ts';
import { canonicalJson } from '../../src/domain/canonical.ts';
import { forgetData, forgetPredictions, forgetRuns } from '../../src/gateway/artifact-retention.ts';
import type { Registry } from '../../src/ports/registry.ts';
import type { ArtifactStore } from '../../src/ports/store.ts';
import { BACKENDS, type BackendRegistry, freshOn } from '../support/registry-backends.ts';
import { at, decide, digestOf, openRun, project, ship, waitingCandidate } from '../support/registry-fixtures.ts';

const NOW = at(200);

describe.each(BACKENDS)('on %s', (backend) => {
  let opened: BackendRegistry;
  let registry: Registry;
  let folder: string;
  let store: ArtifactStore;
  beforeEach(async () => {
    opened = await freshOn(backend);
    registry = opened.registry;
    await registry.apply(project(['m']));
    folder = mkdtempSync(join(tmpdir(), 'refit-retention-'));
    store = await openStore(`file:${folder}`);
  });
  afterEach(async () => {
    await opened.close();
    rmSync(folder, { recursive: true });
  });

  const put = (content: string): Promise<string> => store.putBytes(Buffer.from(content));
  const there = async (...digests: readonly string[]) => Promise.all(digests.map((digest) => store.has(digest)));

  it('predictions go by the time of their newest row, and the position of the sink stays', async () => {
    const file = async (offset: number, minute: number) => {
      const digest = await put(`predictions ${offset}`);
      await registry.commitSinkFile({
        ...{ topic: 't', partition: 0, startOffset: String(offset), nextOffset: String(offset + 1), digest, rows: 1 },
        ...{ models: ['m'], minTime: at(minute), maxTime: at(minute) },
      });
      return digest;
    };
    const [old, young] = [await file(0, 10), await file(1, 50)];
    expect(await forgetPredictions({ registry, store }, at(30), NOW)).toBe(1);
    expect(await there(old, young)).toEqual([false, true]);
    expect((await registry.sinkFiles('m', at(0), at(100))).map((one) => one.digest)).toEqual([young]);
    expect(await registry.sinkPosition('t', 0)).toBe('2');
    expect(await registry.deletedArtifact(old)).toMatchObject({
      reason: expect.stringMatching(/^retention of predictions/),
    });
    expect(await forgetPredictions({ registry, store }, at(30), NOW)).toBe(0);
  });

  /** A run's row names what it made; the snapshot's parts are its own but for what `shared` says. */
  async function makes(run: string, shared: string): Promise<Record<'snapshot' | 'train' | 'onnx' | 'shared', string>> {
    const part = async (name: string) => ({ digest: await put(`${name} of ${run}`), rows: 1 });
    const [train, test] = [await part('train'), await part('test')];
    const common = { digest: await put(shared), rows: 1 };
    const manifest = {
      ...{ parts: { train, validation: common, test }, reference: await put(`reference of ${run}`) },
      testSource: await put(`source of ${run}`),
    };
    const snapshot = await put(canonicalJson(manifest));
    const onnx = await put(`onnx of ${run}`);
    await registry.updateRun(
      run,
      {
        ...{ snapshot, onnx },
        training: {
          ...{ onnx, predictions: await put(`predictions of ${run}`), log: await put(`log of ${run}`), seconds: 1 },
          ...{ attempt: 1, trainer: 'sklearn', environment: {}, metrics: {} },
        },
      },
      at(3),
    );
    return { snapshot, train: train.digest, onnx, shared: common.digest };
  }

  it('what a run made goes once it ended without a version that serves or served; what others share stays', async () => {
    const failed = (await openRun(registry, 'm', 'failed')).run;
    const ofFailed = await makes(failed, 'shared with the champion');
    await registry.finishRun(failed, 'gate_failed', null, at(5));
    const champion = await waitingCandidate(registry, 'm', 'champion');
    const ofChampion = await makes(champion.run, 'shared with the champion');
    await ship(registry, champion);
    const rejected = await waitingCandidate(registry, 'm', 'rejected');
    const ofRejected = await makes(rejected.run, 'its own');
    await decide(registry, rejected, 'ana', 'no', { decision: 'reject' });
    await registry.finishRun(rejected.run, 'rejected', null, at(6));
    const late = (await openRun(registry, 'm', 'late')).run;
    const ofLate = await makes(late, 'its own too');
    await registry.finishRun(late, 'failed', null, at(90));
    const open = (await openRun(registry, 'm', 'open')).run;
    const ofOpen = await makes(open, 'still under way');

    expect(await forgetRuns({ registry, store }, at(30), NOW)).toBe(2);
    for (const gone of [ofFailed, ofRejected]) {
      expect(await there(gone.train, gone.onnx)).toEqual([false, false]);
      // The manifest stays: it says what the run saw.
      expect(await there(gone.snapshot)).toEqual([true]);
    }
    expect(await there(ofFailed.shared, ofRejected.shared)).toEqual([true, false]);
    for (const kept of [ofChampion, ofLate, ofOpen])
      expect(await there(kept.snapshot, kept.train, kept.onnx, kept.shared)).toEqual([true, true, true, true]);
    const audit = await registry.audit('m', 100);
    expect(
      audit
        .filter((row) => row.action === 'run.artifacts_deleted')
        .map((row) => row.body.run)
        .sort(),
    ).toEqual([failed, rejected.run].sort());
    expect(await registry.verifyAudit('m')).toMatchObject({ ok: true });
    expect(await forgetRuns({ registry, store }, at(30), NOW)).toBe(0);
  });

  it('files go that corrections took out long ago; those of the newest version and of other datasets stay', async () => {
    const file = async (name: string): Promise<DataFile> => ({
      ...{ digest: await put(name), bytes: 1, rows: 1, partition: name[0] ?? '', uri: name, sourceDigest: name },
      ...{ minTime: null, maxTime: null },
    });
    const [a1, a2, a3, b] = [await file('a1'), await file('a2'), await file('a3'), await file('b1')];
    const commit = (
      dataset: string,
      version: number,
      files: readonly DataFile[],
      minute: number,
      isCorrection: boolean,
    ) =>
      registry.commitDatasetVersion({
        ...{ dataset, version, manifestDigest: digestOf([dataset, version]), eventKey: `e ${version}`, newRows: 1 },
        manifest: { dataset, version, columns: [], files, rows: files.length, maxTime: null },
        createdAt: at(minute),
        corrects: isCorrection ? { partition: 'a', files: 1, rows: 1 } : null,
      });
    await commit('d', 1, [a1, b], 1, false);
    await commit('d', 2, [a2, b], 10, true);
    await commit('d', 3, [a3, b], 50, true);
    await commit('other', 1, [a2], 1, false);
    expect(await forgetData({ registry, store }, at(30), NOW)).toBe(1);
    expect(await there(a1.digest, a2.digest, a3.digest, b.digest)).toEqual([false, true, true, true]);
    expect(await registry.audit('dataset/d', 1)).toMatchObject([{ action: 'data.deleted', body: { files: 1 } }]);
    // a2 is past its time as well by now, but another dataset has it.
    expect(await forgetData({ registry, store }, at(60), NOW)).toBe(0);
    expect(await there(a2.digest)).toEqual([true]);
  });
});
