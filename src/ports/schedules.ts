/** Moments of a cron line in a time zone. Zones come from the machine, so this is not for workflows. */
import type { RetrainingSchedule } from '../contracts/messages.ts';

export interface Schedules {
  /** The first moment after a time, in milliseconds since the epoch; null when there is none. Throws for what `problem` names. */
  nextMoment(schedule: RetrainingSchedule, afterMs: number): number | null;
  /** What is wrong with a schedule, in words; null when nothing is. */
  problem(schedule: RetrainingSchedule): string | null;
}
