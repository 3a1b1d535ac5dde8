/** How a feature of a snapshot goes with its label: rank and linear measures of numbers, and tables of counts over bins for all. */
import type { ColumnProfile, LabelRelation } from '../../contracts/data.ts';
import { cramersV, mutualInformation } from '../../domain/statistics/association.ts';
import type { ProfileLabel } from '../../ports/data.ts';
import { areaOf } from './label-leak.ts';
import { quoteName, quoteText, type Session } from './session.ts';

/** The label's bins as an expression: its classes, or the deciles of a number. */
export interface LabelBins {
  readonly sql: string;
  readonly count: number;
}

const caseOf = (conditions: readonly string[], otherwise: number): string =>
  conditions.length === 0
    ? String(otherwise)
    : `CASE ${conditions.map((condition, index) => `WHEN ${condition} THEN ${index}`).join(' ')} ELSE ${otherwise} END`;
const upTo = (column: string, bounds: readonly number[]): readonly string[] =>
  bounds.map((bound) => `${column} <= CAST(${quoteText(String(bound))} AS DOUBLE)`);

export async function labelBins(session: Session, relation: string, label: ProfileLabel): Promise<LabelBins> {
  if (label.task !== 'regression') return { sql: '__label', count: label.classes };
  const [row] = await session.rows(
    `SELECT to_json(quantile_cont(__label, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])) AS deciles FROM ${relation}`,
  );
  const deciles = [...new Set(JSON.parse(String(row?.deciles ?? '[]')) as readonly number[])];
  return { sql: caseOf(upTo('__label', deciles), deciles.length), count: deciles.length + 1 };
}

/** Bin 0 is of nulls. */
function featureBins({ name, bins, top }: ColumnProfile): LabelBins {
  const column = quoteName(name);
  const conditions = bins
    ? upTo(column, bins.bounds)
    : top.map(({ value }) => `CAST(${column} AS VARCHAR) = ${quoteText(value)}`);
  return { sql: caseOf([`${column} IS NULL`, ...conditions], conditions.length + 1), count: conditions.length + 2 };
}

export async function relationOf(
  session: Session,
  relation: string,
  profile: ColumnProfile,
  label: ProfileLabel,
  labels: LabelBins,
): Promise<LabelRelation> {
  const feature = featureBins(profile);
  const table = Array.from({ length: feature.count }, () => new Array<number>(labels.count).fill(0));
  for (const { bin, of, found } of await session.rows(
    `SELECT ${feature.sql} AS bin, ${labels.sql} AS of, count(*) AS found FROM ${relation} GROUP BY 1, 2`,
  )) {
    const counts = table[Number(bin)];
    if (counts) counts[Number(of)] = Number(found);
  }
  const isNumber = profile.type === 'float64' || profile.type === 'int64';
  const column = quoteName(profile.name);
  let auc: number | null = null;
  let correlation: number | null = null;
  if (isNumber && label.task === 'binary-classification') auc = (await areaOf(session, relation, column))?.area ?? null;
  if (isNumber && label.task === 'regression') {
    const [row] = await session.rows(`SELECT corr(${column}, __label) AS value FROM ${relation}`);
    // Threads add up in any order: the last digits are left out, so that the profile repeats.
    correlation = typeof row?.value === 'number' ? Number(row.value.toFixed(9)) : null;
  }
  return { auc, correlation, cramersV: cramersV(table), mutualInformation: mutualInformation(table) };
}
