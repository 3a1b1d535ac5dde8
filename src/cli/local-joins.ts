/** Joins of a definition over local files: as a run has them, without any service. */
import type { DatasetDocument, ModelDocument } from '../contracts/documents.ts';
import { type JoinSide, resolveJoins } from '../domain/joins.ts';
import { judgeSchema } from '../domain/schema.ts';
import { type DataEngine, DataProblem, type JoinInput } from '../ports/data.ts';

/** `filesOf` gives the Parquet files of a dataset, oldest first. @throws DataProblem where there are none, or they do not fit */
export async function localJoins(
  engine: DataEngine,
  { joins = [] }: ModelDocument,
  left: JoinSide,
  documents: readonly DatasetDocument[],
  filesOf: (dataset: string) => readonly string[],
): Promise<readonly JoinInput[]> {
  const sides = new Map<string, JoinSide>();
  for (const { dataset } of joins) {
    const document = documents.find(({ name }) => name === dataset);
    const files = filesOf(dataset);
    if (files.length === 0)
      throw new DataProblem('join', `dataset ${dataset}, which the model joins, has no data here`);
    if (!document) continue;
    const arrived = await Promise.all(
      files.map(async (uri) => ({ uri, columns: await engine.columns(uri), empty: [] })),
    );
    const declared = document.columns ?? {};
    // What is wrong with them is said where they are taken in; here only their columns count.
    const { columns } = judgeSchema({ declared, before: null, files: arrived, keys: [] });
    sides.set(dataset, { document, columns });
  }
  const resolved = resolveJoins(joins, left, (dataset) => sides.get(dataset));
  const [problem] = resolved.problems;
  if (problem) throw new DataProblem('join', `${problem.path.join('.')}: ${problem.detail}`);
  return resolved.joins.map((join) => ({ ...join, files: filesOf(join.dataset) }));
}
