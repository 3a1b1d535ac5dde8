/**
 * Guarantee 1, every event is accounted for: whatever is delivered, in whatever order and however often, each delivery counts exactly
 * once, a settled fate never changes, and once all is settled nothing is left over.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventKey } from '../../src/domain/ids.ts';
import type { Incoming, Receipt } from '../../src/ports/registry/events.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { BACKENDS, freshOn } from '../support/registry-backends.ts';
import { at, delivery, event, malformed, openRun, project } from '../support/registry-fixtures.ts';

type Step =
  | {
      readonly do: 'deliver';
      readonly records: readonly { readonly kind: Kind; readonly id: number; readonly body: number }[];
    }
  | { readonly do: 'reread'; readonly back: number }
  | {
      readonly do: 'settle';
      readonly model: string;
      readonly id: number;
      readonly fate: 'held' | 'refused' | 'coalesced';
    }
  | { readonly do: 'subscribe'; readonly id: number; readonly models: readonly string[] }
  | { readonly do: 'run'; readonly model: string; readonly ids: readonly number[] };

const KINDS = ['data', 'unknownData', 'drift', 'unknownDrift', 'labels', 'malformed'] as const;
type Kind = (typeof KINDS)[number];

const MODELS = ['m', 'n'] as const;
const model = fc.constantFrom(...MODELS);
/** Few, so that one event meets several steps. */
const id = fc.nat(2);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('deliver' as const),
      records: fc.array(fc.record({ kind: fc.constantFrom(...KINDS), id, body: fc.nat(1) }), { maxLength: 6 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('reread' as const), back: fc.nat(20) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      model,
      id,
      fate: fc.constantFrom('held' as const, 'refused' as const, 'coalesced' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('subscribe' as const), id, models: fc.subarray([...MODELS]) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('run' as const), model, ids: fc.array(id, { maxLength: 4 }) }) },
);

/** The kind goes into the id, so that the same number may stand for one event of each kind. */
const ID = { data: 'da', unknownData: 'ud', drift: 'dr', unknownDrift: 'un', labels: 'la', malformed: '' } as const;

function incoming(offset: number, kind: Kind, number: number, body: number): Incoming {
  const name = `${ID[kind]}${number}`;
  switch (kind) {
    case 'malformed':
      return malformed(offset);
    case 'data':
      return delivery(offset, event('data', name, 'd', body));
    case 'unknownData':
      return delivery(offset, event('data', name, 'unknown', body));
    case 'drift':
      return delivery(offset, event('drift', name, 'm', body));
    case 'unknownDrift':
      return delivery(offset, event('drift', name, 'unknown', body));
    case 'labels':
      return delivery(offset, event('labels', name, 'm', body));
  }
}

const keysOf = (number: number): readonly string[] => [
  eventKey('test', `da${number}`),
  eventKey('test', `dr${number}`),
];

/** What a reread must never do differently: the delivery's own fate, and the need for the dead-letter topic. */
const lasting = (receipt: Receipt | undefined) => ({ fate: receipt?.fate, dead: receipt?.action === 'dead_letter' });

class World {
  readonly log: Incoming[] = [];
  readonly receipts: Receipt[] = [];
  readonly settledFates = new Map<string, string>();
  runs = 0;

  constructor(readonly registry: Registry) {}

  async play(one: Step): Promise<void> {
    switch (one.do) {
      case 'deliver': {
        const batch = one.records.map(({ kind, id: number, body }, index) =>
          incoming(this.log.length + index, kind, number, body),
        );
        this.receipts.push(...(await this.registry.receive(batch)));
        this.log.push(...batch);
        return;
      }
      case 'reread': {
        const from = Math.max(0, this.log.length - one.back);
        const again = await this.registry.receive(this.log.slice(from));
        expect(again.map(lasting)).toEqual(this.receipts.slice(from).map(lasting));
        return;
      }
      case 'settle':
        return this.registry.setFates(
          one.model,
          keysOf(one.id)
            .slice(one.model === 'm' ? 0 : 1)
            .map((key) => ({ key, fate: one.fate })),
          at(3),
        );
      case 'subscribe': {
        const [key = ''] = keysOf(one.id);
        const known = (await this.registry.event(key)) !== undefined;
        if (known) await this.registry.subscribe(key, one.models, at(3));
        return;
      }
      case 'run': {
        this.runs += 1;
        await openRun(this.registry, one.model, `run-${this.runs}`, one.ids.flatMap(keysOf));
        return;
      }
    }
  }

  async check(): Promise<void> {
    const { published, counts } = await this.registry.deliveryCounts();
    expect(published).toBe(this.log.length);
    expect(Object.values(counts).reduce((sum, n) => sum + n, 0)).toBe(published);
    for (const fate of ['duplicate', 'dead_lettered', 'ignored'] as const) {
      const own = this.receipts.filter((receipt) => receipt.fate === fate).length;
      if (fate === 'ignored') expect(counts[fate]).toBeGreaterThanOrEqual(own);
      else expect(counts[fate]).toBe(own);
    }
    for (const one of await this.registry.events({ limit: 1_000 })) {
      const open = one.fates.filter(({ fate }) => fate === 'received' || fate === 'held');
      expect(one.settled).toBe(open.length === 0);
      expect(one.deliveries.filter(({ fate }) => fate === null || fate === 'ignored')).toHaveLength(1);
      for (const fate of one.fates)
        this.#remember(`${one.key} ${fate.model}`, open.includes(fate) ? null : `${fate.fate} ${fate.run}`);
    }
  }

  #remember(row: string, settled: string | null): void {
    const before = this.settledFates.get(row);
    if (before !== undefined) expect(settled).toBe(before);
    else if (settled !== null) this.settledFates.set(row, settled);
  }

  async settleAll(): Promise<void> {
    for (const key of await this.registry.unsettled('', 1_000)) await this.registry.subscribe(key, [...MODELS], at(4));
    for (const name of MODELS) {
      const keys = await this.registry.unsettled(name, 1_000);
      await this.registry.setFates(
        name,
        keys.map((key) => ({ key, fate: 'refused' })),
        at(5),
      );
    }
  }
}

/** A schema of a server takes longer to make than a file. */
const SEQUENCES = { sqlite: 150, postgres: 30 };

describe.each(BACKENDS)('every event is accounted for, on %s', (backend) => {
  it('over random deliveries, duplicates, conflicts, fates, subscriptions and runs', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const { registry, close } = await freshOn(backend);
        try {
          await registry.apply(project(MODELS));
          const world = new World(registry);
          for (const one of steps) {
            await world.play(one);
            await world.check();
          }
          await world.settleAll();
          await world.check();
          const { counts } = await registry.deliveryCounts();
          expect({ held: counts.held, received: counts.received }).toEqual({ held: 0, received: 0 });
          for (const one of await registry.events({ limit: 1_000 })) expect(one.settled).toBe(true);
          for (const chain of [...MODELS, 'dataset/d']) expect((await registry.verifyAudit(chain)).problem).toBeNull();
        } finally {
          await close();
        }
      }),
      { numRuns: SEQUENCES[backend] },
    );
  }, 120_000);
});
