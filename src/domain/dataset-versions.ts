/** What an arrival makes of a dataset, and what two of its versions have in common. Pure. */
import type { DataFile, DatasetManifest, SourceColumn } from '../contracts/data.ts';

/** A partition whose files were there already and were replaced. */
export interface Correction {
  readonly partition: string;
  readonly files: number;
  readonly rows: number;
}

export type Growth =
  /** The same bytes again change nothing. */
  | { readonly status: 'unchanged'; readonly reason: string }
  | {
      readonly status: 'grown';
      /** All files of the next version. */
      readonly files: readonly DataFile[];
      /** Those that this arrival brings. */
      readonly arrived: readonly DataFile[];
      readonly corrects: Correction | null;
    };

/** What was read differently, by another CSV dialect for instance, is another file, although its source is the same. */
const keyOf = (file: DataFile): string => `${file.sourceDigest} ${file.digest}`;
const rowsOf = (files: readonly DataFile[]): number => files.reduce((sum, file) => sum + file.rows, 0);

/** With a partition the arrived files take its place; without one they are appended, save those that are there or were read in another way. */
export function grow(
  present: readonly DataFile[],
  arrived: readonly DataFile[],
  partition: string | null,
  version: number,
): Growth {
  const known = new Set(present.map(keyOf));
  const replaced = partition === null ? [] : present.filter((file) => file.partition === partition);
  if (replaced.length > 0) {
    const before = replaced.map(keyOf).sort();
    const after = [...new Set(arrived.map(keyOf))].sort();
    if (before.join() === after.join())
      return { status: 'unchanged', reason: `unchanged: partition ${partition} of version ${version} has these bytes` };
  } else if (arrived.every((file) => known.has(keyOf(file))))
    return { status: 'unchanged', reason: `unchanged: version ${version} has these bytes` };
  const taken = new Set(partition === null ? known : []);
  const fresh = arrived.filter((file) => {
    const isNew = !taken.has(keyOf(file));
    taken.add(keyOf(file));
    return isNew;
  });
  if (partition === null) return withReadAnew(present, fresh);
  const kept = replaced.length === 0 ? present : present.filter((file) => file.partition !== partition);
  return {
    status: 'grown',
    files: [...kept, ...fresh],
    arrived: fresh,
    corrects: replaced.length === 0 ? null : { partition, files: replaced.length, rows: rowsOf(replaced) },
  };
}

/** Files without a partition: one whose source is there already was read in another way then, and takes the place of that reading. */
function withReadAnew(present: readonly DataFile[], fresh: readonly DataFile[]): Growth {
  const readings = new Map(fresh.map((file) => [file.sourceDigest, file]));
  const replaced = present.filter((file) => readings.has(file.sourceDigest));
  const anew = new Map(
    replaced.flatMap((file) => {
      const reading = readings.get(file.sourceDigest);
      return reading ? [[file, { ...reading, partition: file.partition }] as const] : [];
    }),
  );
  const sources = new Set(replaced.map((file) => file.sourceDigest));
  const added = fresh.filter((file) => !sources.has(file.sourceDigest));
  const [first, ...others] = replaced;
  const partition = `${first?.partition}${others.length > 0 ? ` and ${others.length} more` : ''}`;
  return {
    status: 'grown',
    files: [...present.map((file) => anew.get(file) ?? file), ...added],
    arrived: [...anew.values(), ...added],
    corrects: first === undefined ? null : { partition, files: replaced.length, rows: rowsOf(replaced) },
  };
}

/** The manifest's figures that follow from its files. */
export function manifestOf(
  facts: Pick<DatasetManifest, 'dataset' | 'version' | 'columns' | 'event' | 'profile'>,
  files: readonly DataFile[],
): DatasetManifest {
  const times = files.map((file) => file.maxTime).filter((time) => time !== null);
  return {
    ...facts,
    files,
    rows: rowsOf(files),
    maxTime: times.reduce<string | null>((a, b) => (a === null || Date.parse(b) > Date.parse(a) ? b : a), null),
  };
}

export interface PartitionChange {
  readonly partition: string;
  readonly change: 'added' | 'removed' | 'replaced';
  readonly rows: { readonly from: number; readonly to: number };
  /** Digests of its files in either version. */
  readonly files: { readonly from: readonly string[]; readonly to: readonly string[] };
}
export interface ColumnChange {
  readonly column: string;
  readonly from: SourceColumn['type'] | null;
  readonly to: SourceColumn['type'] | null;
}
export interface VersionDiff {
  readonly dataset: string;
  readonly from: number;
  readonly to: number;
  readonly rows: { readonly from: number; readonly to: number };
  readonly columns: readonly ColumnChange[];
  readonly partitions: readonly PartitionChange[];
  /** Partitions with the same files in both. */
  readonly unchanged: number;
}

function byPartition(files: readonly DataFile[]): ReadonlyMap<string, readonly DataFile[]> {
  const partitions = new Map<string, DataFile[]>();
  for (const file of files) partitions.set(file.partition, [...(partitions.get(file.partition) ?? []), file]);
  return partitions;
}

/** What is other in `to` than in `from`; version 0 is the dataset before its first. */
export function diffVersions(from: DatasetManifest | null, to: DatasetManifest): VersionDiff {
  const before = byPartition(from?.files ?? []);
  const after = byPartition(to.files);
  const partitions: PartitionChange[] = [];
  let unchanged = 0;
  for (const partition of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const [old, now] = [before.get(partition) ?? [], after.get(partition) ?? []];
    const files = { from: old.map((file) => file.digest), to: now.map((file) => file.digest) };
    if ([...files.from].sort().join() === [...files.to].sort().join()) {
      unchanged += 1;
      continue;
    }
    const change = old.length === 0 ? 'added' : now.length === 0 ? 'removed' : 'replaced';
    partitions.push({ partition, change, rows: { from: rowsOf(old), to: rowsOf(now) }, files });
  }
  const types = (manifest: DatasetManifest | null) =>
    new Map((manifest?.columns ?? []).map(({ name, type }) => [name, type]));
  const [oldTypes, newTypes] = [types(from), types(to)];
  const columns = [...new Set([...oldTypes.keys(), ...newTypes.keys()])].flatMap((column) => {
    const change = { column, from: oldTypes.get(column) ?? null, to: newTypes.get(column) ?? null };
    return change.from === change.to ? [] : [change];
  });
  return {
    dataset: to.dataset,
    from: from?.version ?? 0,
    to: to.version,
    rows: { from: from?.rows ?? 0, to: to.rows },
    columns,
    partitions,
    unchanged,
  };
}

const counted = (count: number, one: string): string => `${count.toLocaleString('en')} ${one}${count === 1 ? '' : 's'}`;

/** One sentence on what a version changed. */
export function changeText({ partitions, columns }: VersionDiff): string {
  const parts = partitions
    .slice(0, 3)
    .map(({ partition, change, rows }) =>
      change === 'replaced'
        ? `replaces partition ${partition} (${rows.from.toLocaleString('en')} rows, now ${rows.to.toLocaleString('en')})`
        : change === 'added'
          ? `adds partition ${partition} (${counted(rows.to, 'row')})`
          : `removes partition ${partition} (${counted(rows.from, 'row')})`,
    );
  const more = partitions.length > 3 ? [`${counted(partitions.length - 3, 'more partition')} changed`] : [];
  const schema = columns.map(({ column, from, to }) => `column ${column} ${from ?? 'new'} to ${to ?? 'gone'}`);
  return [...parts, ...more, ...schema].join('; ') || 'nothing';
}
