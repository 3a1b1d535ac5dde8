/**
 * Data that was not made for a model, in the columns that the model takes: a later version of its dataset, or another dataset. What a cast would
 * change is refused, as the inference server refuses it: of 1.7 it would make 2, and of a text a number.
 */
import type { SourceColumn } from '../../contracts/data.ts';
import type { ColumnType } from '../../contracts/values.ts';
import { sameName } from '../../domain/texts.ts';
import { DataProblem } from '../../ports/data.ts';
import { parquetOf, quoteName, type Session } from './session.ts';
import { columnTypeOf, SQL_TYPES } from './types.ts';

/** Beyond it a double may stand for several whole numbers. */
const MOST_EXACT = '9007199254740991';

interface Doubt {
  readonly column: SourceColumn;
  /** What the files have it as. */
  readonly found: string;
  /** True for a value that the model's type cannot hold. */
  readonly misfit: string;
}

async function refuseMisfits(session: Session, relation: string, doubts: readonly Doubt[]): Promise<void> {
  if (doubts.length === 0) return;
  const counts = doubts.map(({ misfit }, index) => `count(*) FILTER (WHERE ${misfit}) AS n${index}`);
  const [row] = await session.rows(`SELECT ${counts.join(', ')} FROM ${relation}`);
  for (const [index, { column, found }] of doubts.entries()) {
    const count = Number(row?.[`n${index}`] ?? 0);
    if (count > 0)
      throw new DataProblem(
        'type',
        `the data has column ${column.name} as ${found}, and ${count} of its values are no ${column.type}, as which the model takes it`,
        column.name,
      );
  }
}

interface Beside {
  /** Columns of the dataset: one that none of the files has yet is null. */
  readonly known?: readonly SourceColumn[];
  /** Columns that are taken as the dataset has them, by the names of Refit's own that they get. */
  readonly named?: Readonly<Record<string, string | null>>;
}

/**
 * Parquet files as a relation with the wanted columns in their types, and those that are named beside them.
 * @throws DataProblem where a column is missing, or holds values that its type cannot
 */
export async function fittingRelation(
  session: Session,
  files: readonly string[],
  wanted: readonly SourceColumn[],
  { known = [], named = {} }: Beside = {},
): Promise<string> {
  const relation = parquetOf(files);
  const described = await session.rows(`DESCRIBE SELECT * FROM ${relation}`);
  const types = new Map(described.map((row) => [String(row.column_name).toLowerCase(), String(row.column_type)]));
  const knownType = (name: string): ColumnType | undefined => known.find((column) => sameName(column.name, name))?.type;
  const missing = (name: string): DataProblem =>
    new DataProblem('missing_column', `the data has no column ${name}, which the model reads`, name);
  const doubts: Doubt[] = [];

  const asWanted = (column: SourceColumn): string => {
    const { name, type } = column;
    const quoted = quoteName(name);
    const nothing = `CAST(NULL AS ${SQL_TYPES[type]})`;
    const sqlType = types.get(name.toLowerCase());
    if (sqlType === undefined) {
      if (knownType(name) === undefined) throw missing(name);
      return nothing;
    }
    const found = columnTypeOf(sqlType) ?? sqlType;
    if (found === type || (found === 'int64' && type === 'float64')) return `CAST(${quoted} AS ${SQL_TYPES[type]})`;
    if (found === 'float64' && type === 'int64') {
      const isWhole = `${quoted} = trunc(${quoted}) AND abs(${quoted}) <= ${MOST_EXACT}`;
      doubts.push({ column, found, misfit: `isfinite(${quoted}) AND NOT (${isWhole})` });
      // What is not finite is null to a model, as everywhere.
      return `CASE WHEN isfinite(${quoted}) THEN CAST(${quoted} AS BIGINT) END`;
    }
    // A column without any value has some type or other.
    doubts.push({ column, found, misfit: `${quoted} IS NOT NULL` });
    return nothing;
  };
  const asItIs = (name: string): string => {
    const type = knownType(name);
    const present = types.has(name.toLowerCase());
    if (type === undefined && !present) throw missing(name);
    const value = present ? quoteName(name) : 'NULL';
    return type === undefined ? value : `CAST(${value} AS ${SQL_TYPES[type]})`;
  };
  const items = [
    ...wanted.map((column) => `${asWanted(column)} AS ${quoteName(column.name)}`),
    ...Object.entries(named).flatMap(([as, name]) => (name === null ? [] : [`${asItIs(name)} AS ${quoteName(as)}`])),
  ];
  await refuseMisfits(session, relation, doubts);
  return `(SELECT ${items.join(', ')} FROM ${relation})`;
}
