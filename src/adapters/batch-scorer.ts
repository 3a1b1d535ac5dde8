/** Batch scoring on DuckDB and the ONNX runtime: the features of a snapshot, and the scorer of the inference servers. */
import { dirname, join } from 'node:path';
import {
  type BatchScoreRequest,
  type BatchScorer,
  ModelProblem,
  type Scorer,
  type ScorerFactory,
} from '../ports/data.ts';
import { computeFeatures } from './duckdb/batch.ts';
import { parquetOf, quoteName, quoteText, type Session, withSession } from './duckdb/session.ts';

/** Rows that are in JavaScript's memory at once. */
const CHUNK_ROWS = 20_000;

const outputNames = ({ task, classes }: BatchScoreRequest): readonly string[] =>
  task === 'regression' ? ['prediction'] : classes.map((_, index) => `p${index}`);

const written = (output: string, about: BatchScoreRequest['about']): string =>
  `${quoteText(output)} (FORMAT parquet, COMPRESSION zstd, KV_METADATA {${Object.entries(about)
    .map(([name, value]) => `${quoteName(name)}: ${quoteText(value)}`)
    .join(', ')}})`;

/** Fills the table `scores`, row by row as in the file. */
async function scoreRows(
  session: Session,
  scorer: Scorer,
  request: BatchScoreRequest,
  features: string,
  rows: number,
): Promise<void> {
  const names = outputNames(request);
  await session.run(`CREATE TEMP TABLE scores (${names.map((name) => `${quoteName(name)} DOUBLE`).join(', ')})`);
  const items = request.features.map(({ name }) => quoteName(name)).join(', ');
  const relation = `read_parquet(${quoteText(features)}, file_row_number = true)`;
  for (let start = 0; start < rows; start += CHUNK_ROWS) {
    const end = Math.min(rows, start + CHUNK_ROWS);
    const chunk = await session.columns(
      `SELECT ${items} FROM ${relation} WHERE file_row_number >= ${start} AND file_row_number < ${end} ORDER BY file_row_number`,
    );
    const { width, values } = await scorer.score(chunk, end - start);
    const wrong = values.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0)
      throw new ModelProblem(
        `version ${request.version} answers ${values[wrong]} for row ${start + Math.floor(wrong / width)} of a file`,
      );
    await session.append('scores', width, values);
  }
}

export function createBatchScorer(createScorer: ScorerFactory): BatchScorer {
  return {
    async score(request) {
      const { onnx, features, classes, task, version, output, about } = request;
      const computed = join(dirname(output), 'features.parquet');
      const { rows } = await computeFeatures({ ...request, output: computed });
      const scorer = await createScorer({ path: onnx, features, classes, task, threads: 2 });
      try {
        await withSession({ files: [computed, output], folders: [dirname(output)] }, async (session) => {
          await scoreRows(session, scorer, request, computed, rows);
          await session.run(
            `COPY (SELECT __id AS id, __time AS time, ${version}::INTEGER AS model_version, scores.* FROM
              (SELECT __id, __time FROM ${parquetOf([computed])}) AS keys POSITIONAL JOIN scores) TO ${written(output, about)}`,
          );
        });
      } finally {
        await scorer.close();
      }
      return { rows };
    },
    join: (files, output, about) =>
      withSession({ files: [...files, output], folders: [dirname(output)] }, async (session) => {
        await session.run(`COPY (SELECT * FROM ${parquetOf(files)}) TO ${written(output, about)}`);
        const [row] = await session.rows(`SELECT count(*) AS rows FROM ${parquetOf([output])}`);
        return { rows: Number(row?.rows ?? 0) };
      }),
  };
}
