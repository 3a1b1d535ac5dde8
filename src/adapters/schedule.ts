/** Cron lines by croner, which knows daylight saving. */
import { Cron } from 'croner';
import type { Schedules } from '../ports/schedules.ts';

export const schedules: Schedules = {
  nextMoment: ({ cron, timezone }, afterMs) =>
    new Cron(cron, { timezone, mode: '5-part', paused: true }).nextRun(new Date(afterMs))?.getTime() ?? null,

  problem(schedule) {
    try {
      // A zone that does not exist shows only when a moment is computed.
      return schedules.nextMoment(schedule, Date.now()) === null ? `${schedule.cron} never comes` : null;
    } catch (error) {
      const told = error instanceof Error ? error.message : String(error);
      return `${told}; right would be cron "0 3 * * 1" and timezone Europe/Berlin`;
    }
  },
};
