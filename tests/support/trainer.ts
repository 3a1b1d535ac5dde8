/** Runs a trainer as a command under the trainer contract, and an ONNX file over rows, for tests. */
import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { type InferenceSession, Tensor } from 'onnxruntime-node';

export type FeatureType = 'float64' | 'int64' | 'string' | 'bool';

export interface TrainerSpec {
  readonly task: 'binary-classification' | 'multiclass-classification' | 'regression';
  readonly label: string;
  readonly columns: readonly { readonly name: string; readonly type: string; readonly role: 'feature' | 'label' }[];
  readonly classes: readonly string[];
  readonly train: string;
  readonly validation: string;
  readonly folds?: number;
  readonly params: Readonly<Record<string, unknown>>;
  readonly seed: number;
  readonly threads: number;
  readonly output: string;
  readonly checkpoint: string;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** In a clean environment, as the runner gives it. It gets SIGTERM once `isEnough`. */
export async function runTrainer(
  command: { readonly python: string; readonly module: string; readonly trainersFolder: string },
  spec: TrainerSpec | string,
  isEnough: () => boolean = () => false,
): Promise<Ended> {
  const folder = typeof spec === 'string' ? spec : spec.output;
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'spec.json');
  if (typeof spec !== 'string') await writeFile(path, JSON.stringify(spec));
  const child = spawn(command.python, ['-m', command.module], {
    env: {
      PATH: process.env.PATH,
      PYTHONPATH: command.trainersFolder,
      REFIT_SPEC: path,
      PYTHONDONTWRITEBYTECODE: '1',
      GOMP_SPINCOUNT: '20000',
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const timer = setInterval(() => {
    if (isEnough()) child.kill('SIGTERM');
  }, 50);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearInterval(timer);
      resolve({ code, signal, stderr });
    });
  });
}

/** Runs SQL in an empty DuckDB and gives the rows of its last statement. */
export async function query(sql: string): Promise<Record<string, unknown>[]> {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  try {
    return (await connection.runAndReadAll(sql)).getRowObjectsJS();
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

/** The file's answers, row-major, for rows fed as the inference server feeds them. */
export async function score(
  session: InferenceSession,
  features: readonly { readonly name: string; readonly type: FeatureType }[],
  rows: readonly Record<string, unknown>[],
): Promise<Float32Array> {
  const feeds = Object.fromEntries(
    features.map(({ name, type }) => [
      name,
      tensorOf(
        type,
        rows.map((row) => row[name] ?? null),
      ),
    ]),
  );
  const [output] = session.outputNames;
  const results = await session.run(feeds, output === undefined ? [] : [output]);
  return results[output ?? '']?.data as Float32Array;
}

function tensorOf(type: FeatureType, values: readonly unknown[]): Tensor {
  const shape = [values.length, 1];
  switch (type) {
    case 'float64':
      return new Tensor(
        'float32',
        Float32Array.from(values, (value) => (value === null ? Number.NaN : Number(value))),
        shape,
      );
    case 'int64':
      return new Tensor(
        'int64',
        BigInt64Array.from(values, (value) => BigInt(value as bigint)),
        shape,
      );
    case 'bool':
      return new Tensor(
        'bool',
        Uint8Array.from(values, (value) => (value === true ? 1 : 0)),
        shape,
      );
    case 'string':
      return new Tensor(
        'string',
        values.map((value) => String(value ?? '')),
        shape,
      );
  }
}
