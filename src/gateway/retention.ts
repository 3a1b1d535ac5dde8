/** Forgets events that were settled long ago, and outgoing ones that were sent long ago: a little at a time, so that nobody waits for it. */
import type { Logger } from 'pino';
import type { EventRegistry, OutboxRegistry } from '../ports/registry.ts';
import { type Loop, startLoop } from './relay.ts';

const EVERY_MS = 3_600_000;
const BATCH = 500;

export interface RetentionOptions {
  readonly registry: Pick<EventRegistry, 'pruneEvents'> & Pick<OutboxRegistry, 'pruneOutbox'>;
  readonly logger: Logger;
  readonly now: () => Date;
  /** Null: nothing is ever forgotten. */
  readonly keepMs: number | null;
}

export function startRetention({ registry, logger, now, keepMs }: RetentionOptions): Loop {
  if (keepMs === null) return { stop: () => Promise.resolve() };
  const forget = async (): Promise<boolean> => {
    const at = now();
    const before = new Date(at.getTime() - keepMs).toISOString();
    const events = await registry.pruneEvents(before, BATCH, at.toISOString());
    const sent = await registry.pruneOutbox(before, BATCH);
    if (events + sent > 0) logger.info({ events, sent, before }, 'what was settled before its retention was forgotten');
    return events === BATCH || sent === BATCH;
  };
  return startLoop('retention', logger, forget, EVERY_MS);
}
