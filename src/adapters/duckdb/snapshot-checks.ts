/** Checks that every snapshot gets, asked for or not: a model trained on such data would be worthless or too good to be true. */
import type { CheckFailure, FeatureColumn } from '../../contracts/data.ts';
import type { Task } from '../../contracts/values.ts';
import type { SnapshotRequest } from '../../ports/data.ts';
import { leakOf } from './label-leak.ts';
import { quoteName, type Session } from './session.ts';

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
const warn = (check: string, column: string | null, detail: string): CheckFailure => ({
  check,
  column,
  severity: 'warn',
  detail,
  examples: [],
});

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

/** One pass over the train rows for all features. */
async function emptyFeatures(session: Session, features: readonly FeatureColumn[]): Promise<CheckFailure[]> {
  const items = features.flatMap(({ name }, index) => {
    const column = quoteName(name);
    return [`count(${column}) AS known${index}`, `min(${column}) = max(${column}) AS same${index}`];
  });
  const [row] = await session.rows(`SELECT count(*) AS rows, ${items.join(', ')} FROM joined WHERE __part = 'train'`);
  return features.flatMap(({ name }, index) => {
    const known = Number(row?.[`known${index}`] ?? 0);
    if (known === 0) return [block('all_null', name, `feature ${name} is null in all train rows`)];
    if (row?.[`same${index}`] === true && known === row.rows)
      return [warn('constant_feature', name, `feature ${name} has one value in all train rows`)];
    return [];
  });
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
  return [...empty, ...classes, ...features, ...leaking, ...ids];
}
