/** Gates: each passes, fails or is inconclusive; inconclusive never promotes. Pure. */
import type { GateDocument } from '../contracts/documents.ts';
import type { Evaluation, GateResult, GateStatus, SliceMetric } from '../contracts/evaluation.ts';
import type { Metric } from '../contracts/values.ts';
import { withoutExamples } from './rejection.ts';
import { metricDirection } from './statistics/scored.ts';

const digits = (value: number): string => value.toFixed(4);

function threshold(
  name: string,
  metric: Metric,
  value: number | undefined,
  bound: number,
  atLeast: boolean,
): GateResult {
  if (value === undefined || !Number.isFinite(value))
    return { gate: name, status: 'inconclusive', detail: `${metric} was not measured` };
  const passed = atLeast ? value >= bound : value <= bound;
  return {
    gate: name,
    status: passed ? 'passed' : 'failed',
    detail: `${metric} ${digits(value)}, ${atLeast ? 'at least' : 'at most'} ${digits(bound)}`,
  };
}

function championGate(
  gate: Extract<GateDocument, { type: 'champion' }>,
  evaluation: Evaluation,
  hasChampion: boolean,
): GateResult {
  const name = `champion (${gate.require})`;
  if (!hasChampion) return { gate: name, status: 'not_applicable', detail: 'there is no champion yet' };
  const { comparison } = evaluation;
  if (!comparison || comparison.rows < gate.min_rows) {
    return {
      gate: name,
      status: 'inconclusive',
      detail:
        comparison === undefined && evaluation.notCompared !== undefined
          ? // Without examples: gates are told in chains and events, which cannot forget.
            `not compared: ${withoutExamples(evaluation.notCompared)}`
          : `${comparison?.rows ?? 0} rows that neither model was trained on, ${gate.min_rows} are needed`,
    };
  }
  const { low, high, confidence } = comparison.interval;
  if (![low, high, comparison.difference].every(Number.isFinite))
    return { gate: name, status: 'inconclusive', detail: 'the difference could not be measured' };
  const numbers = `${comparison.metric} ${digits(comparison.challenger)} against ${digits(comparison.champion)} of version ${comparison.championVersion} on ${comparison.rows} rows, difference ${digits(comparison.difference)} [${digits(low)}, ${digits(high)}] at ${confidence}`;
  const bound = gate.require === 'better' ? gate.margin : -gate.margin;
  // Sure that it holds; more likely than not that it does not; else not sure enough either way.
  const holds = gate.require === 'better' ? low > bound : low >= bound;
  const status: GateStatus = holds
    ? 'passed'
    : high < bound || comparison.difference < bound
      ? 'failed'
      : 'inconclusive';
  return { gate: name, status, detail: `${numbers}; ${gate.require.replace('_', ' ')} by ${digits(gate.margin)}` };
}

function sliceGate(gate: Extract<GateDocument, { type: 'slice' }>, evaluation: Evaluation): GateResult {
  const name = `slice ${gate.slice}`;
  const slices = evaluation.slices.filter((one) => one.slice === gate.slice && one.rows >= gate.min_rows);
  if (slices.length === 0)
    return { gate: name, status: 'inconclusive', detail: `no value of ${gate.slice} has ${gate.min_rows} rows` };
  const scoreOf = (one: SliceMetric): number | null => {
    const score = one.metrics?.[gate.metric] ?? (gate.metric === evaluation.metric ? one.score : null);
    return Number.isFinite(score) ? score : null;
  };
  const lower = metricDirection(gate.metric) === 'lower';
  const failing = slices.filter((one) => {
    const score = scoreOf(one);
    return score !== null && (lower ? score > gate.value : score < gate.value);
  });
  if (failing.length > 0) {
    const told = failing
      .slice(0, 3)
      .map((one) => `${one.value} ${digits(scoreOf(one) ?? Number.NaN)} (${one.rows} rows)`);
    return {
      gate: name,
      status: 'failed',
      detail: `${gate.metric} ${lower ? 'above' : 'below'} ${digits(gate.value)}: ${told.join(', ')}`,
    };
  }
  const measured = slices.filter((one) => scoreOf(one) !== null).length;
  if (measured === 0)
    return { gate: name, status: 'inconclusive', detail: `${gate.metric} is undefined on every slice` };
  const unlisted = evaluation.unlisted?.find((one) => one.slice === gate.slice && one.rows >= gate.min_rows);
  if (unlisted !== undefined) {
    return {
      gate: name,
      status: 'inconclusive',
      detail: `${slices.length} values of ${gate.slice} were measured, ${unlisted.values} more were not, of which the most frequent has ${unlisted.rows} rows; a higher min_rows leaves them aside`,
    };
  }
  const undefinedOn = slices.length - measured;
  return {
    gate: name,
    status: 'passed',
    detail: `${measured} values of ${gate.slice} ${lower ? 'at most' : 'at least'} ${digits(gate.value)}${undefinedOn === 0 ? '' : `, undefined on ${undefinedOn}`}`,
  };
}

export function judgeGate(gate: GateDocument, evaluation: Evaluation, hasChampion: boolean): GateResult {
  switch (gate.type) {
    case 'minimum':
      return threshold(`minimum ${gate.metric}`, gate.metric, evaluation.metrics[gate.metric], gate.value, true);
    case 'maximum':
      return threshold(`maximum ${gate.metric}`, gate.metric, evaluation.metrics[gate.metric], gate.value, false);
    case 'champion':
      return championGate(gate, evaluation, hasChampion);
    case 'slice':
      return sliceGate(gate, evaluation);
  }
}

/** A failure outweighs what is inconclusive: the answer is no, whatever the rest would say. */
export function overall(results: readonly GateResult[]): {
  readonly status: 'passed' | 'failed' | 'inconclusive';
  readonly reason: string;
} {
  const worst = results.find((one) => one.status === 'failed') ?? results.find((one) => one.status === 'inconclusive');
  if (!worst)
    return { status: 'passed', reason: `${results.filter((one) => one.status === 'passed').length} gates passed` };
  return { status: worst.status === 'failed' ? 'failed' : 'inconclusive', reason: `${worst.gate}: ${worst.detail}` };
}
