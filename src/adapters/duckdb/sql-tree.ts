/**
 * The syntax tree of a definition's SQL, as DuckDB's own parser gives it, and what in it is refused. Whatever node is not
 * known to be row-wise is refused, so that a newer parser opens no hole.
 */
import type { FeatureProblem } from '../../ports/data.ts';
import { isPseudoColumn, isRowFunction } from './row-functions.ts';
import { messageOf, quoteText, type Session } from './session.ts';

type Node = Readonly<Record<string, unknown>>;

const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

export interface Output {
  /** null where an expression has no name. */
  readonly name: string | null;
}

export interface SqlTree {
  readonly problems: readonly FeatureProblem[];
  readonly outputs: readonly Output[];
  /** Names in column references, as written, without those that only a lateral alias explains. */
  readonly references: readonly string[];
}

const REFUSED_CLASSES: Readonly<Record<string, string>> = {
  WINDOW: 'a window function looks at other rows: with one row at serving time it gives another value than in training',
  SUBQUERY: 'a subquery looks at other rows',
  STAR: '* would take the label and the id along: name each feature',
  LAMBDA: 'lambda functions are not supported: write the expression out',
  PARAMETER: 'a parameter has no value here: write the value into the text',
  POSITIONAL_REFERENCE: 'a reference by position (#1) is not supported: name the column',
  DEFAULT: 'DEFAULT has no meaning here',
};
const PLAIN_CLASSES: ReadonlySet<string> = new Set([
  'COLUMN_REF',
  'CONSTANT',
  'FUNCTION',
  'OPERATOR',
  'CAST',
  'CASE',
  'COMPARISON',
  'CONJUNCTION',
  'BETWEEN',
  'COLLATE',
  'TYPE',
]);

const AGGREGATES =
  /^(count|count_star|sum|avg|mean|min|max|median|mode|stddev.*|var.*|first|last|any_value|quantile.*|list|array_agg|string_agg|arg_.*|bool_.*|approx_.*|histogram|corr|covar.*|product|kurtosis.*|skewness|entropy|mad)$/;
const FILES = /^(read_.*|parquet_.*|glob|sniff_csv|query|query_table)$/;

function functionProblem(node: Node): string | null {
  const name = textOf(node.function_name).toLowerCase();
  if (node.distinct === true || node.filter !== null)
    return `${name}: DISTINCT and FILTER belong to aggregates, which look at other rows`;
  if (listOf(isNode(node.order_bys) ? node.order_bys.orders : []).length > 0)
    return `${name}: ORDER BY belongs to aggregates, which look at other rows`;
  if (!['', 'main'].includes(textOf(node.schema)) || !['', 'system'].includes(textOf(node.catalog)))
    return `${name}: call functions by their plain name`;
  if (isRowFunction(name)) return null;
  if (name === 'unnest') return 'unnest makes several rows of one: exactly one row must come out for each row';
  if (AGGREGATES.test(name))
    return `${name} is an aggregate: it looks at other rows, so its value would depend on the batch`;
  if (FILES.test(name)) return `${name} reads a file: only the columns of source may be read`;
  return `function ${name} is not among those whose value depends on the row alone (see the reference for the list)`;
}

/** Walks an expression; calls back for each column reference. */
function walkExpression(value: unknown, problems: Set<string>, onReference: (path: readonly string[]) => void): void {
  if (Array.isArray(value)) {
    for (const item of value) walkExpression(item, problems, onReference);
    return;
  }
  if (!isNode(value)) return;
  const kind = value.class;
  if (typeof kind === 'string') {
    const refusal = REFUSED_CLASSES[kind];
    if (refusal !== undefined) {
      problems.add(refusal);
      return;
    }
    if (!PLAIN_CLASSES.has(kind)) {
      problems.add(`${kind.toLowerCase()} expressions are not supported`);
      return;
    }
    if (kind === 'CONSTANT') return;
    if (kind === 'COLUMN_REF') {
      onReference(listOf(value.column_names).map(textOf));
      return;
    }
    if (kind === 'FUNCTION') {
      const problem = functionProblem(value);
      if (problem !== null) problems.add(problem);
    }
  }
  for (const [key, child] of Object.entries(value))
    if (key !== 'cast_type') walkExpression(child, problems, onReference);
}

const isEmptyList = (value: unknown): boolean => value === null || value === undefined || listOf(value).length === 0;

/** Everything around the select list that must not be there. */
function frameProblems(select: Node, table: string): string[] {
  const problems: string[] = [];
  const from = select.from_table;
  const map = isNode(select.cte_map) ? select.cte_map.map : [];
  if (!isEmptyList(map)) problems.push('WITH is not supported: write one SELECT over source');
  if (!isNode(from) || from.type !== 'BASE_TABLE') {
    const type = isNode(from) ? textOf(from.type) : '';
    problems.push(
      type === 'JOIN' || type === 'SUBQUERY' || type === 'TABLE_FUNCTION'
        ? `FROM has a ${type.toLowerCase().replace('_', ' ')}: it must be exactly \`FROM ${table}\``
        : `FROM is missing or not a plain table: it must be exactly \`FROM ${table}\``,
    );
  } else {
    if (
      textOf(from.table_name).toLowerCase() !== table ||
      textOf(from.schema_name) !== '' ||
      textOf(from.catalog_name) !== ''
    ) {
      problems.push(`FROM ${textOf(from.table_name)}: it must be exactly \`FROM ${table}\``);
    }
    if (!isEmptyList(from.column_name_alias)) problems.push('renaming the columns of source in FROM is not supported');
    if (from.sample !== null && from.sample !== undefined)
      problems.push('TABLESAMPLE leaves rows out: exactly one row must come out for each row');
    if (from.at_clause !== null && from.at_clause !== undefined) problems.push('AT is not supported in FROM');
  }
  if (select.where_clause !== null)
    problems.push('WHERE leaves rows out: exactly one row must come out for each row (make it a CASE)');
  if (
    !isEmptyList(select.group_expressions) ||
    !isEmptyList(select.group_sets) ||
    select.aggregate_handling !== 'STANDARD_HANDLING'
  ) {
    problems.push('GROUP BY looks at other rows');
  }
  if (select.having !== null) problems.push('HAVING looks at other rows');
  if (select.qualify !== null) problems.push('QUALIFY looks at other rows');
  if (select.sample !== null) problems.push('USING SAMPLE leaves rows out: exactly one row must come out for each row');
  for (const modifier of listOf(select.modifiers)) {
    const type = isNode(modifier) ? textOf(modifier.type) : '';
    if (type === 'ORDER_MODIFIER') problems.push('ORDER BY changes the order: rows must come out as they went in');
    else if (type === 'DISTINCT_MODIFIER')
      problems.push('DISTINCT leaves rows out: exactly one row must come out for each row');
    else problems.push('LIMIT and OFFSET leave rows out: exactly one row must come out for each row');
  }
  return problems;
}

interface References {
  readonly names: Set<string>;
  readonly problems: Set<string>;
}

/** Takes `column` and `source.column`; an alias counts only in expressions after the one that defines it, as DuckDB has it. */
function noteReference(
  path: readonly string[],
  tableName: string,
  aliases: ReadonlySet<string>,
  known: ReadonlySet<string>,
  found: References,
): void {
  const [first, second] = path;
  const qualified = path.length === 2 && first?.toLowerCase() === tableName;
  if (path.length > 2 || (path.length === 2 && !qualified)) {
    found.problems.add(`${path.join('.')}: a column is written ${tableName}.column or column`);
    return;
  }
  const name = (qualified ? second : first) ?? '';
  const lower = name.toLowerCase();
  if (!qualified && aliases.has(lower) && !known.has(lower)) return;
  if (!known.has(lower) && isPseudoColumn(name))
    found.problems.add(`${name} is bound to the clock, the session or the place of a row, so its value would change`);
  else if (!known.has(lower) && lower === tableName && !qualified)
    found.problems.add(`${name} as a value is the whole row: name the columns`);
  else found.names.add(name);
}

/** Parses one statement. `known` are the columns' lower-case names; empty when no data is known yet. */
export async function readTree(session: Session, sql: string, known: ReadonlySet<string>): Promise<SqlTree> {
  const refuse = (detail: string): SqlTree => ({ problems: [{ detail }], outputs: [], references: [] });
  let text: unknown;
  try {
    [text] = (await session.rows(`SELECT json_serialize_sql(${quoteText(sql)}) AS tree`)).map((row) => row.tree);
  } catch (error) {
    return refuse(`it cannot be parsed: ${messageOf(error)}`);
  }
  const parsed: unknown = JSON.parse(textOf(text));
  if (!isNode(parsed)) return refuse('it cannot be parsed');
  if (parsed.error === true) return refuse(`it cannot be parsed as a SELECT: ${textOf(parsed.error_message)}`);
  const statements = listOf(parsed.statements);
  const [statement] = statements;
  if (statements.length !== 1 || !isNode(statement)) return refuse('it must be exactly one SELECT');
  const select = statement.node;
  if (!isNode(select) || select.type !== 'SELECT_NODE')
    return refuse('it must be exactly one SELECT, without UNION, VALUES or the like');

  const from = select.from_table;
  const tableName = ((isNode(from) ? textOf(from.alias) : '') || 'source').toLowerCase();
  const problems = new Set(frameProblems(select, 'source'));
  const found: References = { names: new Set(), problems };
  const aliases = new Set<string>();
  const outputs: Output[] = [];
  for (const item of listOf(select.select_list)) {
    walkExpression(item, problems, (path) => noteReference(path, tableName, aliases, known, found));
    if (!isNode(item) || item.class === 'STAR') continue;
    const alias = textOf(item.alias);
    const ownName = item.class === 'COLUMN_REF' ? textOf(listOf(item.column_names).at(-1)) : '';
    outputs.push({ name: alias || ownName || null });
    if (alias !== '') aliases.add(alias.toLowerCase());
  }
  return { problems: [...problems].map((detail) => ({ detail })), outputs, references: [...found.names] };
}
