/** `npm run demo`: sets up what is missing, measures that apart, then plays the story. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const startedAt = performance.now();
const setup = spawnSync(process.execPath, ['src/local/bootstrap.mjs', '--tools'], { cwd: root, stdio: 'inherit' });
if (setup.status !== 0) process.exit(setup.status ?? 1);
const setupSeconds = Math.round((performance.now() - startedAt) / 100) / 10;
const story = spawnSync(process.execPath, ['dist/examples/flight-delays/demo/main.js', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, REFIT_DEMO_SETUP_SECONDS: String(setupSeconds) },
});
process.exit(story.status ?? 1);
