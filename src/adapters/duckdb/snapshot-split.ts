/**
 * Which part and which fold a row belongs to.
 *
 * Random: by the id alone (or the group, which then stays together), not by the seed, so that a row that once was test stays test
 * however many rows are added, and a champion has never seen the rows that it is compared on.
 *
 * By time: all rows of one time are in one part. With a group, rows of a group that has later rows in a later part are left
 * out, so that parts share neither a time nor a group.
 */
import type { SnapshotRequest } from '../../ports/data.ts';
import { quoteText, type Session } from './session.ts';
import { isoOf } from './types.ts';

export interface Split {
  /** SQL of the part of a row of `kept`. */
  readonly part: string;
  /** SQL of the fold of a row of `kept`; null without folds. */
  readonly fold: string | null;
  readonly testStart: string | null;
  /** Rows that were left out because their group goes on in a later part. */
  readonly leftOut: number;
}

/** What of a row of `kept` decides where it goes. Rows without a group are groups of their own. */
const KEY = 'coalesce(__group, __id, CAST(__row AS VARCHAR))';

/** A number in [0, 1) that only the text decides, on every machine and in every release. */
const hashShare = (text: string): string =>
  `(CAST('0x' || substr(md5(${text}), 1, 13) AS BIGINT) / 4503599627370496.0)`;

async function timePart(
  session: Session,
  { test, validation }: SnapshotRequest['split'],
): Promise<{ readonly part: string; readonly testStart: string | null }> {
  // quantile_disc gives a time that occurs; all rows of that time go to the later part.
  const cut = (share: number): string =>
    share > 0 ? `quantile_disc(__time, ${Math.max(0, 1 - share)})` : 'NULL::TIMESTAMP';
  const [row] = await session.rows(
    `SELECT CAST(t AS VARCHAR) AS test, CAST(v AS VARCHAR) AS validation, ${isoOf('t')} AS iso FROM (SELECT ${cut(test)} AS t, ${cut(test + validation)} AS v FROM kept)`,
  );
  const from = (text: unknown): string =>
    typeof text === 'string' ? `__time >= CAST(${quoteText(text)} AS TIMESTAMP)` : 'false';
  const part = `CASE WHEN ${test > 0 ? from(row?.test) : 'false'} THEN 'test' WHEN ${from(row?.validation)} THEN 'validation' ELSE 'train' END`;
  const iso = row?.iso;
  return { part, testStart: test > 0 && typeof iso === 'string' ? iso : null };
}

/** Takes rows out of `kept` whose group has rows in a later part; gives how many. */
async function leaveOut(session: Session, part: string): Promise<number> {
  const rank = `list_position(['train', 'validation', 'test'], ${part})`;
  await session.run(
    `CREATE TEMP TABLE group_ends AS SELECT __group, max(${rank}) AS __last FROM kept WHERE __group IS NOT NULL GROUP BY __group`,
  );
  const [count] = await session.rows('SELECT count(*) AS rows FROM kept');
  await session.run(
    `CREATE TEMP TABLE apart AS SELECT kept.* FROM kept LEFT JOIN group_ends USING (__group) WHERE __last IS NULL OR ${rank} = __last ORDER BY __row`,
  );
  await session.run('DROP TABLE kept; ALTER TABLE apart RENAME TO kept');
  const [left] = await session.rows('SELECT count(*) AS rows FROM kept');
  return Number(count?.rows ?? 0) - Number(left?.rows ?? 0);
}

export async function splitRows(session: Session, { split }: SnapshotRequest): Promise<Split> {
  const { type, test, validation, folds, group } = split;
  // Another text than for the part: else the folds would be unevenly full.
  const fold = folds === undefined ? null : `CAST(floor(${hashShare(`'fold ' || ${KEY}`)} * ${folds}) AS BIGINT)`;
  if (type === 'random') {
    const share = hashShare(KEY);
    const part = `CASE WHEN ${share} < ${test} THEN 'test' WHEN ${share} < ${test + validation} THEN 'validation' ELSE 'train' END`;
    return { part, fold, testStart: null, leftOut: 0 };
  }
  const { part, testStart } = await timePart(session, split);
  return { part, fold, testStart, leftOut: group === undefined ? 0 : await leaveOut(session, part) };
}
