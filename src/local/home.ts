/** Where things lie in REFIT_HOME, and which parts there are. */
import { join } from 'node:path';

/** In the order they start; they stop in the reverse. */
export const SERVICES = ['temporal', 'kafka'] as const;
export const PARTS = ['gateway', 'worker', 'serve'] as const;

export const runFolder = (home: string): string => join(home, 'run');
export const pidFile = (home: string, part: string): string => join(home, 'run', `${part}.pid`);
export const logFile = (home: string, part: string): string => join(home, 'logs', `${part}.log`);
export const stateFile = (home: string): string => join(home, 'run', 'state.json');
