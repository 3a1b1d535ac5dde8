/** Whether drift that outside detectors reported without a verdict is confirmed: by enough windows that do not overlap. Pure. */
import type { DriftWindow, LifecycleConfig, PendingEvent } from '../contracts/messages.ts';

export interface Confirmation {
  readonly confirmed: boolean;
  /** Windows that count, of which `drifted` drifted. */
  readonly windows: number;
  readonly drifted: number;
}

/** The newest `of` windows that do not overlap. */
function counted(windows: readonly DriftWindow[], of: number): readonly DriftWindow[] {
  const chosen: DriftWindow[] = [];
  for (const window of [...windows].sort((a, b) => b.endMs - a.endMs || b.startMs - a.startMs)) {
    const last = chosen.at(-1);
    if (last && window.endMs > last.startMs) {
      // The same window told twice is one observation; drifted wins, since each detector sees its own features.
      if (window.endMs === last.endMs && window.startMs === last.startMs && window.drifted && !last.drifted)
        chosen[chosen.length - 1] = window;
      continue;
    }
    if (chosen.length === of) break;
    chosen.push(window);
  }
  return chosen;
}

export function confirmation(windows: readonly DriftWindow[], rule: LifecycleConfig['confirmDrift']): Confirmation {
  const chosen = counted(windows, rule.of);
  const drifted = chosen.filter((window) => window.drifted).length;
  return { confirmed: drifted >= rule.windows, windows: chosen.length, drifted };
}

/** Who serves, and since when. Null, and unknown in histories of 0.1.0. */
export interface Serving {
  readonly championVersion: number | null;
  readonly championSinceMs: number | null;
}

/** Why an alert says nothing about the champion; null when it may. One that names no version speaks of who served when it came. */
export function ofAnother(event: PendingEvent, { championVersion, championSinceMs }: Serving): string | null {
  const version = event.drift?.version ?? null;
  if (version !== null)
    return version === championVersion
      ? null
      : `it speaks of version ${version}; the champion is version ${championVersion}`;
  if (championSinceMs === null || event.receivedAtMs >= championSinceMs) return null;
  return `it came before version ${championVersion} served, and names no version`;
}

/** The window that an alert without a verdict reports about this champion; what speaks of another version says nothing. */
export function reportedWindow(event: PendingEvent, serving: Serving): DriftWindow | null {
  const { drift } = event;
  if (!drift || drift.verdict !== null || ofAnother(event, serving) !== null) return null;
  return { startMs: drift.windowStartMs, endMs: drift.windowEndMs, drifted: true };
}
