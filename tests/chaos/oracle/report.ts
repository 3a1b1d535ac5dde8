/** What the oracle found: for each invariant what was checked and what does not hold, and the figures of the run. */
export const INVARIANTS = {
  A: 'every event is accounted for, once',
  B: 'one run at a time, one deployment for a decision, numbers only grow',
  C: 'the champion is what was promoted, with verified bytes',
  D: 'the audit chains verify against heads kept elsewhere',
  E: 'all converges after the last fault',
  F: 'no promotion without valid, distinct approvals',
  G: 'nothing is read outside the sandbox',
  H: 'every history replays',
} as const;
export type Invariant = keyof typeof INVARIANTS;

export interface Figures {
  readonly isQuiet: boolean;
  readonly left: string;
  /** From the last fault to rest. */
  readonly drainSeconds: number;
  readonly maxLag: number;
  readonly kills: number;
  readonly failpoints: number;
  readonly failpointKills: number;
  readonly stops: number;
  readonly kafkaRestarts: number;
  readonly temporalRestarts: number;
  readonly locks: number;
  readonly everythingAtOnce: number;
  readonly seconds: number;
}

export interface Report {
  readonly checked: Readonly<Record<Invariant, number>>;
  readonly violations: Readonly<Record<Invariant, readonly string[]>>;
  readonly figures: Readonly<Record<string, string | number | boolean>>;
}

const LETTERS = Object.keys(INVARIANTS) as Invariant[];
const SHOWN = 8;

export class Tally {
  readonly #checked = Object.fromEntries(LETTERS.map((letter) => [letter, 0])) as Record<Invariant, number>;
  readonly #violations = Object.fromEntries(LETTERS.map((letter) => [letter, [] as string[]])) as Record<
    Invariant,
    string[]
  >;

  /** `what` is the violation, told when `holds` is false. */
  check(invariant: Invariant, holds: boolean, what: string): void {
    this.#checked[invariant] += 1;
    if (!holds) this.#violations[invariant].push(what);
  }
  report(figures: Report['figures']): Report {
    return { checked: this.#checked, violations: this.#violations, figures };
  }
}

export const failed = (report: Report): readonly Invariant[] =>
  LETTERS.filter((letter) => report.violations[letter].length > 0);

export function asText(report: Report): string {
  const rows = LETTERS.map((letter) => {
    const count = report.violations[letter].length;
    return `${letter}  ${INVARIANTS[letter].padEnd(72)} ${String(report.checked[letter]).padStart(8)} ${count === 0 ? '      -' : String(count).padStart(7)}`;
  });
  const told = LETTERS.flatMap((letter) => {
    const all = report.violations[letter];
    const rest = all.length > SHOWN ? [`${letter}: and ${all.length - SHOWN} more`] : [];
    return [...all.slice(0, SHOWN).map((one) => `${letter}: ${one}`), ...rest];
  });
  const figures = Object.entries(report.figures).map(([name, value]) => `${name.padEnd(28)} ${value}`);
  return [
    `   ${'invariant'.padEnd(72)}  checked  violated`,
    ...rows,
    '',
    ...figures,
    ...(told.length > 0 ? ['', ...told] : []),
  ].join('\n');
}
