/** The planted bugs still apply to this tree: one that does not would be a proof that nobody can repeat. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { applyPatch, readMutants } from './harness/mutants.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const mutants = readMutants();

describe('planted bugs', () => {
  it('are at least 25, and ten were written from the guarantees alone', () => {
    expect(mutants.length).toBeGreaterThanOrEqual(25);
    const alone = mutants.filter(({ patch }) => patch.includes('\nWritten from: docs/guarantees.md alone\n'));
    expect(alone.length).toBeGreaterThanOrEqual(10);
  });

  it.each(mutants.map((mutant) => [mutant.name, mutant] as const))(
    '%s applies, and says what it breaks',
    (_, mutant) => {
      expect(mutant.breaks.length).toBeGreaterThan(0);
      expect(mutant.patch).toMatch(/^Caught by: .{10,}$/m);
      expect(applyPatch(mutant, ROOT, '--check')).toBeNull();
    },
  );
});
