/** One thing the stack runs, service or part alike: how it starts, and when it counts as ready. */
import { type ChildSpec, logTail, type RunningChild, removePidFile, startChild, stopProcess } from './child.ts';
import { StackError } from './errors.ts';
import { logFile } from './home.ts';
import { waitFor } from './wait.ts';

export interface StackUnit {
  readonly name: string;
  readonly ports: readonly { readonly port: number; readonly what: string; readonly variable: string }[];
  readonly readyTimeoutMs: number;
  /** Before each start: folders, configuration, a first format. */
  readonly prepare: () => Promise<Omit<ChildSpec, 'name'>>;
  /** Defined once it is ready; a throw means 'not yet'. */
  readonly probe: (child: RunningChild) => Promise<true | undefined>;
}

export interface StartedUnit {
  readonly child: RunningChild;
  readonly stop: () => Promise<void>;
}

/** Starts it and waits until it is ready; whatever goes wrong, nothing of it stays behind. */
export async function startUnit(unit: StackUnit, onStarted?: (child: RunningChild) => void): Promise<StartedUnit> {
  const spec: ChildSpec = { ...(await unit.prepare()), name: unit.name };
  const child = await startChild(spec);
  onStarted?.(child);
  let ended: string | undefined;
  void child.exited.then((how) => {
    ended = how;
  });
  const stop = async () => {
    await stopProcess(child.identity);
    await removePidFile(spec.home, unit.name);
  };
  try {
    await waitFor(() => unit.probe(child), {
      what: unit.name,
      timeoutMs: unit.readyTimeoutMs,
      abort: () => {
        if (ended !== undefined) throw new StackError(`${unit.name} ended with ${ended} while it started`);
      },
    });
  } catch (error) {
    await stop();
    const tail = await logTail(spec.home, unit.name, child.logOffset);
    const reason = error instanceof Error ? error.message : String(error);
    throw new StackError(`${reason}\n${tail === '' ? '' : `${tail}\n`}Its log: ${logFile(spec.home, unit.name)}`);
  }
  return { child, stop };
}
