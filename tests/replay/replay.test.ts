/** Guarantee 9, an upgrade strands nobody: every recorded history replays on the workflows of today. */
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleWorkflows } from '../../src/local/bundle.ts';
import { workflowBundle } from '../support/workflow-bundle.ts';
import { quietRuntime } from '../support/workflow-runtime.ts';
import { historyOf } from './history.ts';

const folder = fileURLToPath(new URL('histories/', import.meta.url));
const files = (await readdir(folder)).filter((file) => file.endsWith('.json')).sort();

interface Recorded {
  readonly workflowId: string;
  readonly history: unknown;
}
const recorded = async (file: string): Promise<Recorded> => JSON.parse(await readFile(folder + file, 'utf8'));

async function replayed(code: string, file: string): Promise<Error | undefined> {
  const { workflowId, history } = await recorded(file);
  for await (const result of Worker.runReplayHistories({ workflowBundle: { code } }, [
    { workflowId, history: historyOf(history) },
  ]))
    return result.error;
  throw new Error(`${file} was not replayed`);
}

beforeAll(quietRuntime);

describe('a recorded history', () => {
  it.each(files)('%s replays', async (file) => {
    const { code } = await workflowBundle();
    expect(await replayed(code, file)).toBeUndefined();
  });

  it('is there for every workflow, and for each end of a run and a rollout', () => {
    const scenarios = files.map((file) => file.replace(/@.*$/, ''));
    for (const kind of ['dataset', 'lifecycle', 'sweep'])
      expect(
        scenarios.some((one) => one.startsWith(kind)),
        kind,
      ).toBe(true);
    for (const end of [
      'approved-by-signal',
      'rejected',
      'reminded-and-expired',
      'superseded',
      'cancelled',
      'data-rejected',
      'gate-failed',
      'inconclusive',
      'trainer-failed',
    ])
      expect(scenarios).toContain(`run-${end}`);
    for (const end of [
      ...['promoted', 'rolled-back', 'paused-and-aborted', 'fenced', 'back'],
      ...['inconclusive-then-resumed', 'inconclusive-then-watched-anew'],
    ])
      expect(scenarios).toContain(`rollout-${end}`);
    for (const end of ['scored', 'failed', 'cancelled']) expect(scenarios).toContain(`batch-${end}`);
    for (const one of [
      'dataset-with-an-erasure',
      'dataset-with-an-erasure-in-slices',
      // One by the rules of 0.1.0, one by those of today: they decide otherwise.
      'lifecycle-of-0.1.0-that-gives-way-in-the-cooldown',
      'lifecycle-that-gives-way-after-the-cooldown',
    ])
      expect(scenarios).toContain(one);
  });

  it('does not replay on a workflow that does other things', async () => {
    const code = await bundleWorkflows(fileURLToPath(new URL('changed/index.ts', import.meta.url)));
    const runs = files.filter((file) => file.startsWith('run-'));
    expect(runs.length).toBeGreaterThan(0);
    for (const file of runs) expect(await replayed(code, file), file).toBeInstanceOf(DeterminismViolationError);
  });
});
