/** What people and scripts see: documents on stdout, everything else on stderr. */
import Table from 'cli-table3';
import picocolors from 'picocolors';
import { CliError, EXIT } from './exit.ts';

export const JSON_OPTION = ['--json', 'one JSON document on stdout'] as const;
export const AS_OPTION = ['--as <name>', 'who acts; else REFIT_ACTOR, else the login'] as const;

const colors = picocolors.createColors(process.stdout.isTTY === true && process.env.NO_COLOR === undefined);

export const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};
export const print = (text: string): void => {
  process.stdout.write(`${text}\n`);
};
export const printJson = (value: unknown): void => print(JSON.stringify(value, null, 2));

const TONES: Readonly<Record<string, (text: string) => string>> = {
  champion: colors.green,
  promoted: colors.green,
  approved: colors.green,
  acted_on: colors.green,
  passed: colors.green,
  stable: colors.green,
  failed: colors.red,
  rolled_back: colors.red,
  rejected: colors.red,
  data_rejected: colors.red,
  gate_failed: colors.red,
  dead_lettered: colors.red,
  confirmed: colors.red,
  held: colors.yellow,
  suspected: colors.yellow,
  inconclusive: colors.yellow,
};
const tone = (text: string): string => (TONES[text] ?? ((same: string) => same))(text);

type Cell = string | number | null | undefined;

/** A table that fits the terminal: the widest column gives way and wraps. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cells = rows.map((row) => row.map((cell) => (cell === null || cell === undefined ? '-' : String(cell))));
  const widths = head.map((title, index) =>
    Math.max(
      title.length,
      ...cells.map((row) => Math.max(...(row[index] ?? '').split('\n').map((line) => line.length))),
    ),
  );
  const available = (process.stdout.columns ?? 140) - head.length * 3 - 1;
  for (let over = widths.reduce((sum, width) => sum + width, 0) - available; over > 0; ) {
    const widest = widths.indexOf(Math.max(...widths));
    const current = widths[widest] ?? 0;
    if (current <= 12) break;
    const cut = Math.min(over, current - 12);
    widths[widest] = current - cut;
    over -= cut;
  }
  const drawn = new Table({
    head: head.map((title) => colors.bold(title)),
    colWidths: widths.map((width) => width + 2),
    wordWrap: true,
    wrapOnWordBoundary: false,
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  for (const row of cells) drawn.push(row.map(tone));
  return drawn.toString();
}

export const when = (time: string | null | undefined): string =>
  time ? time.replace('T', ' ').replace(/\.\d+Z$/, 'Z') : '-';
export const short = (digest: string | null | undefined): string => (digest ? digest.slice(0, 12) : '-');
export const metricText = (metric: { readonly name: string; readonly value: number } | null | undefined): string =>
  metric ? `${metric.name} ${metric.value.toFixed(4)}` : '-';

/** A number as people write it. Not Number() alone: an empty text would be 0. */
export function numberOf(option: string, text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) throw new CliError(EXIT.usage, `${option} must be a number, not '${text}'`);
  return value;
}
