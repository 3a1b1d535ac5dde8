/**
 * Ends the output of a test run with what failed and why, a `failed: ` before each line, and one plain line that scripts and people can read:
 * `N passed, N failed`. Whoever sees the last page of a long run alone sees what went wrong.
 */
import { writeSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';
import type { Reporter, TestModule } from 'vitest/node';

/** Lines that one failure may take: the whole of it stands further up. */
const MOST_LINES = 30;

interface Failure {
  readonly message?: string | undefined;
  readonly diff?: string | undefined;
}

export default class SummaryReporter implements Reporter {
  #line = 'no test has run\n0 passed, 1 failed';
  readonly #failures: string[] = [];

  #failed(where: string, why: readonly Failure[]): void {
    const told = why.map(({ message, diff }) => `${message ?? 'no message'}${diff === undefined ? '' : `\n${diff}`}`);
    const lines = stripVTControlCharacters(told.join('\n')).split('\n').slice(0, MOST_LINES);
    this.#failures.push(where, ...lines.map((line) => `  ${line}`));
  }

  onInit(): void {
    // At the exit of the process, so that nothing another reporter or a teardown says comes after it.
    process.once('exit', () =>
      writeSync(1, [...this.#failures.map((line) => `failed: ${line}`), this.#line, ''].join('\n')),
    );
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const count = { passed: 0, failed: 0, skipped: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result();
        // A test without an answer, because its file or its run broke off, is not one that passed.
        count[state === 'pending' ? 'failed' : state] += 1;
        if (state === 'failed' || state === 'pending')
          this.#failed(`${module.relativeModuleId} > ${test.fullName}`, errors ?? [{ message: 'it has no answer' }]);
      }
      // A suite or file that failed outside of its tests, for instance while it was loaded.
      for (const suite of [...module.children.allSuites()].filter((one) => one.errors().length > 0)) {
        count.failed += 1;
        this.#failed(`${module.relativeModuleId} > ${suite.fullName}`, suite.errors());
      }
      if (module.errors().length > 0) this.#failed(module.relativeModuleId, module.errors());
      count.failed += module.errors().length;
    }
    if (unhandled.length > 0)
      this.#failed(
        'outside of any test',
        unhandled.map((error) => ({ message: String(error) })),
      );
    count.failed += unhandled.length;
    if (count.passed + count.failed === 0) count.failed = 1;
    const skipped = count.skipped > 0 ? `${count.skipped} skipped\n` : '';
    this.#line = `${skipped}${count.passed} passed, ${count.failed} failed`;
  }
}
