/** The sink of predictions: each record is in one file, whoever else writes, whatever it says, and also after its topic was created anew. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writePredictions } from '../../src/adapters/duckdb/prediction-log.ts';
import { openStore } from '../../src/adapters/store/directory.ts';
import { createSurroundings } from '../../src/adapters/surroundings.ts';
import { createSink } from '../../src/gateway/sink.ts';
import type { BusRecord } from '../../src/ports/bus.ts';
import type { ArtifactStore } from '../../src/ports/store.ts';
import { BACKENDS, type BackendRegistry, freshOn } from '../support/registry-backends.ts';
import { query } from '../support/trainer.ts';

const MINUTE_MS = 60_000;
const START_MS = Date.UTC(2026, 0, 1);

/** A prediction at a minute; `more` is of its data. */
function record(offset: number, minute: number, more: object = {}): BusRecord {
  const data = {
    ...{ model: 'm', version: 1, deployment: 1, role: 'champion', requestId: `r${minute}`, row: 0, id: `id${minute}` },
    ...{ time: new Date(START_MS + minute * MINUTE_MS).toISOString(), source: { x: 1 }, output: [0.5] },
    ...{ latencyMs: 1 },
    ...more,
  };
  return {
    ...{ topic: 'predictions', partition: 0, offset: String(offset), key: null, headers: {} },
    ...{ value: Buffer.from(JSON.stringify({ data })), timestampMs: START_MS },
  };
}

describe.each(BACKENDS)('on %s', (backend) => {
  let opened: BackendRegistry;
  let store: ArtifactStore;
  let folder: string;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'refit-sink-'));
    opened = await freshOn(backend);
    store = await openStore(`file:${join(folder, 'artifacts')}`);
  });
  afterEach(async () => {
    await opened.close();
    rmSync(folder, { recursive: true });
  });

  const sink = (write = writePredictions): ReturnType<typeof createSink> =>
    createSink({
      ...{ registry: opened.registry, store, write, logger: pino({ level: 'silent' }) },
      surroundings: createSurroundings({ scratchRoot: join(folder, 'scratch'), dataRoots: [] }),
    });
  async function stored(column = 'id'): Promise<readonly unknown[]> {
    const files = await opened.registry.sinkFiles('m', '2020-01-01T00:00:00Z', '2030-01-01T00:00:00Z');
    const rows = await Promise.all(
      files.map(async ({ digest }) =>
        query(`SELECT "${column}" AS it FROM read_parquet('${await store.pathOf(digest)}') ORDER BY "row", it`),
      ),
    );
    return rows.flat().map(({ it: value }) => value);
  }
  const upTo = (from: number, to: number): BusRecord[] =>
    Array.from({ length: to - from }, (_, index) => record(from + index, from + index));
  const idsOf = (from: number, to: number): string[] =>
    Array.from({ length: to - from }, (_, index) => `id${from + index}`);

  it('what comes again is not stored again', async () => {
    await sink()(upTo(0, 4));
    await sink()(upTo(2, 6));
    await sink()(upTo(0, 6));
    expect([...(await stored())].sort()).toEqual(idsOf(0, 6));
  });

  it('a gateway that was away stores its part first: what lies behind it is stored by the other', async () => {
    const slow: typeof writePredictions = async (predictions, scratch) => {
      // Meanwhile another one, which had less in hand, comes to its end.
      await sink()(upTo(0, 3));
      return writePredictions(predictions, scratch);
    };
    await sink(slow)(upTo(0, 7));
    expect([...(await stored())].sort()).toEqual(idsOf(0, 7));
    expect(await opened.registry.sinkPosition('predictions', 0)).toBe('7');
  });

  it('a topic that was created anew is stored from its start', async () => {
    await sink()(upTo(100, 105));
    const anew = [0, 1, 2].map((offset) => record(offset, 200 + offset));
    await sink()(anew);
    await sink()(anew);
    await sink()([record(3, 203)]);
    expect([...(await stored())].sort()).toEqual([...idsOf(100, 105), ...idsOf(200, 204)].sort());
  });

  it('a topic that was created anew and has grown past the old position is stored from its start as well', async () => {
    await sink()(upTo(0, 3));
    const anew = [0, 1, 2, 3, 4].map((offset) => record(offset, 200 + offset));
    await sink()(anew);
    await sink()(anew);
    expect([...(await stored())].sort()).toEqual([...idsOf(0, 3), ...idsOf(200, 205)].sort());
    // The files begin at the same offset: what retention and erasures do to one leaves the other as it is.
    const files = () => opened.registry.sinkFiles('m', '2020-01-01T00:00:00Z', '2030-01-01T00:00:00Z');
    const [before, after] = await files();
    if (!before || !after) throw new Error('there are two files');
    expect([before, after].map(({ startOffset, nextOffset }) => [startOffset, nextOffset])).toEqual([
      ['0', '3'],
      ['0', '5'],
    ]);
    await opened.registry.replaceSinkFile(after, after.digest, 4);
    await opened.registry.dropSinkFile(before);
    expect(await files()).toEqual([{ ...after, rows: 4 }]);
  });

  it('texts that no reader of JSON takes hold nothing up', async () => {
    const odd = [
      record(0, 0, { id: 'half \ud83d', requestId: 'r\0' }),
      record(1, 1, { id: 'whole \u{1f600}', error: '\udc00 broke' }),
    ];
    await sink()(odd);
    expect(await stored()).toEqual(expect.arrayContaining(['half \ufffd', 'whole \u{1f600}']));
    expect(await stored('requestId')).toEqual(expect.arrayContaining(['r\u2400', 'r1']));
  });
});
