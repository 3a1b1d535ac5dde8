/**
 * Training-serving skew: the features of logged predictions beside those that the raw data gives for the same ids, once it has arrived. Both
 * come from the same text, so what differs is what the caller sent, or what was looked up, when it was asked.
 */
import type { FeatureColumn } from '../contracts/data.ts';
import { requestColumns } from '../domain/joins.ts';
import type { SkewReport, SkewRequest } from '../ports/data.ts';
import type { FeatureSkew } from '../ports/registry/monitoring.ts';
import { rawFeature } from './duckdb/features.ts';
import { fittingRelation } from './duckdb/fit.ts';
import { createRightSides, joinText } from './duckdb/joins.ts';
import { readLog } from './duckdb/logged-rows.ts';
import { type Cell, quoteName, type Session, withSession } from './duckdb/session.ts';
import { sourceItems } from './duckdb/source.ts';
import { relationOf } from './duckdb/sql-text.ts';

/** Predictions that are compared, chosen by the hash of their id: enough to see one row in a thousand. */
const MOST_ROWS = 50_000;
const EXAMPLES = 3;
/** Below this a difference is gone once the number is a float32, which is what models take. */
const FLOAT32_STEP = 1.2e-7;

/** Table `NAME` with `__id` and the raw features of a table with `__id` and the source columns, row by row. */
async function featuresOf(session: Session, request: SkewRequest, relation: string, name: string): Promise<void> {
  await session.run(`CREATE OR REPLACE TEMP VIEW source AS SELECT ${sourceItems(request.source)} FROM ${relation}`);
  await session.run(
    `CREATE TEMP TABLE ${name}_values AS SELECT ${request.features.map(rawFeature).join(', ')} FROM ${relationOf(request.featuresSql)}`,
  );
  await session.run(
    `CREATE TEMP TABLE ${name} AS SELECT ${relation}.__id, v.* FROM ${relation} POSITIONAL JOIN ${name}_values AS v`,
  );
}

/** Table `raw`: what the data has for the ids of `log`, with what the joins find at its time. */
async function readData(session: Session, request: SkewRequest): Promise<void> {
  const own = requestColumns(request.source, request.joins);
  const relation = await fittingRelation(session, request.data, own, { named: { __id: request.idColumn } });
  await session.run(
    `CREATE TEMP TABLE found AS SELECT * FROM (SELECT * REPLACE (CAST(__id AS VARCHAR) AS __id), row_number() OVER () AS __row FROM ${relation}) ` +
      'WHERE __id IN (SELECT __id FROM log) QUALIFY row_number() OVER (PARTITION BY __id ORDER BY __row DESC) = 1 ORDER BY __row',
  );
  await createRightSides(session, request.joins);
  await session.run(
    `CREATE TEMP TABLE raw AS ${request.joins.length === 0 ? 'SELECT * FROM found' : joinText(request.joins, 'found', ['*'])}`,
  );
}

/** SQL that is true where two values of a feature differ. */
function differs({ name, type }: FeatureColumn): string {
  const [left, right] = [`s.${quoteName(name)}`, `r.${quoteName(name)}`];
  const distinct = `${left} IS DISTINCT FROM ${right}`;
  if (type !== 'float64' && type !== 'int64') return distinct;
  const close = `abs(${left} - ${right}) <= ${FLOAT32_STEP} * greatest(abs(${left}), abs(${right}))`;
  return `(${distinct} AND NOT coalesce(${close}, false))`;
}

const textOf = (cell: Cell | undefined): string => (cell === null || cell === undefined ? 'null' : String(cell));

async function compareFeature(session: Session, feature: FeatureColumn, rows: number): Promise<FeatureSkew> {
  const { name, type } = feature;
  const column = quoteName(name);
  const isNumber = type === 'float64' || type === 'int64';
  const pairs = 'served AS s JOIN recomputed AS r USING (__id)';
  const largest = isNumber ? `max(abs(s.${column} - r.${column}))` : 'NULL::DOUBLE';
  const [row] = await session.rows(
    `SELECT count(*) AS differing, ${largest} AS largest FROM ${pairs} WHERE ${differs(feature)}`,
  );
  const differing = Number(row?.differing ?? 0);
  const far = isNumber ? `abs(s.${column} - r.${column}) DESC NULLS LAST, ` : '';
  const examples =
    differing === 0
      ? []
      : await session.rows(
          `SELECT s.__id AS id, s.${column} AS served, r.${column} AS recomputed FROM ${pairs} WHERE ${differs(feature)} ORDER BY ${far}id LIMIT ${EXAMPLES}`,
        );
  return {
    name,
    rows,
    differing,
    largest: typeof row?.largest === 'number' && Number.isFinite(row.largest) ? row.largest : null,
    examples: examples.map(({ id, served, recomputed }) => ({
      id: String(id),
      served: textOf(served),
      recomputed: textOf(recomputed),
    })),
  };
}

export function skewOf(request: SkewRequest): Promise<SkewReport> {
  const nothing: SkewReport = { rows: 0, differing: 0, features: [] };
  if (request.files.length === 0 || request.data.length === 0) return Promise.resolve(nothing);
  const files = [...request.files, ...request.data, ...request.joins.flatMap((join) => join.files)];
  return withSession({ files }, async (session) => {
    const sample = `AND id IS NOT NULL QUALIFY row_number() OVER (ORDER BY md5(id), time DESC) <= ${MOST_ROWS}`;
    if ((await readLog(session, request, sample)) === 0) return nothing;
    await readData(session, request);
    await featuresOf(session, request, 'log', 'served');
    await featuresOf(session, request, 'raw', 'recomputed');
    const any = request.features.map(differs).join(' OR ');
    const [count] = await session.rows(
      `SELECT count(*) AS rows, count(*) FILTER (WHERE ${any}) AS differing FROM served AS s JOIN recomputed AS r USING (__id)`,
    );
    const rows = Number(count?.rows ?? 0);
    if (rows === 0) return nothing;
    const features: FeatureSkew[] = [];
    for (const feature of request.features) features.push(await compareFeature(session, feature, rows));
    return { rows, differing: Number(count?.differing ?? 0), features };
  });
}
