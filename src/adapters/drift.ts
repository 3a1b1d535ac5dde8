/** Drift of a model's features against its training data, and its metric where outcomes have become known. */
import type { FeatureColumn, SourceColumn } from '../contracts/data.ts';
import type { ColumnType } from '../contracts/values.ts';
import { classIndexOf, type LabelValue } from '../domain/labels.ts';
import { metricValue } from '../domain/statistics/metrics.ts';
import type { DriftDetector, DriftReport, DriftRequest } from '../ports/data.ts';
import { columnsOf } from './duckdb/convert.ts';
import { rawFeature } from './duckdb/features.ts';
import { driftOf } from './duckdb/histograms.ts';
import { readLog } from './duckdb/logged-rows.ts';
import { type Cell, parquetOf, type Session, withSession } from './duckdb/session.ts';
import { sourceItems } from './duckdb/source.ts';
import { relationOf } from './duckdb/sql-text.ts';
import { skewOf } from './skew.ts';

/** Table `NAME` of the raw features of a relation with the source columns. */
async function featuresOf(session: Session, request: DriftRequest, relation: string, name: string): Promise<void> {
  await session.run(`CREATE OR REPLACE TEMP VIEW source AS SELECT ${sourceItems(request.source)} FROM ${relation}`);
  await session.run(
    `CREATE TEMP TABLE ${name} AS SELECT ${request.features.map(rawFeature).join(', ')} FROM ${relationOf(request.featuresSql)}`,
  );
}

function labelValueOf(text: Cell | undefined): LabelValue | null {
  if (typeof text !== 'string') return null;
  const value: unknown = JSON.parse(text);
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
}

/** A label as the number that metrics take; null for a class that this version does not have. */
function truthOf(request: DriftRequest, text: Cell | undefined): number | null {
  const value = labelValueOf(text);
  if (value === null) return null;
  if (request.task === 'regression') return typeof value === 'number' && Number.isFinite(value) ? value : null;
  return classIndexOf(value, request.classes) ?? null;
}

async function performanceOf(
  session: Session,
  request: DriftRequest,
  labels: string,
): Promise<{ readonly labelled: number; readonly performance: number | null }> {
  const width = request.task === 'regression' ? 1 : request.classes.length;
  const outputs = Array.from({ length: width }, (_, index) => `__output[${index + 1}] AS o${index}`);
  const found = await session.columns(`
    SELECT label, ${outputs.join(', ')} FROM log JOIN (SELECT CAST(id AS VARCHAR) AS id, last(CAST(label AS VARCHAR)) AS label FROM ${parquetOf([labels])} GROUP BY id) known
    ON log.__id = known.id WHERE len(__output) = ${width}`);
  const truths: number[] = [];
  const values: number[] = [];
  (found.label ?? []).forEach((text, row) => {
    const truth = truthOf(request, text);
    if (truth === null) return;
    truths.push(truth);
    for (let column = 0; column < width; column += 1) values.push(Number(found[`o${column}`]?.[row]));
  });
  const scored = { task: request.task, truth: Float64Array.from(truths), width, values: Float64Array.from(values) };
  return { labelled: truths.length, performance: metricValue(request.metric, scored) };
}

function detect(request: DriftRequest): Promise<DriftReport> {
  if (request.files.length === 0) return Promise.resolve({ rows: 0, labelled: 0, features: [], performance: null });
  const files = [request.reference, ...request.files, ...(request.labels === null ? [] : [request.labels])];
  return withSession({ files }, async (session) => {
    const rows = await readLog(session, request);
    if (rows === 0) return { rows, labelled: 0, features: [], performance: null };
    await featuresOf(session, request, parquetOf([request.reference]), 'reference_features');
    await featuresOf(session, request, 'log', 'log_features');
    const features = await driftOf(
      session,
      { reference: 'reference_features', current: 'log_features' },
      request.features,
      request.threshold,
    );
    const known =
      request.labels === null
        ? { labelled: 0, performance: null }
        : await performanceOf(session, request, request.labels);
    return { rows, features, ...known };
  });
}

/** Columns of both files with the same kind of values; timestamps always move on and are left out. */
function comparable(reference: readonly SourceColumn[], current: readonly SourceColumn[]): readonly FeatureColumn[] {
  const isNumber = (type: ColumnType): boolean => type === 'float64' || type === 'int64';
  return reference.flatMap(({ name, type }): FeatureColumn[] => {
    const other = current.find((column) => column.name === name);
    if (other === undefined || type === 'timestamp') return [];
    return other.type === type || (isNumber(type) && isNumber(other.type)) ? [{ name, type }] : [];
  });
}

export const createDriftDetector = (): DriftDetector => ({
  detect,
  skew: skewOf,
  async compare(reference, current, threshold) {
    const columns = comparable(await columnsOf(reference), await columnsOf(current));
    return withSession({ files: [reference, current] }, (session) =>
      driftOf(session, { reference: parquetOf([reference]), current: parquetOf([current]) }, columns, threshold),
    );
  },
});
