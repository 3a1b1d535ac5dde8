/**
 * The schema of a dataset: what its first version fixed and its document declares, and what an arrival may bring. Upper and
 * lower case are the same, and the order of columns does not matter. Pure.
 */
import type { CheckFailure, SourceColumn } from '../contracts/data.ts';
import type { ColumnType } from '../contracts/values.ts';
import { sameName } from './texts.ts';

/** `columns` of a Dataset document. What is ignored may come or not; it is no part of the dataset. */
export type DeclaredColumns = Readonly<Record<string, ColumnType | 'ignored'>>;

export interface ArrivedColumns {
  readonly uri: string;
  readonly columns: readonly SourceColumn[];
  /** Columns without any value: their type says nothing. */
  readonly empty: readonly string[];
}

export interface SchemaVerdict {
  /** The columns of the next version. */
  readonly columns: readonly SourceColumn[];
  readonly failures: readonly CheckFailure[];
}

const named = (columns: readonly SourceColumn[], name: string): SourceColumn | undefined =>
  columns.find((column) => sameName(column.name, name));
const finding = (column: string, severity: CheckFailure['severity'], detail: string): CheckFailure => ({
  ...{ check: 'schema', column, severity, detail, examples: [] },
});

/** How the files of a dataset are read: what a file alone does not tell. `before`: the columns of the version before, where there is one. */
export function readingOf(
  document: {
    readonly columns?: DeclaredColumns | undefined;
    readonly id?: string | undefined;
    readonly time?: string | undefined;
  },
  before: readonly SourceColumn[] | undefined,
): {
  /** A CSV file of digits alone does not tell texts. */
  readonly texts: readonly string[];
  /** Nor does a file tell whole numbers that has them as floats, because one is missing. */
  readonly integers: readonly string[];
  readonly ignored: readonly string[];
  /** What is no part of the dataset leaves no bytes. The first version takes what its file has. */
  readonly only?: readonly string[];
} {
  const declared = Object.entries(document.columns ?? {});
  const declaredAs = (wanted: ColumnType | 'ignored'): string[] =>
    declared.flatMap(([name, type]) => (type === wanted ? [name] : []));
  const hasBefore = (wanted: ColumnType): string[] =>
    (before ?? []).flatMap(({ name, type }) =>
      type === wanted && !declared.some(([other]) => sameName(other, name)) ? [name] : [],
    );
  const ignored = declaredAs('ignored');
  const isFirstId = before === undefined && !declared.some(([name]) => sameName(name, document.id ?? ''));
  const names = [
    ...(before ?? []).map(({ name }) => name),
    ...declared.map(([name]) => name),
    ...[document.id, document.time].filter((name) => name !== undefined),
  ];
  return {
    texts: [...declaredAs('string'), ...hasBefore('string')],
    // An id is matched as text, and 1042 is no 1042.0: already the first file tells it wrong where a row has none.
    integers: [
      ...declaredAs('int64'),
      ...hasBefore('int64'),
      ...(isFirstId && document.id !== undefined ? [document.id] : []),
    ],
    ignored,
    ...(before === undefined ? {} : { only: names.filter((name) => !ignored.some((other) => sameName(other, name))) }),
  };
}

/** Whether each value of a type is one of the other's: whole numbers are read as such into a column of floats. */
const widens = (from: ColumnType, to: ColumnType): boolean => from === 'int64' && to === 'float64';

interface SchemaQuestion {
  readonly declared: DeclaredColumns;
  /** Columns of the version before; null for the first one. */
  readonly before: readonly SourceColumn[] | null;
  readonly files: readonly ArrivedColumns[];
  /** Columns that the Dataset document names as id and time. */
  readonly keys: readonly string[];
}

/** The schema before the arrival is looked at: that of the version before, or of the first file, under what is declared. */
function fixedColumns({ declared, before, keys, files: [first] }: SchemaQuestion): SchemaVerdict {
  const failures: CheckFailure[] = [];
  const declarations = Object.entries(declared);
  const declaration = (name: string) => declarations.find(([other]) => sameName(other, name))?.[1];
  const columns = (before ?? first?.columns ?? []).flatMap((column): SourceColumn[] => {
    const type = declaration(column.name);
    if (type === undefined) return [column];
    if (type === 'ignored') return [];
    const isKey = keys.some((key) => sameName(key, column.name));
    if (before !== null && type !== column.type && (isKey || !widens(column.type, type))) {
      const detail = `the Dataset document has ${column.name} as ${type}, the versions so far have it as ${column.type}: a dataset keeps its types, so name another dataset`;
      failures.push(finding(column.name, 'block', detail));
    }
    return [{ name: column.name, type }];
  });
  for (const [name, type] of declarations)
    if (type !== 'ignored' && !named(columns, name)) columns.push({ name, type });
  return { columns, failures };
}

export function judgeSchema(input: SchemaQuestion): SchemaVerdict {
  const { declared, before, files, keys } = input;
  const fixed = fixedColumns(input);
  const columns = [...fixed.columns];
  const failures = [...fixed.failures];
  for (const { uri, columns: found, empty } of files) {
    const list = found.map(({ name }) => name).join(', ');
    for (const name of keys)
      if (!named(columns, name) && !named(found, name))
        failures.push(
          finding(name, 'block', `${uri} lacks column ${name}, which the Dataset document names; it has ${list}`),
        );
    for (const [index, column] of columns.entries()) {
      const arrived = named(found, column.name);
      if (!arrived) {
        failures.push(
          finding(column.name, 'block', `${uri} lacks column ${column.name} (${column.type}); it has ${list}`),
        );
      } else if (
        widens(column.type, arrived.type) &&
        before !== null &&
        keys.some((key) => sameName(key, column.name))
      ) {
        const detail = `${uri} has column ${arrived.name} as ${arrived.type}, with values that are no whole numbers; the dataset has it as ${column.type}, and an id of another type would be another id`;
        failures.push(finding(column.name, 'block', detail));
      } else if (widens(column.type, arrived.type) && declared[column.name] === undefined) {
        const detail = `${uri} has column ${column.name} as ${arrived.type}, the dataset had it as ${column.type}: from this version on it is ${arrived.type}`;
        if (before !== null) failures.push(finding(column.name, 'warn', detail));
        columns[index] = { name: column.name, type: arrived.type };
      } else if (
        arrived.type !== column.type &&
        !widens(arrived.type, column.type) &&
        !empty.some((name) => sameName(name, arrived.name))
      ) {
        const detail = `${uri} has column ${arrived.name} as ${arrived.type}, the dataset has it as ${column.type}`;
        failures.push(finding(column.name, 'block', detail));
      }
    }
    for (const { name, type } of found) {
      const isIgnored = Object.entries(declared).some(([other, as]) => as === 'ignored' && sameName(other, name));
      if (named(columns, name) || isIgnored) continue;
      const detail = `${uri} has a new column ${name} (${type}): it is left out until \`columns\` of the Dataset document names it`;
      failures.push(finding(name, 'warn', detail));
    }
  }
  return { columns, failures };
}
