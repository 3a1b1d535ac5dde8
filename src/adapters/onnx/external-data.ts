/**
 * Looks for weights outside of an ONNX file. The runtime would read whatever file such a tensor names, so this must be known
 * before it sees the bytes. Only the messages in which a tensor can stand are walked.
 */
import { ModelProblem } from '../../ports/data.ts';

type Kind = 'model' | 'graph' | 'node' | 'attribute' | 'tensor' | 'sparse' | 'function' | 'training';

/** Field numbers of onnx.proto3 that lead to tensors. */
const CHILDREN: Readonly<Record<Kind, Readonly<Record<number, Kind>>>> = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node', 11: 'attribute' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: {},
};
const EXTERNAL_DATA = 13;
const DATA_LOCATION = 14;
const DEEPEST = 64;

class Reader {
  at: number;
  constructor(
    private readonly bytes: Uint8Array,
    start: number,
    readonly end: number,
  ) {
    this.at = start;
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.at >= this.end) break;
      const byte = this.bytes[this.at] ?? 0;
      this.at += 1;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new ModelProblem('model.onnx is cut off or no ONNX file');
  }

  skip(length: number): number {
    const start = this.at;
    if (length < 0 || start + length > this.end) throw new ModelProblem('model.onnx is cut off or no ONNX file');
    this.at += length;
    return start;
  }
}

function walk(bytes: Uint8Array, start: number, end: number, kind: Kind, depth: number): void {
  if (depth > DEEPEST) throw new ModelProblem('model.onnx nests its graphs too deeply');
  const reader = new Reader(bytes, start, end);
  while (reader.at < reader.end) {
    const tag = reader.varint();
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0: {
        const value = reader.varint();
        if (kind === 'tensor' && field === DATA_LOCATION && value !== 0) refuse();
        break;
      }
      case 1:
        reader.skip(8);
        break;
      case 5:
        reader.skip(4);
        break;
      case 2: {
        const length = reader.varint();
        const from = reader.skip(length);
        if (kind === 'tensor' && field === EXTERNAL_DATA) refuse();
        const child = CHILDREN[kind][field];
        if (child !== undefined) walk(bytes, from, from + length, child, depth + 1);
        break;
      }
      default:
        throw new ModelProblem('model.onnx is cut off or no ONNX file');
    }
  }
}

function refuse(): never {
  throw new ModelProblem('model.onnx keeps weights in another file (external data): write all weights into model.onnx');
}

/** @throws ModelProblem when a tensor's data is outside of the file, or the file cannot be walked */
export function refuseExternalData(bytes: Uint8Array): void {
  if (bytes.length === 0) throw new ModelProblem('model.onnx is empty');
  walk(bytes, 0, bytes.length, 'model', 0);
}
