/** Forgets what is past its retention: a little at a time, so that nobody waits for it. */
import type { Logger } from 'pino';
import type { Messenger } from '../ports/messenger.ts';
import type { Registry } from '../ports/registry.ts';
import type { ArtifactStore } from '../ports/store.ts';
import type { RetentionSettings } from '../settings.ts';
import { forgetData, forgetPredictions, forgetRuns } from './artifact-retention.ts';
import { type Loop, startLoop } from './relay.ts';

const EVERY_MS = 3_600_000;
const BATCH = 500;

export interface RetentionOptions {
  readonly registry: Registry;
  readonly store: ArtifactStore;
  readonly messenger: Pick<Messenger, 'erasureRequested' | 'batchRequested'>;
  readonly logger: Logger;
  readonly now: () => Date;
  /** Null: for ever. */
  readonly keep: RetentionSettings;
}

export function startRetention({ registry, store, messenger, logger, now, keep }: RetentionOptions): Loop {
  const artifacts = { registry, store };
  const forget = async (): Promise<boolean> => {
    const nowMs = now().getTime();
    const at = new Date(nowMs).toISOString();
    const since = async (ms: number | null, work: (before: string) => Promise<number>): Promise<number> =>
      ms === null ? 0 : work(new Date(nowMs - ms).toISOString());
    const forgotten = {
      events: await since(keep.eventsMs, (before) => registry.pruneEvents(before, BATCH, at)),
      sent: await since(keep.eventsMs, (before) => registry.pruneOutbox(before, BATCH)),
      predictions: await since(keep.predictionsMs, (before) => forgetPredictions(artifacts, before, at)),
      runs: await since(keep.runsMs, (before) => forgetRuns(artifacts, before, at)),
      files: await since(keep.dataMs, (before) => forgetData(artifacts, before, at)),
    };
    if (Object.values(forgotten).some((count) => count > 0))
      logger.info(forgotten, 'what was past its retention was forgotten');
    // A gateway that died between registry and signal left them to nobody.
    for (const { dataset, erasure } of await registry.openErasures())
      await messenger.erasureRequested(dataset, [erasure]);
    for (const { model, batch } of await registry.openBatches()) await messenger.batchRequested(model, batch);
    const { events, sent, predictions, runs } = forgotten;
    return events === BATCH || sent === BATCH || predictions > 0 || runs > 0;
  };
  return startLoop('retention', logger, forget, EVERY_MS);
}
