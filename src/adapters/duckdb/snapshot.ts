/**
 * A snapshot: the rows of a window with their features and labels, split into parts, as Parquet files whose bytes depend on
 * the request alone. Rows keep the order of the files throughout.
 */
import { join } from 'node:path';
import type { CheckFailure, FeatureColumn, SourceColumn } from '../../contracts/data.ts';
import { joinedColumns } from '../../domain/joins.ts';
import { sameName } from '../../domain/texts.ts';
import { DataProblem, type SnapshotFiles, type SnapshotRequest } from '../../ports/data.ts';
import { columnsOf } from './convert.ts';
import { checkFeatures, columnsOfExpression, modelFeature, rawFeature } from './features.ts';
import { createRightSides, foundName, joinText } from './joins.ts';
import { messageOf, parquetOf, quoteName, quoteText, type Session, withSession } from './session.ts';
import { alwaysOnChecks } from './snapshot-checks.ts';
import { knownLabel, type Label, labelOf } from './snapshot-label.ts';
import { type Split, splitRows } from './snapshot-split.ts';
import { sourceItems } from './source.ts';
import { relationOf } from './sql-text.ts';
import { typedRelation } from './types.ts';

const REFERENCE_ROWS = 50_000;
/** Share of rows without a match from which a join is told of. */
const UNMATCHED_SHARE = 0.01;
type Part = 'train' | 'validation' | 'test';

interface Plan {
  /** Of the dataset itself: what the label may read. */
  readonly columns: readonly SourceColumn[];
  /** Those and what the joins add: `source`. */
  readonly sourceColumns: readonly SourceColumn[];
  readonly labelColumns: readonly string[];
  readonly features: readonly FeatureColumn[];
  readonly source: readonly SourceColumn[];
}

/** Everything that can be said before any row is read. @throws DataProblem */
async function planOf(request: SnapshotRequest): Promise<Plan> {
  const [first] = request.files;
  if (first === undefined) throw new DataProblem('empty', 'the dataset version has no file');
  const columns = request.columns ?? (await columnsOf(first));
  const named = [request.idColumn, request.timeColumn, request.split.group, ...request.slices].filter(
    (name) => name != null,
  );
  for (const name of named) {
    if (!columns.some((column) => sameName(column.name, name)))
      throw new DataProblem('missing_column', `the dataset has no column ${name}`, name);
  }
  if (request.split.type === 'time' && request.timeColumn === null) {
    throw new DataProblem(
      'missing_column',
      'a split by time needs a dataset with a time column (or `split: { type: random }`)',
    );
  }
  const labelColumns = await columnsOfExpression(request.labelSql, columns);
  const sourceColumns = [...columns, ...joinedColumns(request.joins ?? [])];
  const checked = await checkFeatures(request.featuresSql, sourceColumns, labelColumns);
  if (checked.problems.length > 0) {
    throw new DataProblem('features', `features: ${checked.problems.map(({ detail }) => detail).join('; ')}`);
  }
  return {
    columns,
    sourceColumns,
    labelColumns,
    features: checked.features,
    source: sourceColumns.filter(({ name }) => checked.source.includes(name)),
  };
}

/** Table `kept`: rows of the window with a known label. Counts rows without a time. */
async function keepRows(
  session: Session,
  request: SnapshotRequest,
  plan: Plan,
): Promise<{ readonly labelType: string; readonly untimed: number }> {
  const { idColumn, timeColumn, window } = request;
  const names = plan.columns.map(({ name }) => quoteName(name)).join(', ');
  const time = timeColumn === null ? 'NULL::TIMESTAMP' : quoteName(timeColumn);
  const id = idColumn === null ? 'NULL::VARCHAR' : `CAST(${quoteName(idColumn)} AS VARCHAR)`;
  const group =
    request.split.group === undefined ? 'NULL::VARCHAR' : `CAST(${quoteName(request.split.group)} AS VARCHAR)`;
  const typed = await typedRelation(session, request.files, plan.columns);
  const rows = `(SELECT *, row_number() OVER () - 1 AS __row FROM ${typed}) AS source`;
  const [described] = await session.rows(`DESCRIBE SELECT (\n${request.labelSql}\n) AS label FROM ${rows}`);
  const labelType = String(described?.column_type);
  const label = knownLabel(request.labelSql, labelType === 'DOUBLE' || labelType === 'FLOAT');
  const conditions = ['__label_raw IS NOT NULL'];
  if (timeColumn !== null) conditions.push('__time IS NOT NULL');
  if (window !== null) {
    conditions.push(
      `__time >= CAST(${quoteText(window.start)} AS TIMESTAMP)`,
      `__time < CAST(${quoteText(window.end)} AS TIMESTAMP)`,
    );
  }
  try {
    await session.run(
      `CREATE TEMP TABLE kept AS SELECT * FROM (SELECT ${names}, __row, ${id} AS __id, ${time} AS __time, ${group} AS __group, ${label} AS __label_raw FROM ${rows}) WHERE ${conditions.join(' AND ')}`,
    );
  } catch (error) {
    throw new DataProblem('label', `label.sql cannot be computed on this data: ${messageOf(error)}`);
  }
  if (timeColumn === null) return { labelType, untimed: 0 };
  const [count] = await session.rows(`SELECT count(*) - count(${time}) AS untimed FROM ${parquetOf(request.files)}`);
  return { labelType, untimed: Number(count?.untimed ?? 0) };
}

/** Columns of other datasets on the rows of `kept`; what too many rows did not find is told. */
async function joinDatasets(session: Session, request: SnapshotRequest): Promise<readonly CheckFailure[]> {
  const joins = request.joins ?? [];
  if (joins.length === 0) return [];
  await createRightSides(session, joins);
  await session.run(`CREATE TEMP TABLE wider AS ${joinText(joins, 'kept', ['*'])}`);
  await session.run('DROP TABLE kept; ALTER TABLE wider RENAME TO kept');
  const counts = joins.map((_, index) => `count(*) FILTER (WHERE NOT ${foundName(index)}) AS missing${index}`);
  const [row] = await session.rows(`SELECT count(*) AS rows, ${counts.join(', ')} FROM kept`);
  const rows = Number(row?.rows ?? 0);
  return joins.flatMap(({ dataset, keys }, index): CheckFailure[] => {
    const missing = Number(row?.[`missing${index}`] ?? 0);
    if (missing <= rows * UNMATCHED_SHARE) return [];
    const share = ((100 * missing) / rows).toFixed(1);
    const detail = `${missing} of ${rows} rows (${share} %) find no row of ${dataset} that was known in time: their joined columns are null`;
    return [{ check: 'join_without_match', column: keys[0]?.left ?? null, severity: 'warn', detail, examples: [] }];
  });
}

/** Table `joined`: row by row the keys, the raw features, the label and the part. */
async function joinFeatures(
  session: Session,
  request: SnapshotRequest,
  plan: Plan,
  label: Label,
  { part, fold }: Split,
): Promise<void> {
  try {
    await session.run(
      `CREATE TEMP TABLE features AS SELECT ${plan.features.map(rawFeature).join(', ')} FROM ${relationOf(request.featuresSql)}`,
    );
  } catch (error) {
    throw new DataProblem('features', `features cannot be computed on this data: ${messageOf(error)}`);
  }
  const slices = request.slices.map(
    (name) => `CAST(kept.${quoteName(name)} AS VARCHAR) AS ${quoteName(`__slice_${name}`)}`,
  );
  const keys = [
    'kept.__row',
    'kept.__id',
    'kept.__time',
    `${label.sql} AS __label`,
    `${part} AS __part`,
    ...(fold === null ? [] : [`${fold} AS __fold`]),
    ...slices,
  ];
  // Both sides have one row for each row of `kept`, in its order: features.sql is one SELECT without anything that filters or sorts.
  await session.run(
    `CREATE TEMP TABLE joined AS SELECT ${keys.join(', ')}, features.* FROM kept POSITIONAL JOIN features`,
  );
}

async function writeParts(
  session: Session,
  request: SnapshotRequest,
  plan: Plan,
  { part, fold }: Split,
): Promise<void> {
  const copy = (query: string, name: string): Promise<void> =>
    session.run(
      `COPY (${query}) TO ${quoteText(join(request.output, `${name}.parquet`))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)`,
    );
  const slices = request.slices.map((name) => quoteName(`__slice_${name}`));
  const items = ['__id', '__time', ...plan.features.map(modelFeature), '__label', ...slices].join(', ');
  for (const name of ['train', 'validation', 'test'] satisfies Part[]) {
    // The test part is never trained on, so it has no folds.
    const own = fold === null || name === 'test' ? items : `${items}, __fold`;
    await copy(`SELECT ${own} FROM joined WHERE __part = '${name}'`, name);
  }
  const wanted = new Set(
    [request.idColumn, request.timeColumn, ...plan.source.map(({ name }) => name)].map((name) => name?.toLowerCase()),
  );
  const reference = plan.sourceColumns
    .filter(({ name }) => wanted.has(name.toLowerCase()))
    .map(({ name }) => quoteName(name));
  const chosen = `SELECT * FROM kept WHERE ${part} = 'train' ORDER BY md5(coalesce(__id, CAST(__row AS VARCHAR))), __row LIMIT ${REFERENCE_ROWS}`;
  await copy(`SELECT ${reference.join(', ')} FROM (${chosen}) ORDER BY __row`, 'reference');
  const sources = plan.sourceColumns
    .filter(({ name }) => !plan.labelColumns.includes(name))
    .map(({ name }) => quoteName(name));
  await copy(`SELECT ${sources.join(', ')} FROM kept WHERE ${part} = 'test'`, 'test_source');
}

async function partRows(session: Session): Promise<Readonly<Record<Part, number>>> {
  const found = await session.rows('SELECT __part AS part, count(*) AS rows FROM joined GROUP BY 1');
  const rowsOf = (part: Part): number => Number(found.find((row) => row.part === part)?.rows ?? 0);
  return { train: rowsOf('train'), validation: rowsOf('validation'), test: rowsOf('test') };
}

export async function snapshot(request: SnapshotRequest): Promise<SnapshotFiles> {
  const plan = await planOf(request);
  return withSession(
    { files: [...request.files, ...(request.joins ?? []).flatMap(({ files }) => files)], folders: [request.output] },
    async (session) => {
      const { labelType, untimed } = await keepRows(session, request, plan);
      const unmatched = await joinDatasets(session, request);
      await session.run(`CREATE TEMP VIEW source AS SELECT ${sourceItems(plan.sourceColumns)} FROM kept`);
      const label = await labelOf(session, request.task, labelType);
      const split = await splitRows(session, request);
      await joinFeatures(session, request, plan, label, split);
      const rows = await partRows(session);
      const failures: CheckFailure[] = [
        ...unmatched,
        ...(await alwaysOnChecks(session, { request, features: plan.features, classes: label.classes, rows })),
      ];
      if (untimed > 0) {
        failures.push({
          check: 'null_time',
          column: request.timeColumn,
          severity: 'warn',
          detail: `${untimed} rows have no time and were left out`,
          examples: [],
        });
      }
      if (split.leftOut > 0) {
        failures.push({
          check: 'group_over_time',
          column: request.split.group ?? null,
          severity: 'warn',
          detail: `${split.leftOut} rows were left out because their ${request.split.group} has later rows in a later part`,
          examples: [],
        });
      }
      if (!failures.some(({ severity }) => severity === 'block')) await writeParts(session, request, plan, split);
      return {
        features: plan.features,
        source: plan.source,
        classes: label.classes,
        rows,
        testStart: split.testStart,
        failures,
      };
    },
  );
}
