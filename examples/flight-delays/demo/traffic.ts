/** Callers of the inference server: counts what they get, above all what fails. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Flight, inferRequest } from './flights.ts';

export interface TrafficCounts {
  /** Rows. */
  sent: number;
  /** Rows of answers that a caller saw fail. */
  failed: number;
  byVersion: Record<string, number>;
  problems: string[];
}
export const noTraffic = (): TrafficCounts => ({ sent: 0, failed: 0, byVersion: {}, problems: [] });

async function ask(url: string, flights: readonly Flight[], id: string, counts: TrafficCounts): Promise<void> {
  counts.sent += flights.length;
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(inferRequest(flights, id)),
    });
    const answer = (await response.json()) as {
      readonly error?: string;
      readonly model_version?: string;
      readonly outputs?: readonly { readonly shape: readonly number[] }[];
    };
    if (!response.ok || answer.outputs?.[0]?.shape[0] !== flights.length)
      throw new Error(answer.error ?? `status ${response.status}`);
    const version = String(answer.model_version);
    counts.byVersion[version] = (counts.byVersion[version] ?? 0) + flights.length;
  } catch (error) {
    counts.failed += flights.length;
    if (counts.problems.length < 5) counts.problems.push(error instanceof Error ? error.message : String(error));
  }
}

/** Sends all flights once. */
export async function sendOnce(
  url: string,
  flights: readonly Flight[],
  name: string,
  counts: TrafficCounts,
): Promise<void> {
  const BATCH = 100;
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < flights.length) {
      const from = next;
      next += BATCH;
      await ask(url, flights.slice(from, from + BATCH), `${name}-${from}`, counts);
    }
  };
  await Promise.all(Array.from({ length: 4 }, caller));
}

/** Callers that go on, over the flights again and again, until stopped. */
export function keepSending(
  url: string,
  flights: readonly Flight[],
  options: { readonly name: string; readonly rows: number; readonly callers: number; readonly counts: TrafficCounts },
): { readonly stop: () => Promise<void> } {
  const { name, rows, counts } = options;
  const PAUSE_MS = 10;
  let stopped = false;
  let next = 0;
  const caller = async (): Promise<void> => {
    while (!stopped) {
      const from = next % (flights.length - rows);
      const number = next;
      next += rows;
      await ask(url, flights.slice(from, from + rows), `${name}-${number}`, counts);
      await sleep(PAUSE_MS);
    }
  };
  const callers = Array.from({ length: options.callers }, caller);
  return {
    stop: async () => {
      stopped = true;
      await Promise.all(callers);
    },
  };
}
