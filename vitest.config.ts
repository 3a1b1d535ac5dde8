/** Test files run one after another: they share one Temporal and one Kafka, and skipped time is that of a whole server. `npm test` runs two vitest (tests/lanes.ts). */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    globalSetup: ['tests/support/global-setup.ts'],
    pool: 'forks',
    fileParallelism: false,
    reporters: ['default', './tests/support/summary-reporter.ts'],
    // How long a test takes is not what it proves, and the machine may be busy.
    testTimeout: 240_000,
    hookTimeout: 600_000,
  },
});
