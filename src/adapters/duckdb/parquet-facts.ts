/**
 * What the footers of Parquet files say of their columns, so that what they prove need not be read. The files are our own:
 * DuckDB wrote them, with the least and greatest value of each chunk, and leaves one out where a chunk has NaN or an infinity.
 */
import { parquetOf, type Session } from './session.ts';

export interface ColumnFacts {
  /** Values that are not null. */
  readonly known: number;
  /** The least and the greatest value as text, which orders texts, truths and times; null where the footers do not tell. */
  readonly least: string | null;
  readonly greatest: string | null;
  /** The same of numbers; only where each is exact as a double and all values are finite. */
  readonly range: { readonly low: number; readonly high: number } | null;
  /** So few values that each chunk has a dictionary of them: grouping is cheaper than looking at each. */
  readonly isDictionary: boolean;
}

export interface FileFacts {
  readonly rows: number;
  /** By lower-case name. */
  readonly columns: ReadonlyMap<string, ColumnFacts>;
}

const EXACT = Number.MAX_SAFE_INTEGER;

export async function factsOf(session: Session, files: readonly string[]): Promise<FileFacts> {
  const list = parquetOf(files)
    .replace(/^read_parquet\(/, '')
    .replace(/, union_by_name = true\)$/, '');
  const found = await session.rows(`
    SELECT lower(path_in_schema) AS name, CAST(sum(num_values - coalesce(stats_null_count, 0)) AS BIGINT) AS known,
      bool_and(stats_null_count IS NOT NULL) AS counted,
      bool_and(num_values = stats_null_count OR (stats_min_value IS NOT NULL AND stats_max_value IS NOT NULL
        AND coalesce(min_is_exact, false) AND coalesce(max_is_exact, false))) AS told,
      min(stats_min_value) AS least, max(stats_max_value) AS greatest,
      min(try_cast(stats_min_value AS DOUBLE)) AS low, max(try_cast(stats_max_value AS DOUBLE)) AS high,
      bool_and(encodings LIKE '%DICTIONARY%') AS dictionary
    FROM parquet_metadata(${list}) GROUP BY name`);
  const [size] = await session.rows(`SELECT CAST(sum(num_rows) AS BIGINT) AS rows FROM parquet_file_metadata(${list})`);
  const columns = new Map<string, ColumnFacts>();
  for (const { name, known, counted, told, least, greatest, low, high, dictionary } of found) {
    if (counted !== true) continue;
    const isRange =
      told === true && typeof low === 'number' && typeof high === 'number' && Math.max(-low, high) < EXACT;
    columns.set(String(name), {
      known: Number(known),
      least: told === true && typeof least === 'string' ? least : null,
      greatest: told === true && typeof greatest === 'string' ? greatest : null,
      range: isRange ? { low, high } : null,
      isDictionary: dictionary === true,
    });
  }
  return { rows: Number(size?.rows ?? 0), columns };
}
