/** What is said of the files of an arrival before they become a version; `refit data check` says the same. */
import type { CheckFailure, SourceColumn } from '../src/contracts/data.ts';
import type { DatasetDocument } from '../src/contracts/documents.ts';
import { schemaProblem } from '../src/domain/dataset.ts';
import { type DataEngine, DataProblem } from '../src/ports/data.ts';

export interface Arrival {
  readonly document: DatasetDocument;
  /** Converted files; `path` is local. */
  readonly files: readonly {
    readonly uri: string;
    readonly path: string;
    readonly rows: number;
    readonly columns: readonly SourceColumn[];
  }[];
  /** Columns of the version before; null for the first one. */
  readonly columns: readonly SourceColumn[] | null;
}

/** @throws DataProblem where the files cannot be checked further: no rows, or another schema */
export async function judgeArrival(
  engine: DataEngine,
  { document, files, columns: known }: Arrival,
): Promise<{ readonly columns: readonly SourceColumn[]; readonly failures: readonly CheckFailure[] }> {
  if (files.every(({ rows }) => rows === 0))
    throw new DataProblem('empty', `${files.map(({ uri }) => uri).join(', ')}: no rows`);
  const columns = known ?? files[0]?.columns ?? [];
  for (const file of files) {
    const problem = schemaProblem(columns, file.columns, [document.id, document.time], file.uri);
    if (problem) throw new DataProblem('schema', problem.detail, problem.column);
  }
  const failures = await engine.check(
    files.map(({ path }) => path),
    document.expect,
  );
  return { columns, failures };
}
