/** Drift alerts as detectors send them. */
import type { IncomingEvent } from '../../src/ports/registry/events.ts';
import { event } from './registry-fixtures.ts';

const HOUR_MS = 3_600_000;

/** `hour` numbers windows of one hour each. */
export function alert(
  model: string,
  id: string,
  hour = 0,
  more: { readonly verdict?: string; readonly version?: number } = {},
): IncomingEvent {
  const window = { start: new Date(hour * HOUR_MS).toISOString(), end: new Date((hour + 1) * HOUR_MS).toISOString() };
  return event('drift', `${model}-${id}`, model, { model, kind: 'data', window, features: [], ...more });
}

/** So many outcomes of predictions. */
export function labels(model: string, id: string, count: number): IncomingEvent {
  const given = Array.from({ length: count }, (_, index) => ({
    id: `${id}-${index}`,
    label: '1',
    time: '2026-01-01T00:00:00Z',
  }));
  return { ...event('labels', `${model}-${id}`, model, { model, labels: given }), labels: given };
}
