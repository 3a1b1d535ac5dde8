/** Progress of set-up: one line a step, with the seconds since it began, on stderr so that stdout stays for results. */
export type Progress = (line: string) => void;

export function stderrProgress(now: () => number = Date.now): Progress {
  const startedMs = now();
  return (line) => process.stderr.write(`[${((now() - startedMs) / 1000).toFixed(1).padStart(5)} s] ${line}\n`);
}

/** Says every `everyMs` that a long step is still going, so that silence never looks like a hang. */
export async function withHeartbeat<T>(
  progress: Progress,
  what: string,
  work: () => Promise<T>,
  everyMs = 15_000,
): Promise<T> {
  const startedMs = Date.now();
  const timer = setInterval(() => {
    progress(`${what}: still working (${Math.round((Date.now() - startedMs) / 1000)} s)`);
  }, everyMs);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}
