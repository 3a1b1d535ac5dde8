/** A supervisor with trivial parts in a process of its own, for tests that kill it. */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { readState } from '../../src/local/state.ts';
import { waitFor } from '../../src/local/wait.ts';
import type { PortSettings, Settings } from '../../src/settings/types.ts';
import { PORT_VARIABLES } from '../../src/settings.ts';

/** Its pid, once it is ready. */
export async function supervisorProcess(settings: Settings): Promise<number> {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx/esm')).href;
  const script = new URL('./run-supervisor.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, ['--import', tsx, script], {
    env: { ...process.env, ...portsEnvironment(settings) },
    detached: true,
    stdio: 'ignore',
  });
  const { pid } = await waitFor(
    async () => {
      const state = await readState(settings.home);
      return state?.status === 'ready' && state.pid === child.pid ? state : undefined;
    },
    { what: 'the supervisor', timeoutMs: 120_000 },
  );
  return pid;
}

/** Home and ports as variables, so that another process has the same stack in mind. */
export function portsEnvironment({ home, ports }: Settings): NodeJS.ProcessEnv {
  const names = Object.keys(PORT_VARIABLES) as (keyof PortSettings)[];
  return { REFIT_HOME: home, ...Object.fromEntries(names.map((name) => [PORT_VARIABLES[name], String(ports[name])])) };
}
