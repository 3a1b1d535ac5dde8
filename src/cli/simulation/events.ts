/** Past events as the policy sees them, from a file of CloudEvents. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  dataArrivedSchema,
  driftDetectedSchema,
  type Envelope,
  EVENT_TYPES,
  envelopeSchema,
  labelsArrivedSchema,
} from '../../contracts/events.ts';
import type { PendingEvent } from '../../contracts/messages.ts';
import { eventKey } from '../../domain/ids.ts';
import type { PastInput } from '../../domain/simulation.ts';
import { CliError, EXIT } from '../exit.ts';

/** A data arrival names its files, so that models can be trained on what had arrived. */
export interface Arrival {
  readonly atMs: number;
  readonly uris: readonly string[];
  readonly partition: string | null;
}
export interface PastEvents {
  readonly inputs: readonly PastInput[];
  readonly arrivals: readonly Arrival[];
  /** Arrivals of datasets that the model joins: they start nothing. */
  readonly joined: readonly (Arrival & { readonly dataset: string })[];
}

const pending = (one: Pick<PendingEvent, 'key' | 'kind' | 'rows' | 'drift'>, atMs: number): PastInput => ({
  ...{ type: 'event', atMs },
  event: { ...one, receivedAtMs: atMs },
});

function linesOf(text: string): readonly { readonly line: number; readonly value: unknown }[] {
  if (text.trimStart().startsWith('[')) {
    const values: unknown = JSON.parse(text);
    return Array.isArray(values) ? values.map((value: unknown, index) => ({ line: index + 1, value })) : [];
  }
  return text.split('\n').flatMap((content, index) => {
    if (content.trim() === '') return [];
    try {
      return [{ line: index + 1, value: JSON.parse(content) as unknown }];
    } catch (error) {
      throw new Error(`line ${index + 1}: ${error instanceof Error ? error.message : String(error)}`);
    }
  });
}

function inputOf(event: Envelope, atMs: number, { model, dataset, joined }: Wanted, base: string): Partial<PastEvents> {
  const key = eventKey(event.source, event.id);
  if (event.type === EVENT_TYPES.dataArrived) {
    const data = dataArrivedSchema.parse(event.data);
    const uris = data.uris.map((uri) => (URL.canParse(uri) ? uri : pathToFileURL(resolve(base, uri)).href));
    if (joined.includes(data.dataset))
      return { joined: [{ dataset: data.dataset, atMs, uris, partition: data.partition ?? null }] };
    if (data.dataset !== dataset) return {};
    if (data.rows === undefined) throw new Error('a data arrival needs `rows` here: the policy counts them');
    return {
      inputs: [pending({ key, kind: 'data', rows: data.rows, drift: null }, atMs)],
      arrivals: [{ atMs, uris, partition: data.partition ?? null }],
    };
  }
  if (event.type === EVENT_TYPES.driftDetected) {
    const data = driftDetectedSchema.parse(event.data);
    if (data.model !== model) return {};
    const drift = {
      verdict: data.verdict ?? null,
      windowStartMs: Date.parse(data.window.start),
      windowEndMs: Date.parse(data.window.end),
      // Versions have other numbers under another policy: an alert speaks of whoever serves.
      version: null,
    };
    return { inputs: [pending({ key, kind: 'drift', rows: 0, drift }, atMs)] };
  }
  if (event.type === EVENT_TYPES.labelsArrived) {
    const data = labelsArrivedSchema.parse(event.data);
    return data.model === model ? { inputs: [{ type: 'outcomes', atMs, count: data.labels.length }] } : {};
  }
  return {};
}

interface Wanted {
  readonly model: string;
  readonly dataset: string;
  /** Datasets that the model joins. */
  readonly joined: readonly string[];
}

/** Reads CloudEvents, one a line or as an array. `time` says when one came; relative URIs are found beside the file. */
export async function readEvents(file: string, wanted: Wanted): Promise<PastEvents> {
  const { model, dataset } = wanted;
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new CliError(EXIT.usage, `${file} cannot be read: ${error.message}`);
  });
  const inputs: PastInput[] = [];
  const arrivals: Arrival[] = [];
  const joined: PastEvents['joined'][number][] = [];
  try {
    for (const { line, value } of linesOf(text)) {
      const parsed = envelopeSchema.safeParse(value);
      if (!parsed.success)
        throw new Error(
          `line ${line}: ${parsed.error.issues.map((one) => `${one.path.join('.')}: ${one.message}`).join('; ')}`,
        );
      if (parsed.data.time === undefined) throw new Error(`line ${line}: \`time\` is needed, when the event came`);
      try {
        const found = inputOf(parsed.data, Date.parse(parsed.data.time), wanted, dirname(resolve(file)));
        inputs.push(...(found.inputs ?? []));
        arrivals.push(...(found.arrivals ?? []));
        joined.push(...(found.joined ?? []));
      } catch (error) {
        throw new Error(`line ${line}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  } catch (error) {
    throw new CliError(EXIT.usage, `${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (inputs.length === 0)
    throw new CliError(EXIT.usage, `${file} has no event for model ${model} or its dataset ${dataset}`);
  return { inputs, arrivals, joined };
}
