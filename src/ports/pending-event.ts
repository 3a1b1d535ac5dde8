/** An event of the registry as the retraining policy sees it. */
import { driftDetectedSchema, EVENT_TYPES } from '../contracts/events.ts';
import type { PendingEvent } from '../contracts/messages.ts';
import type { DatasetVersionRecord } from './registry/datasets.ts';
import type { EventBody } from './registry/events.ts';

/** Null for what starts no run: labels, and data that made no dataset version. */
export function pendingEvent(event: EventBody, version: DatasetVersionRecord | undefined): PendingEvent | null {
  const { key, type, receivedAt } = event;
  const receivedAtMs = Date.parse(receivedAt);
  if (type === EVENT_TYPES.driftDetected) {
    const data = driftDetectedSchema.parse((JSON.parse(event.body) as { data: unknown }).data);
    const drift = {
      verdict: data.verdict ?? null,
      windowStartMs: Date.parse(data.window.start),
      windowEndMs: Date.parse(data.window.end),
      version: data.version ?? null,
    };
    return { key, kind: 'drift', receivedAtMs, rows: 0, drift };
  }
  if (type !== EVENT_TYPES.dataArrived || !version) return null;
  // It counts from when its rows are there.
  const readyAtMs = Math.max(receivedAtMs, Date.parse(version.createdAt));
  return { key, kind: 'data', receivedAtMs: readyAtMs, rows: version.newRows, drift: null };
}
