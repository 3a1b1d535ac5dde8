/** The supervisor as a process of its own, for `refit up --detach`. */
import { parseSettings } from '../settings.ts';
import { StackError } from './errors.ts';
import { SetupError } from './setup/errors.ts';
import { runSupervisor } from './supervisor.ts';

try {
  // Its log file gets every line from the supervisor itself; stderr is left for what nobody expected.
  await runSupervisor(parseSettings(process.env, process.cwd()), { progress: () => undefined });
} catch (error) {
  // Already told in the state file, which `up` waits for.
  if (!(error instanceof StackError || error instanceof SetupError)) throw error;
  process.exitCode = 1;
}
