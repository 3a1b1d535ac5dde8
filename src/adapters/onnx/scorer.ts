/** ONNX files on onnxruntime: checked when loaded, so that a wrong file never becomes a candidate. */
import { readFile } from 'node:fs/promises';
import * as ort from 'onnxruntime-node';
import type { FeatureColumn } from '../../contracts/data.ts';
import { ModelProblem, type Rows, type Scorer, type ScorerFactory } from '../../ports/data.ts';
import { refuseExternalData } from './external-data.ts';

/** Rows in one call of the runtime: bounds the memory of big inputs. */
const CHUNK_ROWS = 20_000;
const PROBE_ROWS = 2;

/** Tensor types in which a feature may be asked for. */
const ACCEPTED: Readonly<Record<FeatureColumn['type'], readonly string[]>> = {
  float64: ['float32', 'float64'],
  int64: ['int64'],
  string: ['string'],
  bool: ['bool'],
};

interface Input {
  readonly name: string;
  readonly tensorType: string;
}

const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';

function tensorOf(input: Input, values: Rows[string], start: number, end: number): ort.Tensor {
  const shape = [end - start, 1];
  const chunk = start === 0 && end === values.length ? values : values.slice(start, end);
  // A missing number is NaN to every runtime of trees; text and bool have their own defaults since features.sql.
  const numberOf = (value: Rows[string][number]): number => (value === null ? Number.NaN : Number(value));
  switch (input.tensorType) {
    case 'string':
      return new ort.Tensor(
        'string',
        chunk.map((value) => (value === null ? '' : String(value))),
        shape,
      );
    case 'bool':
      return new ort.Tensor(
        'bool',
        Uint8Array.from(chunk, (value) => (value === true ? 1 : 0)),
        shape,
      );
    case 'int64':
      return new ort.Tensor(
        'int64',
        BigInt64Array.from(chunk, (value) => BigInt(Math.trunc(Number(value ?? 0)))),
        shape,
      );
    case 'float64':
      return new ort.Tensor('float64', Float64Array.from(chunk, numberOf), shape);
    default:
      return new ort.Tensor('float32', Float32Array.from(chunk, numberOf), shape);
  }
}

function inputsOf(session: ort.InferenceSession, features: readonly FeatureColumn[]): readonly Input[] {
  return session.inputMetadata.map((metadata) => {
    const feature = features.find(({ name }) => name === metadata.name);
    if (feature === undefined) {
      throw new ModelProblem(
        `model.onnx asks for input ${metadata.name}, which is no feature; features are ${features.map(({ name }) => name).join(', ')}`,
      );
    }
    const tensorType = metadata.isTensor ? metadata.type : 'no tensor';
    if (!ACCEPTED[feature.type].includes(tensorType)) {
      throw new ModelProblem(
        `model.onnx takes input ${feature.name} as ${tensorType}; a ${feature.type} feature comes as ${ACCEPTED[feature.type].join(' or ')} of shape [N, 1]`,
      );
    }
    return { name: feature.name, tensorType };
  });
}

function numbersOf(tensor: ort.Tensor | undefined, output: string, rows: number, width: number): ArrayLike<number> {
  const data = tensor?.data;
  if (!(data instanceof Float32Array || data instanceof Float64Array)) {
    throw new ModelProblem(
      `output ${output} of model.onnx is no tensor of floats (switch ZipMap off where a converter adds it)`,
    );
  }
  if (data.length !== rows * width) {
    throw new ModelProblem(
      `output ${output} of model.onnx has shape [${tensor?.dims.join(', ')}] for ${rows} rows; [${rows}, ${width}] is needed`,
    );
  }
  return data;
}

function probeRows(features: readonly FeatureColumn[]): Rows {
  const blank = { string: '', bool: false, float64: 0, int64: 0 } as const;
  return Object.fromEntries(
    features.map(({ name, type }) => [name, Array.from({ length: PROBE_ROWS }, () => blank[type])]),
  );
}

/** One row must not be able to pass as a model's answer when it is none. */
function verifyProbe(values: Float64Array, output: string): void {
  for (const value of values) {
    if (Number.isNaN(value)) throw new ModelProblem(`model.onnx answers NaN in ${output} for a plain row`);
    if (output === 'probabilities' && (value < -1e-3 || value > 1 + 1e-3))
      throw new ModelProblem(`model.onnx answers ${value} in probabilities`);
  }
}

export const createScorer: ScorerFactory = async ({ path, features, classes, task, threads }) => {
  const bytes = await readFile(path);
  refuseExternalData(bytes);
  const output = task === 'regression' ? 'prediction' : 'probabilities';
  const width = task === 'regression' ? 1 : classes.length;
  let session: ort.InferenceSession;
  try {
    // From bytes, never from a path: then there is no folder that a relative file name could mean.
    session = await ort.InferenceSession.create(bytes, {
      executionProviders: ['cpu'],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      graphOptimizationLevel: 'all',
      logSeverityLevel: 4,
    });
  } catch (error) {
    throw new ModelProblem(`model.onnx cannot be loaded: ${messageOf(error)}`);
  }
  try {
    const inputs = inputsOf(session, features);
    if (!session.outputNames.includes(output)) {
      throw new ModelProblem(
        `model.onnx has no output ${output}, which ${task} needs; it has ${session.outputNames.join(', ')}`,
      );
    }
    const scorer: Scorer = {
      async score(rows, count) {
        const values = new Float64Array(count * width);
        for (let start = 0; start < count; start += CHUNK_ROWS) {
          const end = Math.min(count, start + CHUNK_ROWS);
          const feeds: Record<string, ort.Tensor> = {};
          for (const input of inputs) {
            const column = rows[input.name];
            if (column === undefined || column.length !== count)
              throw new RangeError(`feature ${input.name} has ${column?.length ?? 'no'} values for ${count} rows`);
            feeds[input.name] = tensorOf(input, column, start, end);
          }
          const result = await session.run(feeds, [output]);
          values.set(numbersOf(result[output], output, end - start, width), start * width);
        }
        return { width, values };
      },
      close: () => session.release(),
    };
    let probe: { readonly values: Float64Array };
    try {
      probe = await scorer.score(probeRows(features), PROBE_ROWS);
    } catch (error) {
      if (error instanceof ModelProblem) throw error;
      throw new ModelProblem(`model.onnx fails on a plain row: ${messageOf(error)}`);
    }
    verifyProbe(probe.values, output);
    return scorer;
  } catch (error) {
    await session.release();
    throw error;
  }
};
