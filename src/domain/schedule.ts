/** Moments of a schedule. Not for workflows: time zones come from the machine, and a replay must not depend on it. */
import { Cron } from 'croner';
import type { RetrainingSchedule } from '../contracts/messages.ts';

const parse = ({ cron, timezone }: RetrainingSchedule): Cron =>
  new Cron(cron, { timezone, mode: '5-part', paused: true });

/** The first moment after a time, in milliseconds since the epoch; null when there is none. Throws for what `scheduleProblem` names. */
export const nextMoment = (schedule: RetrainingSchedule, afterMs: number): number | null =>
  parse(schedule).nextRun(new Date(afterMs))?.getTime() ?? null;

/** What is wrong with a schedule, in words; null when nothing is. */
export function scheduleProblem(schedule: RetrainingSchedule): string | null {
  try {
    // A zone that does not exist shows only when a moment is computed.
    if (nextMoment(schedule, Date.now()) === null) return `${schedule.cron} never comes`;
    return null;
  } catch (error) {
    return `${error instanceof Error ? error.message : String(error)}; right would be cron "0 3 * * 1" and timezone Europe/Berlin`;
  }
}
