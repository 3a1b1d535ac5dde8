/** Ends the output of a test run with one plain line that scripts and people can read: `N passed, N failed`. */
import { writeSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

export default class SummaryReporter implements Reporter {
  #line = 'no test has run\n0 passed, 1 failed';

  onInit(): void {
    // At the exit of the process, so that nothing another reporter or a teardown says comes after it.
    process.once('exit', () => writeSync(1, `${this.#line}\n`));
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const count = { passed: 0, failed: 0, skipped: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        // A test without an answer, because its file or its run broke off, is not one that passed.
        count[state === 'pending' ? 'failed' : state] += 1;
      }
      // A suite or file that failed outside of its tests, for instance while it was loaded.
      const suites = [...module.children.allSuites()].filter((suite) => suite.errors().length > 0).length;
      count.failed += suites + module.errors().length;
    }
    count.failed += unhandled.length;
    if (count.passed + count.failed === 0) count.failed = 1;
    const skipped = count.skipped > 0 ? `${count.skipped} skipped\n` : '';
    this.#line = `${skipped}${count.passed} passed, ${count.failed} failed`;
  }
}
