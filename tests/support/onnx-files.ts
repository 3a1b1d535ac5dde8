/** Small ONNX files made by hand, so that tests need no Python: the wire format of the few messages that they use. */

type Field = Uint8Array;

const varint = (value: number): number[] => {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
};
const int = (field: number, value: number): Field => Uint8Array.from([...varint(field * 8), ...varint(value)]);
const block = (field: number, content: Uint8Array): Field =>
  Buffer.concat([Uint8Array.from([...varint(field * 8 + 2), ...varint(content.length)]), content]);
const text = (field: number, value: string): Field => block(field, Buffer.from(value));
const message = (...fields: readonly Field[]): Uint8Array => Buffer.concat(fields);
const floats = (values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

export const TENSOR_TYPES = { float32: 1, int64: 7, string: 8, bool: 9, float64: 11 } as const;
export type TensorType = keyof typeof TENSOR_TYPES;

export interface Value {
  readonly name: string;
  readonly type: TensorType;
  /** null stands for the number of rows. */
  readonly shape: readonly (number | null)[];
}
export interface Operation {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly output: string;
  readonly ints?: Readonly<Record<string, number>>;
  readonly domain?: string;
}
export interface Constant {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
  /** Names a file instead of holding the values. */
  readonly external?: string;
}
export interface OnnxFile {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly operations: readonly Operation[];
  readonly constants?: readonly Constant[];
}

function valueInfo({ name, type, shape }: Value): Uint8Array {
  const dims = shape.map((size) => block(1, size === null ? text(2, 'N') : int(1, size)));
  return message(text(1, name), block(2, block(1, message(int(1, TENSOR_TYPES[type]), block(2, message(...dims))))));
}

function tensor({ name, shape, values, external }: Constant): Uint8Array {
  const head = [...shape.map((size) => int(1, size)), int(2, TENSOR_TYPES.float32), text(8, name)];
  if (external === undefined) return message(...head, block(9, floats(values)));
  return message(...head, block(13, message(text(1, 'location'), text(2, external))), int(14, 1));
}

function node({ op, inputs, output, ints, domain }: Operation): Uint8Array {
  const attributes = Object.entries(ints ?? {}).map(([name, value]) =>
    block(5, message(text(1, name), int(3, value), int(20, 2))),
  );
  return message(
    ...inputs.map((name) => text(1, name)),
    text(2, output),
    text(4, op),
    ...attributes,
    ...(domain === undefined ? [] : [text(7, domain)]),
  );
}

export function onnxBytes({ inputs, outputs, operations, constants = [] }: OnnxFile): Uint8Array {
  const graph = message(
    ...operations.map((operation) => block(1, node(operation))),
    text(2, 'test'),
    ...constants.map((constant) => block(5, tensor(constant))),
    ...inputs.map((value) => block(11, valueInfo(value))),
    ...outputs.map((value) => block(12, valueInfo(value))),
  );
  return message(int(1, 8), text(2, 'refit-tests'), block(7, graph), block(8, message(text(1, ''), int(2, 17))));
}

/** probabilities = [1 - p, p] with p = sigmoid(bias + Σ weight · feature), over inputs of shape [N, 1]. */
export function logisticOnnx(
  weights: Readonly<Record<string, number>>,
  bias: number,
  _extra: readonly Value[] = [],
): Uint8Array {
  const names = Object.keys(weights);
  return onnxBytes({
    inputs: names.map((name): Value => ({ name, type: 'float32', shape: [null, 1] })),
    outputs: [{ name: 'probabilities', type: 'float32', shape: [null, 2] }],
    constants: [
      { name: 'weights', shape: [names.length, 1], values: Object.values(weights) },
      { name: 'bias', shape: [1], values: [bias] },
      { name: 'one', shape: [1], values: [1] },
    ],
    operations: [
      { op: 'Concat', inputs: names, output: '_x', ints: { axis: 1 } },
      { op: 'MatMul', inputs: ['_x', 'weights'], output: '_xw' },
      { op: 'Add', inputs: ['_xw', 'bias'], output: '_z' },
      { op: 'Sigmoid', inputs: ['_z'], output: '_p' },
      { op: 'Sub', inputs: ['one', '_p'], output: '_q' },
      { op: 'Concat', inputs: ['_q', '_p'], output: 'probabilities', ints: { axis: 1 } },
    ],
  });
}

/** prediction = log(feature): NaN for negative values, as a broken model would answer. */
export const logarithmOnnx = (feature: string): Uint8Array =>
  onnxBytes({
    inputs: [{ name: feature, type: 'float32', shape: [null, 1] }],
    outputs: [{ name: 'prediction', type: 'float32', shape: [null, 1] }],
    constants: [{ name: 'one', shape: [1], values: [1] }],
    operations: [
      { op: 'Add', inputs: [feature, 'one'], output: 'shifted' },
      { op: 'Log', inputs: ['shifted'], output: 'prediction' },
    ],
  });

/** prediction = weight · feature + bias. */
export const linearOnnx = (feature: string, weight: number, bias: number): Uint8Array =>
  onnxBytes({
    inputs: [{ name: feature, type: 'float32', shape: [null, 1] }],
    outputs: [{ name: 'prediction', type: 'float32', shape: [null, 1] }],
    constants: [
      { name: 'weight', shape: [1], values: [weight] },
      { name: 'bias', shape: [1], values: [bias] },
    ],
    operations: [
      { op: 'Mul', inputs: [feature, 'weight'], output: 'product' },
      { op: 'Add', inputs: ['product', 'bias'], output: 'prediction' },
    ],
  });
