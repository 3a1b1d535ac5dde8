/** The label of a snapshot: its type decides the classes and how a row's class is found. */
import type { Task } from '../../contracts/values.ts';
import { classText, type LabelValue } from '../../domain/labels.ts';
import { DataProblem } from '../../ports/data.ts';
import { quoteText, type Session } from './session.ts';
import { columnTypeOf } from './types.ts';

/** More distinct labels than this are taken for a mistake: an id or a number to regress on. */
const MOST_CLASSES = 1_000;

export interface Label {
  readonly classes: readonly string[];
  /** SQL of `__label` over `__label_raw`. */
  readonly sql: string;
}

async function distinctLabels(session: Session): Promise<readonly LabelValue[]> {
  const rows = await session.rows(
    `SELECT DISTINCT __label_raw AS label FROM kept ORDER BY label LIMIT ${MOST_CLASSES + 1}`,
  );
  return rows.flatMap(({ label }) => (label === null || label === undefined ? [] : [label]));
}

/** A SQL expression of raw labels under which NaN and infinities, which say nothing, are null. */
export const knownLabel = (labelSql: string, isFloat: boolean): string =>
  isFloat ? `CASE WHEN isfinite((\n${labelSql}\n)) THEN (\n${labelSql}\n) END` : `(\n${labelSql}\n)`;

/** Reads `kept.__label_raw` of this SQL type. @throws DataProblem where the task cannot have such a label */
export async function labelOf(session: Session, task: Task, sqlType: string): Promise<Label> {
  const type = columnTypeOf(sqlType);
  if (task === 'regression') {
    if (type !== 'float64' && type !== 'int64')
      throw new DataProblem('label', `the label is ${sqlType}; a regression needs a number`);
    return { classes: [], sql: 'CAST(__label_raw AS DOUBLE)' };
  }
  if (type === 'bool') return { classes: ['false', 'true'], sql: 'CAST(__label_raw AS BIGINT)' };
  if (type === undefined || type === 'timestamp')
    throw new DataProblem('label', `the label is ${sqlType}; a class is a boolean, a number or a text`);
  const values = await distinctLabels(session);
  if (values.length > MOST_CLASSES) {
    throw new DataProblem(
      'classes',
      `the label has more than ${MOST_CLASSES} values: is it an id, or a number for a regression?`,
    );
  }
  const literals = values.map((value) =>
    typeof value === 'string' ? quoteText(value) : `CAST(${quoteText(String(value))} AS DOUBLE)`,
  );
  const raw = type === 'string' ? '__label_raw' : 'CAST(__label_raw AS DOUBLE)';
  // An empty list has no element type to compare with; then there are no rows either.
  const sql =
    literals.length === 0
      ? 'CAST(NULL AS BIGINT)'
      : `CAST(list_position([${literals.join(', ')}], ${raw}) - 1 AS BIGINT)`;
  return { classes: values.map(classText), sql };
}
