/** How two columns go together, by a table of counts: rows are bins of one, columns bins of the other. */

interface Margins {
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  readonly all: number;
}

function marginsOf(table: readonly (readonly number[])[]): Margins {
  const rows = table.map((row) => row.reduce((sum, count) => sum + count, 0));
  const columns = (table[0] ?? []).map((_, column) => table.reduce((sum, row) => sum + (row[column] ?? 0), 0));
  return { rows, columns, all: rows.reduce((sum, count) => sum + count, 0) };
}

/**
 * Cramér's V (H. Cramér, Mathematical Methods of Statistics, 1946, 21.9) without a correction, as SciPy's
 * `contingency.association(method='cramer')`: 0 for independence, 1 where one decides the other. Null where either has one bin only.
 */
export function cramersV(table: readonly (readonly number[])[]): number | null {
  const { rows, columns, all } = marginsOf(table);
  const smaller = Math.min(rows.filter((sum) => sum > 0).length, columns.filter((sum) => sum > 0).length);
  if (smaller < 2) return null;
  let chiSquare = 0;
  for (const [row, counts] of table.entries()) {
    for (const [column, count] of counts.entries()) {
      const expected = ((rows[row] ?? 0) * (columns[column] ?? 0)) / all;
      if (expected > 0) chiSquare += (count - expected) ** 2 / expected;
    }
  }
  return Math.min(1, Math.sqrt(chiSquare / all / (smaller - 1)));
}

/** Mutual information in nats, by counts (C. E. Shannon, 1948), as scikit-learn's `mutual_info_score`. */
export function mutualInformation(table: readonly (readonly number[])[]): number {
  const { rows, columns, all } = marginsOf(table);
  let sum = 0;
  for (const [row, counts] of table.entries()) {
    for (const [column, count] of counts.entries()) {
      if (count > 0) sum += (count / all) * Math.log((count * all) / ((rows[row] ?? 0) * (columns[column] ?? 0)));
    }
  }
  return Math.max(0, sum);
}
