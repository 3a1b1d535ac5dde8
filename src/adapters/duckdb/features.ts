/**
 * The rules of features.sql, and the one way in which its text is computed: in training and at serving time alike.
 *
 * Types: a numeric feature is float64 whatever its SQL type, where NaN and infinities become null; a null text is '' and a
 * null bool is false. So a column that has no nulls today cannot change a model's inputs tomorrow.
 */
import type { FeatureColumn, SourceColumn } from '../../contracts/data.ts';
import { DataProblem, type FeatureProblem } from '../../ports/data.ts';
import { messageOf, quoteName, type Session, withSession } from './session.ts';
import { relationOf } from './sql-text.ts';
import { readTree } from './sql-tree.ts';
import { columnTypeOf, SQL_TYPES } from './types.ts';

export interface CheckedFeatures {
  readonly problems: readonly FeatureProblem[];
  readonly features: readonly FeatureColumn[];
  readonly source: readonly string[];
}

/** The feature as it is kept: null stays null, so that checks can see it. */
export function rawFeature({ name, type }: FeatureColumn): string {
  const column = quoteName(name);
  if (type === 'string') return `CAST(${column} AS VARCHAR) AS ${column}`;
  if (type === 'bool') return `CAST(${column} AS BOOLEAN) AS ${column}`;
  return `CASE WHEN isfinite(CAST(${column} AS DOUBLE)) THEN CAST(${column} AS DOUBLE) END AS ${column}`;
}

/** The feature as the model takes it, from a raw one. */
export function modelFeature({ name, type }: FeatureColumn): string {
  const column = quoteName(name);
  if (type === 'string') return `coalesce(${column}, '') AS ${column}`;
  if (type === 'bool') return `coalesce(${column}, false) AS ${column}`;
  return column;
}

/** The select that gives the model's features, over a relation that gives the text's own columns. */
export const modelFeaturesFrom = (features: readonly FeatureColumn[], relation: string): string =>
  `SELECT ${features.map(modelFeature).join(', ')} FROM (SELECT ${features.map(rawFeature).join(', ')} FROM ${relation})`;

/** DDL of an empty `source` with these columns. */
export const emptySource = (columns: readonly SourceColumn[]): string =>
  `CREATE TEMP TABLE source (${columns.map(({ name, type }) => `${quoteName(name)} ${SQL_TYPES[type]}`).join(', ')})`;

function outputProblems(outputs: readonly { readonly name: string | null }[]): string[] {
  const problems: string[] = [];
  const seen = new Set<string>();
  outputs.forEach(({ name }, index) => {
    if (name === null) {
      problems.push(`output ${index + 1} has no name: write \`AS name\``);
      return;
    }
    if (name.startsWith('__')) problems.push(`${name}: names that start with __ are Refit's own`);
    if (seen.has(name.toLowerCase())) problems.push(`${name} is there twice (upper and lower case are the same)`);
    seen.add(name.toLowerCase());
  });
  return problems;
}

/** Binds the text against the columns: DuckDB says what is unknown or does not fit, and the types. */
async function bind(
  session: Session,
  sql: string,
  columns: readonly SourceColumn[],
): Promise<{ readonly problems: string[]; readonly features: FeatureColumn[] }> {
  const problems: string[] = [];
  const features: FeatureColumn[] = [];
  try {
    await session.run(emptySource(columns));
    for (const row of await session.rows(`DESCRIBE SELECT * FROM ${relationOf(sql)}`)) {
      const name = String(row.column_name);
      const type = columnTypeOf(String(row.column_type));
      if (type === 'timestamp')
        problems.push(`${name} is a timestamp, which no model takes: make numbers of it, such as hour(${name})`);
      else if (type === undefined)
        problems.push(`${name} is ${String(row.column_type)}; a feature is a number, a text or a bool`);
      else features.push({ name, type: type === 'int64' ? 'float64' : type });
    }
  } catch (error) {
    problems.push(`it does not fit the data: ${messageOf(error)}`);
  }
  return { problems, features };
}

export function checkFeatures(
  sql: string,
  columns: readonly SourceColumn[],
  forbidden: readonly string[],
): Promise<CheckedFeatures> {
  return withSession({ threads: 1 }, async (session) => {
    const byLowerName = new Map(columns.map(({ name }) => [name.toLowerCase(), name]));
    const tree = await readTree(session, sql, new Set(byLowerName.keys()));
    const problems = [...tree.problems.map(({ detail }) => detail), ...outputProblems(tree.outputs)];
    const banned = new Set(forbidden.map((name) => name.toLowerCase()));
    for (const name of tree.references) {
      if (banned.has(name.toLowerCase()))
        problems.push(`${name} belongs to the label: a feature that reads it knows the answer`);
    }
    if (problems.length === 0 && tree.references.length === 0) problems.push('it reads no column of source');
    let features: readonly FeatureColumn[] = [];
    if (problems.length === 0 && columns.length > 0) {
      const bound = await bind(session, sql, columns);
      problems.push(...bound.problems);
      features = bound.features;
    }
    return {
      problems: problems.map((detail) => ({ detail })),
      features: problems.length === 0 ? features : [],
      source: tree.references.map((name) => byLowerName.get(name.toLowerCase()) ?? name),
    };
  });
}

/** The label as a select item of its own line, so that a comment at its end does not swallow what follows. */
const labelSelect = (sql: string): string => `SELECT (\n${sql}\n) AS label FROM source`;

/** Columns that a label's expression reads, under the same rules as features. @throws DataProblem */
export function columnsOfExpression(sql: string, columns: readonly SourceColumn[]): Promise<readonly string[]> {
  return withSession({ threads: 1 }, async (session) => {
    const byLowerName = new Map(columns.map(({ name }) => [name.toLowerCase(), name]));
    const tree = await readTree(session, labelSelect(sql), new Set(byLowerName.keys()));
    const [problem] = tree.problems;
    if (problem !== undefined) throw new DataProblem('label', `label.sql \`${sql}\`: ${problem.detail}`);
    if (tree.outputs.length !== 1) throw new DataProblem('label', `label.sql \`${sql}\`: it must be one expression`);
    if (columns.length > 0) {
      try {
        await session.run(emptySource(columns));
        await session.rows(`DESCRIBE ${labelSelect(sql)}`);
      } catch (error) {
        throw new DataProblem('label', `label.sql \`${sql}\` does not fit the data: ${messageOf(error)}`);
      }
    }
    return tree.references.map((name) => byLowerName.get(name.toLowerCase()) ?? name);
  });
}
