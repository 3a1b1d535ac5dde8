/** Set-up as a command, for the bootstrap: fetches what the stack and the tests need. `--stack` leaves the tests' out. */
import { parseSettings, SettingsError } from '../../settings.ts';
import { SetupError } from './errors.ts';
import { ensureStackTools, ensureTestTools, setupContext } from './index.ts';
import { stderrProgress } from './progress.ts';

try {
  const progress = stderrProgress();
  const settings = parseSettings(process.env, process.cwd());
  const context = setupContext(progress);
  await ensureStackTools(settings, context);
  if (!process.argv.includes('--stack')) {
    const tools = await ensureTestTools(settings, context);
    progress(`time-skipping test server: ${tools.testServer}`);
  }
  progress('set-up is complete');
} catch (error) {
  if (!(error instanceof SetupError || error instanceof SettingsError)) throw error;
  process.stderr.write(`set-up: ${error.message}\n`);
  process.exitCode = error instanceof SettingsError ? 2 : 1;
}
