/** A supervisor as a process of its own with trivial parts and no services, for tests that kill it. */
import { runSupervisor } from '../../src/local/supervisor.ts';
import { parseSettings } from '../../src/settings.ts';

const trivial = new URL('./trivial-part.mjs', import.meta.url).pathname;
await runSupervisor(parseSettings(process.env, process.cwd()), {
  progress: () => undefined,
  parts: ['gateway', 'worker', 'serve'].map((name) => ({ name, command: [process.execPath, trivial, name] as const })),
  tools: {
    temporal: { kind: 'given', detail: 'none' },
    kafka: { kind: 'given', detail: 'none' },
    python: { path: 'python3', detail: 'none' },
  },
});
