/** What came in for a model and what was made of it: the input of `refit policy simulate`. */
import type { ModelDocument } from '../contracts/documents.ts';
import { EVENT_TYPES, labelsArrivedSchema } from '../contracts/events.ts';
import type { PolicyHistory } from '../domain/policy-report.ts';
import type { SimulatedFate, SimulatedRun } from '../domain/simulation.ts';
import { pendingEvent } from '../ports/pending-event.ts';
import type { ModelRecord } from '../ports/registry/definitions.ts';
import type { EventRecord } from '../ports/registry/events.ts';
import type { RunRecord } from '../ports/registry/runs.ts';
import type { Registry } from '../ports/registry.ts';

/** Rows read at a time. */
const PAGE = 500;
/** More than any simulation needs; what is older is left out. */
const MOST_EVENTS = 50_000;

export interface ModelHistory {
  readonly document: ModelDocument;
  readonly events: PolicyHistory['events'];
  readonly outcomes: readonly { readonly atMs: number; readonly count: number }[];
  readonly runs: readonly SimulatedRun[];
  readonly fates: readonly (readonly [string, SimulatedFate])[];
  /** Older events were left out. */
  readonly isCut: boolean;
}

/** Newest first, as the registry pages them. */
async function eventsOf(registry: Registry, model: string): Promise<readonly EventRecord[]> {
  const found: EventRecord[] = [];
  while (found.length < MOST_EVENTS) {
    const before = found.at(-1)?.key;
    const page = await registry.events({ model, limit: PAGE, ...(before === undefined ? {} : { before }) });
    found.push(...page);
    if (page.length < PAGE) break;
  }
  return found;
}

function fateOf(event: EventRecord, model: string): SimulatedFate | null {
  const fate = event.fates.find((one) => one.model === model);
  if (!fate || fate.fate === 'duplicate' || fate.fate === 'ignored' || fate.fate === 'dead_lettered') return null;
  return { fate: fate.fate, run: fate.run, waitsFor: fate.waitsFor, atMs: Date.parse(fate.at) };
}

function runOf(run: RunRecord, servesFrom: string | null, events: ReadonlyMap<string, { rows: number }>): SimulatedRun {
  const time = (text: string | null): number | null => (text === null ? null : Date.parse(text));
  const { number, trigger, reason, outcome, eventKeys } = run;
  return {
    ...{ number, trigger, reason: reason ?? '', outcome, eventKeys },
    startedMs: Date.parse(run.startedAt),
    endedMs: time(run.finishedAt),
    servesFromMs: time(servesFrom),
    rows: eventKeys.reduce((total, key) => total + (events.get(key)?.rows ?? 0), 0),
    cpuSeconds: run.cpuSeconds.spent ?? run.cpuSeconds.reserved,
  };
}

export async function historyOf(registry: Registry, { name, document }: ModelRecord): Promise<ModelHistory> {
  const records = [...(await eventsOf(registry, name))].reverse();
  const events = new Map<string, PolicyHistory['events'][number]>();
  const fates: [string, SimulatedFate][] = [];
  const outcomes: { atMs: number; count: number }[] = [];
  for (const record of records) {
    const made =
      record.type === EVENT_TYPES.dataArrived
        ? await registry.datasetVersionOfEvent(record.target.name, record.key)
        : undefined;
    const event = pendingEvent(record, made);
    const fate = fateOf(record, name);
    if (event) events.set(record.key, event);
    if (event && fate) fates.push([record.key, fate]);
    if (record.type === EVENT_TYPES.labelsArrived) {
      const { labels } = labelsArrivedSchema.parse((JSON.parse(record.body) as { data: unknown }).data);
      outcomes.push({ atMs: Date.parse(record.receivedAt), count: labels.length });
    }
  }
  const versions = await registry.versions(name);
  const promotedAt = new Map(versions.map(({ run, promotedAt: at }) => [run, at]));
  const runs: SimulatedRun[] = [];
  for (const { run } of await registry.runs({ model: name, limit: 1_000 })) {
    const record = await registry.run(run);
    if (record) runs.push(runOf(record, promotedAt.get(run) ?? null, events));
  }
  runs.sort((a, b) => a.number - b.number);
  return {
    ...{ document, events: [...events.values()], outcomes, runs, fates },
    isCut: records.length >= MOST_EVENTS,
  };
}
