/** Dataset versions: what an arrival changes, what a correction replaces, and what two versions differ in. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DataFile, SourceColumn } from '../../src/contracts/data.ts';
import { changeText, diffVersions, grow, manifestOf } from '../../src/domain/dataset-versions.ts';

const file = (partition: string, content: string, read = content, rows = 10): DataFile => ({
  digest: `parquet ${read}`,
  bytes: 1,
  rows,
  partition,
  uri: `file:///${content}`,
  sourceDigest: `source ${content}`,
  minTime: null,
  maxTime: null,
});
const digests = (files: readonly DataFile[]): readonly string[] => files.map((one) => one.digest.slice(8));
const grown = (...args: Parameters<typeof grow>) => {
  const growth = grow(...args);
  if (growth.status !== 'grown') throw new Error(growth.reason);
  return growth;
};

describe('an arrival', () => {
  const present = [file('a', '1'), file('b', '2'), file('a', '3')];

  it('without a partition is appended; what is there already is left out', () => {
    const growth = grown(present, [file('k', '4'), file('k', '2'), file('k', '4')], null, 7);
    expect(digests(growth.files)).toEqual(['1', '2', '3', '4']);
    expect(digests(growth.arrived)).toEqual(['4']);
    expect(growth.corrects).toBeNull();
  });
  it('for a partition that is there takes its place, and says what it replaces', () => {
    const growth = grown(present, [file('a', '4')], 'a', 7);
    expect(digests(growth.files)).toEqual(['2', '4']);
    expect(growth.corrects).toEqual({ partition: 'a', files: 2, rows: 20 });
  });
  it('for a partition with fewer of its files is a correction, although all its bytes are there', () => {
    expect(digests(grown(present, [file('a', '1')], 'a', 7).files)).toEqual(['2', '1']);
  });
  it('without a partition, of a source that is there and was read in another way, takes the place of that reading', () => {
    const growth = grown(present, [file('k', '2', 'anew'), file('k', '4')], null, 7);
    expect(digests(growth.files)).toEqual(['1', 'anew', '3', '4']);
    expect(growth.files[1]?.partition).toBe('b');
    expect(digests(growth.arrived)).toEqual(['anew', '4']);
    expect(growth.corrects).toEqual({ partition: 'b', files: 1, rows: 10 });
  });
  it('for a new partition is appended', () => {
    expect(grown(present, [file('c', '4')], 'c', 7)).toMatchObject({ corrects: null });
  });
  it('with the same bytes changes nothing, whatever the order and the partition', () => {
    expect(grow(present, [file('a', '3'), file('a', '1')], 'a', 7)).toEqual({
      status: 'unchanged',
      reason: 'unchanged: partition a of version 7 has these bytes',
    });
    for (const partition of [null, 'c'])
      expect(grow(present, [file('x', '2'), file('x', '1')], partition, 7)).toMatchObject({ status: 'unchanged' });
  });
  it('with the same bytes read in another way is a correction', () => {
    expect(grown(present, [file('b', '2', 'with another delimiter')], 'b', 7).corrects).toMatchObject({
      partition: 'b',
    });
  });
});

describe('a difference between versions', () => {
  const columns: readonly SourceColumn[] = [{ name: 'x', type: 'int64' }];
  const manifest = (version: number, files: readonly DataFile[], own = columns) =>
    manifestOf({ dataset: 'd', version, columns: own, event: 'e' }, files);

  it('names exactly the partitions and columns that changed', () => {
    const from = manifest(1, [file('a', '1'), file('b', '2'), file('c', '3')]);
    const to = manifest(2, [file('b', '2'), file('a', '4', '4', 7), file('d', '5')], [{ name: 'x', type: 'float64' }]);
    const diff = diffVersions(from, to);
    expect(diff).toMatchObject({ from: 1, to: 2, rows: { from: 30, to: 27 }, unchanged: 1 });
    expect(diff.partitions).toEqual([
      {
        partition: 'a',
        change: 'replaced',
        rows: { from: 10, to: 7 },
        files: { from: ['parquet 1'], to: ['parquet 4'] },
      },
      { partition: 'c', change: 'removed', rows: { from: 10, to: 0 }, files: { from: ['parquet 3'], to: [] } },
      { partition: 'd', change: 'added', rows: { from: 0, to: 10 }, files: { from: [], to: ['parquet 5'] } },
    ]);
    expect(diff.columns).toEqual([{ column: 'x', from: 'int64', to: 'float64' }]);
    expect(changeText(diff)).toBe(
      'replaces partition a (10 rows, now 7); removes partition c (10 rows); adds partition d (10 rows); column x int64 to float64',
    );
    expect(changeText(diffVersions(from, from))).toBe('nothing');
    expect(diffVersions(null, from).partitions.map((one) => one.change)).toEqual(['added', 'added', 'added']);
  });

  it('after any arrivals is in the partitions that arrived, and in no other', () => {
    const arrivals = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 0, max: 5 })), {
      minLength: 1,
      maxLength: 12,
    });
    fc.assert(
      fc.property(arrivals, (given) => {
        let present: readonly DataFile[] = [];
        for (const [index, [partition, content]] of given.entries()) {
          const growth = grow(present, [file(partition, `${content}`)], partition, index);
          const next = growth.status === 'grown' ? growth.files : present;
          const diff = diffVersions(manifest(index, present), manifest(index + 1, next));
          expect(diff.partitions.map((one) => one.partition)).toEqual(growth.status === 'grown' ? [partition] : []);
          // One partition has one file: none is ever there twice, and none is lost.
          const names = next.map((one) => one.partition);
          expect(new Set(names).size).toBe(names.length);
          expect([...names].sort()).toEqual([...new Set([...present.map((one) => one.partition), ...names])].sort());
          present = next;
        }
      }),
    );
  });

  it('takes the newest time, with whatever decimals', () => {
    const timed = (maxTime: string) => ({ ...file('a', maxTime), maxTime });
    expect(manifest(1, [timed('2024-01-01T00:00:00.500Z'), timed('2024-01-01T00:00:00Z')]).maxTime).toBe(
      '2024-01-01T00:00:00.500Z',
    );
  });
});
