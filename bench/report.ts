/** How a bench tells what it found: figures, and each ratio with its target. A ratio that falls short is told, not hidden. */
export interface Ratio {
  readonly name: string;
  readonly value: number;
  readonly target: number;
  /** Whether more is better. */
  readonly atLeast: boolean;
}

export const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

export function tellRatio({ name, value, target, atLeast }: Ratio): void {
  const met = atLeast ? value >= target : value <= target;
  say(`${met ? 'met  ' : 'short'}  ${name}: ${value.toFixed(2)} (${atLeast ? 'at least' : 'at most'} ${target})`);
}

/** Asks until the answer is defined; a bench that hangs says what for. */
export async function until<T>(what: string, ask: () => Promise<T | null>, timeoutMs = 300_000): Promise<T> {
  for (const deadline = performance.now() + timeoutMs; ; ) {
    const answer = await ask();
    if (answer !== null) return answer;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs / 1_000} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
