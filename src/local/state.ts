/** What the supervisor tells others about itself, in a file: `up --detach` waits on it, `down` and people read it. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { stateFile } from './home.ts';

export interface StackState {
  readonly status: 'starting' | 'ready' | 'failed' | 'stopped';
  /** Of the supervisor, so that a state left by an earlier one is not taken for this one's. */
  readonly pid: number;
  readonly message: string;
  readonly kafkaKind: 'given' | 'docker' | 'java' | undefined;
  readonly gateway: string;
  readonly serve: string;
  readonly temporal: string;
  /** Undefined when the server is not ours. */
  readonly temporalUi: string | undefined;
  readonly kafka: string;
}

export async function writeState(home: string, state: StackState): Promise<void> {
  const path = stateFile(home);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`);
  await rename(`${path}.new`, path);
}

export async function readState(home: string): Promise<StackState | undefined> {
  try {
    return JSON.parse(await readFile(stateFile(home), 'utf8')) as StackState;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
