/**
 * Point-in-time joins of a Model document, resolved against the columns of the datasets. Pure.
 *
 * A row gets the newest row of the other dataset with the same keys that was known at its own time: right time + delay <= left
 * time, and not older than max_age. Nothing known in time is null.
 */
import type { ResolvedJoin, SourceColumn } from '../contracts/data.ts';
import type { DatasetDocument, JoinDocument } from '../contracts/documents.ts';
import { durationMs } from '../contracts/duration.ts';
import type { ColumnType } from '../contracts/values.ts';

export interface JoinProblem {
  readonly path: readonly (string | number)[];
  readonly detail: string;
}

/** A dataset as far as it is known; columns are empty before its first version. */
export interface JoinSide {
  readonly document: Pick<DatasetDocument, 'name' | 'time'>;
  readonly columns: readonly SourceColumn[];
}

export interface ResolvedJoins {
  readonly joins: readonly ResolvedJoin[];
  readonly problems: readonly JoinProblem[];
  /** False while a dataset that they need has no version: what its columns are is not known. */
  readonly known: boolean;
}

const KEY_TYPES: readonly ColumnType[] = ['string', 'int64', 'bool'];
const nameOf = (join: JoinDocument): string => join.as ?? join.dataset;
const listed = (columns: readonly SourceColumn[]): string => columns.map(({ name }) => name).join(', ');

class Resolver {
  readonly problems: JoinProblem[] = [];
  readonly #taken: Map<string, string>;

  constructor(readonly left: JoinSide) {
    this.#taken = new Map(left.columns.map(({ name }) => [name.toLowerCase(), `dataset ${left.document.name}`]));
  }

  report(path: JoinProblem['path'], detail: string): void {
    this.problems.push({ path: ['joins', ...path], detail });
  }

  keys(join: JoinDocument, index: number, right: JoinSide): ResolvedJoin['keys'] {
    return Object.entries(join.keys).flatMap(([leftName, rightName]) => {
      const path = [index, 'keys', leftName];
      const own = this.left.columns.find(({ name }) => name === leftName);
      const other = right.columns.find(({ name }) => name === rightName);
      if (own === undefined && this.left.columns.length > 0)
        this.report(
          path,
          `dataset ${this.left.document.name} has no column ${leftName}; it has ${listed(this.left.columns)}`,
        );
      if (other === undefined && right.columns.length > 0)
        this.report(path, `dataset ${join.dataset} has no column ${rightName}; it has ${listed(right.columns)}`);
      if (own === undefined || other === undefined) return [];
      if (own.type !== other.type || !KEY_TYPES.includes(own.type)) {
        this.report(
          path,
          `${leftName} is ${own.type} and ${rightName} of ${join.dataset} is ${other.type}; keys have the same type, one of ${KEY_TYPES.join(', ')}`,
        );
        return [];
      }
      return [{ left: leftName, right: rightName, type: own.type }];
    });
  }

  columns(join: JoinDocument, index: number, right: JoinSide): ResolvedJoin['columns'] {
    return join.columns.flatMap((name, place) => {
      const path = [index, 'columns', place];
      const as = `${nameOf(join)}_${name}`;
      const taken = this.#taken.get(as.toLowerCase());
      if (taken !== undefined)
        this.report(
          path,
          `${as} is a column of ${taken} already (upper and lower case are the same); give the join another \`as\``,
        );
      this.#taken.set(as.toLowerCase(), `join ${nameOf(join)}`);
      const column = right.columns.find((one) => one.name === name);
      if (column === undefined && right.columns.length > 0)
        this.report(path, `dataset ${join.dataset} has no column ${name}; it has ${listed(right.columns)}`);
      return column === undefined ? [] : [{ name, as, type: column.type }];
    });
  }
}

/** `rightOf` gives undefined for a dataset that nobody applied. */
export function resolveJoins(
  joins: readonly JoinDocument[],
  left: JoinSide,
  rightOf: (dataset: string) => JoinSide | undefined,
): ResolvedJoins {
  const resolver = new Resolver(left);
  let known = left.columns.length > 0;
  const leftTime = left.document.time;
  if (joins.length > 0 && leftTime === undefined)
    resolver.report([], `a join at a point in time needs \`time\` in dataset ${left.document.name}`);
  const resolved = joins.flatMap((join, index): ResolvedJoin[] => {
    const right = rightOf(join.dataset);
    if (right === undefined) {
      resolver.report([index, 'dataset'], `dataset ${join.dataset} is neither in this project nor registered`);
      return [];
    }
    if (join.dataset === left.document.name)
      resolver.report(
        [index, 'dataset'],
        'a dataset cannot be joined to itself: its own label would come in by the back door',
      );
    const rightTime = right.document.time;
    if (rightTime === undefined)
      resolver.report([index, 'dataset'], `a join at a point in time needs \`time\` in dataset ${join.dataset}`);
    known = known && right.columns.length > 0;
    const keys = resolver.keys(join, index, right);
    const columns = resolver.columns(join, index, right);
    if (leftTime === undefined || rightTime === undefined) return [];
    const [maxAgeMs, delayMs] = [durationMs(join.max_age), durationMs(join.delay)];
    if (delayMs > maxAgeMs)
      resolver.report(
        [index, 'delay'],
        `with a delay of ${join.delay} nothing is both known and younger than ${join.max_age}`,
      );
    return [{ dataset: join.dataset, keys, columns, leftTime, rightTime, maxAgeMs, delayMs }];
  });
  return { joins: resolved, problems: resolver.problems, known };
}

/** The columns that joins add to `source`. */
export const joinedColumns = (joins: readonly ResolvedJoin[]): readonly SourceColumn[] =>
  joins.flatMap(({ columns }) => columns.map(({ as, type }) => ({ name: as, type })));

/** What a caller has to send: what the features read, without what is looked up, and what it is looked up by. */
export function requestColumns(
  source: readonly SourceColumn[],
  joins: readonly ResolvedJoin[],
): readonly SourceColumn[] {
  const joined = new Set(joinedColumns(joins).map(({ name }) => name));
  const needed: SourceColumn[] = [
    ...source.filter(({ name }) => !joined.has(name)),
    ...joins.flatMap(({ keys, leftTime }): SourceColumn[] => [
      ...keys.map(({ left, type }) => ({ name: left, type })),
      { name: leftTime, type: 'timestamp' },
    ]),
  ];
  return [...new Map(needed.map((column) => [column.name, column])).values()];
}

/** What of a join decides the rows of its keyed store, and nothing else: models whose joins agree in it share one. */
export interface LookupSpec {
  readonly dataset: string;
  readonly keys: readonly SourceColumn[];
  readonly columns: readonly SourceColumn[];
  readonly time: string;
  readonly maxAgeMs: number;
  readonly delayMs: number;
}

export const lookupSpec = (join: ResolvedJoin): LookupSpec => ({
  dataset: join.dataset,
  keys: join.keys.map(({ right, type }) => ({ name: right, type })),
  columns: join.columns.map(({ name, type }) => ({ name, type })),
  time: join.rightTime,
  maxAgeMs: join.maxAgeMs,
  delayMs: join.delayMs,
});
