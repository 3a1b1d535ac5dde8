/** The features text of a definition: a file's, or one SELECT made of a list of columns. Pure. */
export function selectColumns(columns: readonly string[]): string {
  const quoted = columns.map((column) => `"${column.replaceAll('"', '""')}"`);
  return `SELECT ${quoted.join(', ')} FROM source`;
}
