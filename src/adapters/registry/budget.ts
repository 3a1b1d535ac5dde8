/** What runs cost, and whether there is room for one more. Judged in the transaction that opens a run, so that two triggers never share the last of it. */
import type { OpenRunInput, RunRegistry } from '../../ports/registry/runs.ts';
import type { Session } from './database.ts';
import { appendAudit } from './journal.ts';
import { int, text } from './rows.ts';

const DAY_MS = 86_400_000;

/** @throws RangeError */
export function cost(cpuSeconds: number): number {
  if (Number.isFinite(cpuSeconds) && cpuSeconds >= 0) return cpuSeconds;
  throw new RangeError(`${cpuSeconds} is no cost in CPU seconds: it must be 0 or more`);
}

export async function spending(
  db: Session,
  model: string,
  since: string,
): Promise<Awaited<ReturnType<RunRegistry['spending']>>> {
  return (
    await db.all(
      `SELECT started_at, coalesce(spent_cpu_seconds, reserved_cpu_seconds) AS cpu_seconds FROM runs
       WHERE model = ? AND started_at > ? ORDER BY started_at, number`,
      ...[model, since],
    )
  ).map((row) => ({ startedAt: text(row, 'started_at'), cpuSeconds: int(row, 'cpu_seconds') }));
}

const hours = (cpuSeconds: number): string => `${Number((cpuSeconds / 3_600).toPrecision(4))} CPU hours`;

/** Why the budget has no room for this run; null when it has. */
export async function overBudget(db: Session, input: OpenRunInput, reserved: number): Promise<string | null> {
  const { model, budget, at } = input;
  if (!budget) return null;
  const { runsPerDay, cpuSecondsPerDay } = budget;
  const runs = await spending(db, model, new Date(Date.parse(at) - DAY_MS).toISOString());
  if (runsPerDay !== null && runs.length >= runsPerDay)
    return `${model} has started ${runs.length} runs in the last 24 hours, its budget is ${runsPerDay}`;
  const spent = runs.reduce((sum, run) => sum + run.cpuSeconds, 0);
  if (cpuSecondsPerDay !== null && spent + reserved > cpuSecondsPerDay)
    return `${model} has spent or reserved ${hours(spent)} in the last 24 hours, this run needs ${hours(reserved)}, its budget is ${hours(cpuSecondsPerDay)}`;
  return null;
}

export async function settleCost(db: Session, run: string, cpuSeconds: number, at: string): Promise<void> {
  const spent = cost(cpuSeconds);
  const row = await db.get('SELECT model, reserved_cpu_seconds FROM runs WHERE run = ?', run);
  if (!row) throw new Error(`there is no run ${run} whose cost could be settled`);
  if (
    (await db.run('UPDATE runs SET spent_cpu_seconds = ? WHERE run = ? AND spent_cpu_seconds IS NULL', spent, run)) ===
    0
  )
    return;
  const body = { run, reserved: int(row, 'reserved_cpu_seconds'), spent };
  await appendAudit(db, { model: text(row, 'model'), action: 'run.cost_settled', actor: null, body, at });
}
