/** The champion's staleness over time as a line of bars, with the runs and alerts under it. */
import { type PolicyHistory, staleness } from '../../domain/policy-report.ts';

const BARS = ' ▁▂▃▄▅▆▇█';
const HOUR_MS = 3_600_000;

const at = (history: PolicyHistory, width: number, column: number): number =>
  history.startMs + ((history.endMs - history.startMs) * (column + 0.5)) / width;

/** Positions of moments in `width` columns. */
function marked(history: PolicyHistory, width: number, moments: readonly number[], mark: string): string {
  const span = Math.max(1, history.endMs - history.startMs);
  const cells = Array.from({ length: width }, () => ' ');
  for (const moment of moments)
    cells[Math.min(width - 1, Math.max(0, Math.floor(((moment - history.startMs) / span) * width)))] = mark;
  return cells.join('');
}

export interface Plotted {
  readonly name: string;
  readonly history: PolicyHistory;
}

/** All on one scale, so that they can be compared. */
export function plot(all: readonly Plotted[], width: number): string {
  const [first] = all;
  if (!first) return '';
  const columns = Array.from({ length: width }, (_, column) => column);
  const bars = all.map(({ history }) => columns.map((column) => staleness(history, at(history, width, column))));
  const most = Math.max(1, ...bars.flat());
  const label = Math.max(...all.map(({ name }) => name.length), 'alerts'.length);
  const line = (name: string, text: string): string => `${name.padEnd(label)} │${text}│`;
  const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
  const { startMs, endMs } = first.history;
  const alerts = first.history.events.filter(({ kind }) => kind === 'drift').map(({ receivedAtMs }) => receivedAtMs);
  const data = first.history.events.filter(({ kind }) => kind === 'data').map(({ receivedAtMs }) => receivedAtMs);
  const lines = all.flatMap(({ name, history }, index) => [
    line(
      name,
      (bars[index] ?? []).map((value) => BARS[value === 0 ? 0 : Math.max(1, Math.round((value / most) * 8))]).join(''),
    ),
    line(
      '',
      marked(
        history,
        width,
        history.runs.map(({ startedMs }) => startedMs),
        '▲',
      ),
    ),
  ]);
  return [
    `Age of the oldest data that the champion has not seen (█ is ${(most / HOUR_MS / 24).toFixed(1)} days), ▲ a run starts`,
    ...lines,
    line('data', marked(first.history, width, data, '•')),
    ...(alerts.length > 0 ? [line('alerts', marked(first.history, width, alerts, '!'))] : []),
    `${' '.repeat(label)}  ${day(startMs)}${day(endMs).padStart(Math.max(11, width - 10))}`,
  ].join('\n');
}
