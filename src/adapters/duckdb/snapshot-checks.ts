/** Checks that every snapshot gets, asked for or not: a model trained on such data would be worthless or too good to be true. */
import type { CheckFailure, FeatureColumn } from '../../contracts/data.ts';
import type { Task } from '../../contracts/values.ts';
import type { SnapshotRequest } from '../../ports/data.ts';
import { percent, plural } from './expectations.ts';
import { leakOf } from './label-leak.ts';
import { quoteName, type Session } from './session.ts';
import { relationOf } from './sql-text.ts';

export interface Prepared {
  readonly request: SnapshotRequest;
  readonly features: readonly FeatureColumn[];
  readonly classes: readonly string[];
  readonly rows: { readonly train: number; readonly validation: number; readonly test: number };
}

const block = (
  check: string,
  column: string | null,
  detail: string,
  examples: readonly string[] = [],
): CheckFailure => ({ check, column, severity: 'block', detail, examples });
const warn = (
  check: string,
  column: string | null,
  detail: string,
  examples: readonly string[] = [],
): CheckFailure => ({ check, column, severity: 'warn', detail, examples });

function emptyParts({ request, rows }: Prepared): CheckFailure[] {
  const where = request.window === null ? '' : ` between ${request.window.start} and ${request.window.end}`;
  if (rows.train + rows.validation + rows.test === 0)
    return [block('empty', null, `no row with a known label${where}`)];
  const failures: CheckFailure[] = [];
  const need = (part: 'train' | 'validation' | 'test', wanted: boolean): void => {
    if (wanted && rows[part] === 0)
      failures.push(block('empty', null, `the ${part} part has no row: there are too few, or all share one time`));
  };
  need('train', true);
  need('validation', request.split.validation > 0);
  need('test', request.split.test > 0);
  return failures;
}

async function classProblems(session: Session, task: Task, classes: readonly string[]): Promise<CheckFailure[]> {
  if (task === 'regression') return [];
  if (task === 'binary-classification' && classes.length > 2) {
    return [
      block('classes', null, `a binary label has two values, this one has ${classes.length}`, classes.slice(0, 5)),
    ];
  }
  const found = await session.rows(
    "SELECT DISTINCT __label AS label FROM joined WHERE __part = 'train' ORDER BY label",
  );
  if (found.length < 2) {
    const names = found.map(({ label }) => classes[Number(label)] ?? String(label));
    return [
      block('one_class', null, `all train rows have the label ${names.join()}: there is nothing to learn`, names),
    ];
  }
  const present = new Set(found.map(({ label }) => Number(label)));
  const missing = classes.filter((_, index) => !present.has(index));
  return missing.length === 0 ? [] : [warn('classes', null, `no train row has the label ${missing.join(', ')}`)];
}

/** One pass over the train rows for all features, and one more for each pair that seems to be the same. */
async function emptyFeatures(session: Session, features: readonly FeatureColumn[]): Promise<CheckFailure[]> {
  const items = features.flatMap(({ name }, index) => {
    const column = quoteName(name);
    return [
      `count(${column}) AS known${index}`,
      `min(${column}) = max(${column}) AS same${index}`,
      `CAST(bit_xor(hash(${column})) AS VARCHAR) AS hash${index}`,
    ];
  });
  const [row] = await session.rows(`SELECT count(*) AS rows, ${items.join(', ')} FROM joined WHERE __part = 'train'`);
  const failures: CheckFailure[] = [];
  const seen = new Map<string, string>();
  for (const [index, { name, type }] of features.entries()) {
    const known = Number(row?.[`known${index}`] ?? 0);
    const isOne = row?.[`same${index}`] === true && known === row.rows;
    if (known === 0) failures.push(block('all_null', name, `feature ${name} is null in all train rows`));
    else if (isOne) failures.push(warn('constant_feature', name, `feature ${name} has one value in all train rows`));
    if (known === 0 || isOne) continue;
    const content = `${type} ${known} ${String(row?.[`hash${index}`])}`;
    const twin = seen.get(content);
    if (twin === undefined) seen.set(content, name);
    else if (await isSame(session, twin, name))
      failures.push(
        warn('duplicate_features', name, `feature ${name} is ${twin} in all train rows: one of them says nothing`),
      );
  }
  return failures;
}

async function isSame(session: Session, one: string, other: string): Promise<boolean> {
  const [row] = await session.rows(
    `SELECT count(*) AS differ FROM joined WHERE __part = 'train' AND ${quoteName(one)} IS DISTINCT FROM ${quoteName(other)}`,
  );
  return row?.differ === 0;
}

/** NaN and infinities of the data and of what features make of it: the model gets null for them. */
async function notFinite(session: Session, { request, features }: Prepared): Promise<CheckFailure[]> {
  const count = async (relation: string, names: readonly string[]): Promise<readonly (readonly [string, number])[]> => {
    if (names.length === 0) return [];
    const items = names.map(
      (name, index) => `count(*) FILTER (NOT isfinite(CAST(${quoteName(name)} AS DOUBLE))) AS f${index}`,
    );
    const [row] = await session.rows(`SELECT ${items.join(', ')} FROM ${relation}`);
    return names
      .map((name, index) => [name, Number(row?.[`f${index}`] ?? 0)] as const)
      .filter(([, found]) => found > 0);
  };
  const doubles = await session.rows(
    "SELECT column_name AS name FROM (DESCRIBE kept) WHERE column_type = 'DOUBLE' AND NOT starts_with(column_name, '__')",
  );
  const [kept] = await session.rows('SELECT count(*) AS rows FROM kept');
  const rows = Number(kept?.rows ?? 0);
  const told = (found: number): string =>
    `${plural(found, 'value')} NaN or infinite, ${percent(found, rows)} of the rows: taken for null`;
  const columns = await count(
    'kept',
    doubles.map(({ name }) => String(name)),
  );
  const inSource = new Set(columns.map(([name]) => name.toLowerCase()));
  const computed = await count(
    relationOf(request.featuresSql),
    features
      .filter(({ name, type }) => type === 'float64' && !inSource.has(name.toLowerCase()))
      .map(({ name }) => name),
  );
  return [
    ...columns.map(([name, found]) => warn('not_finite', name, `column ${name} has ${told(found)}`)),
    ...computed.map(([name, found]) => warn('not_finite', name, `feature ${name} has ${told(found)}`)),
  ];
}

/** Rows of the same content are a matter of chance where columns have few values. */
const CHANCE = 0.1;
const OVERLAP_SHARE = 0.01;

/** Test rows that are in train too, by all their columns but the id. */
async function sameContent(session: Session, { request, rows }: Prepared): Promise<CheckFailure[]> {
  if (rows.test === 0) return [];
  const described = await session.rows(
    "SELECT column_name AS name FROM (DESCRIBE kept) WHERE NOT starts_with(column_name, '__')",
  );
  const columns = described
    .map(({ name }) => String(name))
    .filter((name) => name.toLowerCase() !== request.idColumn?.toLowerCase());
  if (columns.length === 0) return [];
  await session.run(
    `CREATE TEMP TABLE contents AS SELECT kept.__row, hash(${columns.map((name) => `kept.${quoteName(name)}`).join(', ')}) AS content, joined.__part, joined.__id FROM kept JOIN joined ON kept.__row = joined.__row`,
  );
  const both = "__part = 'test' AND content IN (SELECT content FROM contents WHERE __part = 'train')";
  const [found] = await session.rows(`SELECT count(*) AS count FROM contents WHERE ${both}`);
  const count = Number(found?.count ?? 0);
  if (count === 0) return [];
  // How many there would be if columns were independent: the product of the chances that two rows agree in one.
  const chances = await Promise.all(
    columns.map(async (name) => {
      const [row] = await session.rows(
        `SELECT sum(n * n) / pow(sum(n), 2) AS chance FROM (SELECT CAST(count(*) AS DOUBLE) AS n FROM kept GROUP BY ${quoteName(name)})`,
      );
      return Number(row?.chance ?? 1);
    }),
  );
  const share = count / rows.test;
  const byChance = Math.min(1, rows.train * chances.reduce((product, chance) => product * chance, 1));
  const examples = await session.rows(
    `SELECT coalesce(__id, 'row ' || (__row + 1)) AS named FROM contents WHERE ${both} ORDER BY __row LIMIT 5`,
  );
  const detail = `${plural(count, 'row')} of the test part (${percent(count, rows.test)}) are in the train part too, by the content of ${request.idColumn === null ? 'all columns' : `all columns but ${request.idColumn}`}`;
  // What has another id is another row, be it alike.
  const judge = request.idColumn === null && share >= OVERLAP_SHARE && byChance < CHANCE * share ? block : warn;
  return [
    judge(
      'train_test_overlap',
      null,
      detail,
      examples.map(({ named }) => String(named)),
    ),
  ];
}

async function leaks(session: Session, { request, features, classes }: Prepared): Promise<CheckFailure[]> {
  const failures: CheckFailure[] = [];
  for (const feature of features) {
    const detail = await leakOf(session, request.task, feature, classes.length);
    if (detail !== null) failures.push(block('label_leak', feature.name, detail));
  }
  return failures;
}

async function idProblems(session: Session, idColumn: string): Promise<CheckFailure[]> {
  const failures: CheckFailure[] = [];
  const [row] = await session.rows(
    'SELECT count(*) - count(__id) AS unnamed, count(__id) - count(DISTINCT __id) AS repeated FROM joined',
  );
  const unnamed = Number(row?.unnamed ?? 0);
  const repeated = Number(row?.repeated ?? 0);
  if (unnamed > 0)
    failures.push(warn('null_id', idColumn, `${unnamed} rows have no ${idColumn}: outcomes can never join them`));
  if (repeated === 0) return failures;
  const examples = await session.rows(
    'SELECT __id AS id FROM joined WHERE __id IS NOT NULL GROUP BY __id HAVING count(*) > 1 ORDER BY id LIMIT 5',
  );
  failures.push(
    block(
      'repeated_ids',
      idColumn,
      `${repeated} rows repeat a value of ${idColumn}`,
      examples.map(({ id }) => String(id)),
    ),
  );
  const both = await session.rows(
    "SELECT DISTINCT __id AS id FROM joined WHERE __part = 'test' AND __id IN (SELECT __id FROM joined WHERE __part <> 'test') ORDER BY id LIMIT 5",
  );
  if (both.length > 0) {
    failures.push(
      block(
        'train_test_overlap',
        idColumn,
        `the same ${idColumn} is in train and test`,
        both.map(({ id }) => String(id)),
      ),
    );
  }
  return failures;
}

export async function alwaysOnChecks(session: Session, prepared: Prepared): Promise<readonly CheckFailure[]> {
  const empty = emptyParts(prepared);
  if (prepared.rows.train === 0) return empty;
  const classes = await classProblems(session, prepared.request.task, prepared.classes);
  const features = await emptyFeatures(session, prepared.features);
  const ids = prepared.request.idColumn === null ? [] : await idProblems(session, prepared.request.idColumn);
  // Without two known classes there is no label that a feature could give away.
  const leaking = classes.some(({ severity }) => severity === 'block') ? [] : await leaks(session, prepared);
  const overlap = ids.some(({ check }) => check === 'train_test_overlap') ? [] : await sameContent(session, prepared);
  return [...empty, ...classes, ...features, ...leaking, ...ids, ...overlap, ...(await notFinite(session, prepared))];
}
