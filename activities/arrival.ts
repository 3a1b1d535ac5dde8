/** What is said of the files of an arrival before they become a version; `refit data check` says the same. */
import type { CheckFailure, DataProfile, SourceColumn } from '../src/contracts/data.ts';
import type { DatasetDocument } from '../src/contracts/documents.ts';
import { judgeSchema } from '../src/domain/schema.ts';
import { sameName } from '../src/domain/texts.ts';
import { type CheckRequest, type DataEngine, DataProblem } from '../src/ports/data.ts';

/** The version before an arrival. */
export interface VersionBefore {
  readonly columns: readonly SourceColumn[];
  readonly profile: DataProfile | null;
  /** Files whose partitions the arrival leaves as they are. */
  readonly kept: CheckRequest['kept'];
}

export interface Arrival extends Pick<CheckRequest, 'others' | 'arrivedAt'> {
  readonly document: DatasetDocument;
  /** Converted files; `path` is local. */
  readonly files: readonly {
    readonly uri: string;
    readonly path: string;
    readonly rows: number;
    readonly columns: readonly SourceColumn[];
  }[];
  /** Null for the first version. */
  readonly before: VersionBefore | null;
}

/** Datasets whose newest version the checks of a document look into. */
export const datasetsLookedInto = (document: DatasetDocument): readonly string[] => [
  ...new Set(document.expect.flatMap((one) => (one.type === 'foreign_key' ? [one.dataset] : []))),
];

/** Columns of a file whose type is not the expected one, for lack of any value perhaps. */
function suspicious(known: readonly SourceColumn[], found: readonly SourceColumn[]): readonly string[] {
  const types = new Map(known.map(({ name, type }) => [name.toLowerCase(), type]));
  return found.flatMap(({ name, type }) => {
    const expected = types.get(name.toLowerCase());
    return expected !== undefined && expected !== type ? [name] : [];
  });
}

/**
 * Columns that the document names now and files that stay have as something else: those came when it was no part of the dataset, and were
 * stored with all columns, or the dataset has let it go since.
 */
async function otherBefore(
  engine: DataEngine,
  columns: readonly SourceColumn[],
  { columns: had, kept }: VersionBefore,
): Promise<readonly CheckFailure[]> {
  const names = new Set(had.map(({ name }) => name.toLowerCase()));
  const named = columns.filter(({ name }) => !names.has(name.toLowerCase()));
  if (named.length === 0) return [];
  const failures: CheckFailure[] = [];
  for (const { path, partition } of kept) {
    const found = await engine.columns(path);
    const others = suspicious(named, found).filter((name) => {
      const [wanted, present] = [named, found].map((all) => all.find((one) => sameName(one.name, name))?.type);
      return !(wanted === 'float64' && present === 'int64');
    });
    const empty = await engine.emptyColumns(path, others);
    for (const name of others.filter((one) => !empty.includes(one)))
      failures.push({
        ...{ check: 'schema', column: name, severity: 'block', examples: [] },
        detail: `partition ${partition} has values of another type in ${name}, from a time when it was no part of the dataset; take ${name} out of \`columns\` and send that partition again before it is named, or give the column another name`,
      });
    // One partition tells it.
    if (failures.length > 0) return failures;
  }
  return failures;
}

/** @throws DataProblem where there is nothing to check: no rows */
export async function judgeArrival(
  engine: DataEngine,
  { document, files, before, others, arrivedAt }: Arrival,
): Promise<{ readonly columns: readonly SourceColumn[]; readonly failures: readonly CheckFailure[] }> {
  if (files.every(({ rows }) => rows === 0))
    throw new DataProblem('empty', `${files.map(({ uri }) => uri).join(', ')}: no rows`);
  const declared = document.columns ?? {};
  const known = [
    ...(before?.columns ?? files[0]?.columns ?? []),
    ...Object.entries(declared).flatMap(([name, type]) => (type === 'ignored' ? [] : [{ name, type }])),
  ];
  const { columns, failures: ofSchema } = judgeSchema({
    declared,
    before: before?.columns ?? null,
    files: await Promise.all(
      files.map(async ({ uri, path, columns: found }) => ({
        ...{ uri, columns: found, empty: await engine.emptyColumns(path, suspicious(known, found)) },
      })),
    ),
    keys: [document.id, document.time].filter((name) => name !== undefined),
  });
  const failures = [...ofSchema, ...(before === null ? [] : await otherBefore(engine, columns, before))];
  // Checks of a column that is not there, or is something else, would only repeat that.
  if (failures.some(({ severity }) => severity === 'block')) return { columns, failures };
  const found = await engine.check({
    ...{ files: files.map(({ path }) => path), columns, expectations: document.expect },
    ...{ idColumn: document.id ?? null, timeColumn: document.time ?? null },
    ...{ kept: before?.kept ?? [], before: before?.profile ?? null, others, arrivedAt },
  });
  return { columns, failures: [...failures, ...found] };
}
