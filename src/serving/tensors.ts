/** Tensors of the Open Inference Protocol to columns. What is wrong with a request is said with where and what would be right. */
import type { SourceColumn } from '../contracts/data.ts';
import type { ColumnType } from '../contracts/values.ts';
import { isKeepable } from '../domain/texts.ts';
import type { Rows } from '../ports/data.ts';
import { isLongWhole } from './json.ts';

/** A 4xx: the message goes to the caller. */
export class BadRequest extends Error {
  override readonly name = 'BadRequest';
  constructor(
    message: string,
    readonly status: 400 | 404 | 413 | 503 = 400,
  ) {
    super(message);
  }
}

/** More rows than this are a batch job; they would hold up everybody else's. */
export const MOST_ROWS = 10_000;
const LONGEST_ID = 256;

/** Accepted datatypes by column type; the first is what the metadata names. */
export const DATATYPES: Readonly<Record<ColumnType, readonly string[]>> = {
  float64: ['FP64', 'FP32', 'INT64', 'INT32'],
  int64: ['INT64', 'INT32'],
  string: ['BYTES'],
  bool: ['BOOL'],
  timestamp: ['BYTES'],
};

type Value = Rows[string][number];
export interface InferenceRequest {
  readonly id: string | undefined;
  readonly rows: Rows;
  readonly count: number;
  /** The dataset's ids, one for each row. */
  readonly ids: readonly (string | undefined)[];
}

/** What a request may hold: columns by name, and the dataset's id column. */
export interface RequestShape {
  readonly columns: ReadonlyMap<string, SourceColumn>;
  /** Columns without which the champion cannot answer. */
  readonly required: readonly SourceColumn[];
  readonly idColumn: string | null;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
/** ISO 8601 with an offset or Z; without either it is UTC. */
const TIMESTAMP =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(\.\d{1,6})?)?(Z|([+-])(\d{2}):?(\d{2}))?)?$/;
const LEAST_INT64 = -(2n ** 63n);
const MOST_INT64 = 2n ** 63n - 1n;

/**
 * The time as the feature engine takes it, or null where there is no such day or hour. Here and not there: what the engine
 * could not read would count as the model's failure, and roll a canary back.
 */
function timestampText(text: string): string | null {
  const [
    found,
    year,
    month,
    day,
    hour = '00',
    minute = '00',
    second = '00',
    fraction = '',
    zone = 'Z',
    ,
    zoneHour,
    zoneMinute,
  ] = TIMESTAMP.exec(text) ?? [];
  if (found === undefined) return null;
  const daysInMonth = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  const isDay =
    Number(year) > 0 && Number(month) >= 1 && Number(month) <= 12 && Number(day) >= 1 && Number(day) <= daysInMonth;
  const isTime = Number(hour) < 24 && Number(minute) < 60 && Number(second) < 60;
  const isZone = Number(zoneHour ?? 0) < 16 && Number(zoneMinute ?? 0) < 60;
  return isDay && isTime && isZone ? `${year}-${month}-${day}T${hour}:${minute}:${second}${fraction}${zone}` : null;
}

/** A whole number as itself, or as its text where a double could not hold it. */
function wholeNumber(value: unknown): Value | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : undefined;
  if (typeof value !== 'string' || !/^-?\d{1,19}$/.test(value)) return undefined;
  const exact = BigInt(value);
  if (exact < LEAST_INT64 || exact > MOST_INT64) return undefined;
  return Number.isSafeInteger(Number(exact)) ? Number(exact) : exact.toString();
}

const show = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
};

/** The value as the column's type, or what would be right. */
function checkedValue(value: unknown, type: ColumnType): { readonly value: Value } | { readonly right: string } {
  if (value === null) return { value };
  switch (type) {
    case 'float64':
      if (isLongWhole(value)) return { value: Number(value) };
      return typeof value === 'number' && Number.isFinite(value) ? { value } : { right: 'a number or null' };
    case 'int64': {
      const whole = wholeNumber(value);
      return whole === undefined
        ? { right: 'a whole number of 64 bits (as a number or its text) or null' }
        : { value: whole };
    }
    case 'bool':
      return typeof value === 'boolean' ? { value } : { right: 'true, false or null' };
    case 'string':
      return typeof value === 'string' ? { value } : { right: 'a text or null' };
    case 'timestamp': {
      const time = typeof value === 'string' ? timestampText(value) : null;
      return time === null ? { right: 'an ISO 8601 time such as 2024-05-01T12:00:00Z, or null' } : { value: time };
    }
  }
}

function checkedShape(tensor: Readonly<Record<string, unknown>>, name: string): number {
  const { shape } = tensor;
  const wrong = (): never => {
    throw new BadRequest(
      `input ${name}: shape is ${show(shape)}; it must be [N] or [N, 1] with N from 1 to ${MOST_ROWS}`,
    );
  };
  if (!Array.isArray(shape)) return wrong();
  const sizes: readonly unknown[] = shape;
  const [count, width = 1] = sizes;
  if (sizes.length === 0 || sizes.length > 2 || width !== 1) return wrong();
  if (typeof count !== 'number' || !Number.isInteger(count) || count < 1) return wrong();
  if (count > MOST_ROWS)
    throw new BadRequest(`input ${name} has ${count} rows; a request has at most ${MOST_ROWS}`, 413);
  return count;
}

function valuesOf(tensor: Readonly<Record<string, unknown>>, name: string, count: number): readonly unknown[] {
  if (!Array.isArray(tensor.data))
    throw new BadRequest(
      `input ${name}: data is ${show(tensor.data)}; it must be a JSON array (binary tensors are not supported)`,
    );
  const data: readonly unknown[] = tensor.data;
  const flat = data.some(Array.isArray) ? data.flat(1) : data;
  if (flat.length !== count)
    throw new BadRequest(`input ${name}: data has ${flat.length} values, its shape says ${count}`);
  return flat;
}

function columnOf(tensor: Readonly<Record<string, unknown>>, column: SourceColumn, count: number): readonly Value[] {
  const accepted = DATATYPES[column.type];
  if (typeof tensor.datatype !== 'string' || !accepted.includes(tensor.datatype)) {
    throw new BadRequest(
      `input ${column.name}: datatype is ${show(tensor.datatype)}; it must be ${accepted.join(' or ')}`,
    );
  }
  return valuesOf(tensor, column.name, count).map((item, row) => {
    const checked = checkedValue(item, column.type);
    if ('right' in checked)
      throw new BadRequest(`input ${column.name}: row ${row} is ${show(item)}; it must be ${checked.right}`);
    return checked.value;
  });
}

function idsOf(
  tensor: Readonly<Record<string, unknown>>,
  name: string,
  count: number,
): readonly (string | undefined)[] {
  return valuesOf(tensor, name, count).map((item, row) => {
    if (item === null) return undefined;
    if (typeof item === 'number' || (typeof item === 'string' && isKeepable(item))) return String(item);
    throw new BadRequest(
      `input ${name}: row ${row} is ${show(item)}; an id is a number, or a text without NUL and halves of characters`,
    );
  });
}

function requestId(body: Readonly<Record<string, unknown>>): string | undefined {
  const { id } = body;
  if (id === undefined || id === null) return undefined;
  if (typeof id !== 'string' || id.length === 0 || id.length > LONGEST_ID || !isKeepable(id))
    throw new BadRequest(
      `id is ${show(id)}; it must be a text of 1 to ${LONGEST_ID} characters, without NUL and halves of characters`,
    );
  return id;
}

/** @throws BadRequest */
export function parseRequest(body: unknown, shape: RequestShape): InferenceRequest {
  if (!isRecord(body)) throw new BadRequest('the body must be a JSON object with `inputs`');
  const id = requestId(body);
  if (!Array.isArray(body.inputs) || body.inputs.length === 0)
    throw new BadRequest('inputs is missing or empty: one tensor for each column is needed');
  const tensors: readonly unknown[] = body.inputs;
  const rows = Object.create(null) as Record<string, readonly Value[]>;
  let ids: readonly (string | undefined)[] | undefined;
  let count: number | undefined;
  let firstName = '';
  for (const [index, tensor] of tensors.entries()) {
    if (!isRecord(tensor) || typeof tensor.name !== 'string')
      throw new BadRequest(`inputs[${index}] must be an object with name, shape, datatype and data`);
    const { name } = tensor;
    const column = shape.columns.get(name);
    if (column === undefined && name !== shape.idColumn) {
      throw new BadRequest(
        `input ${name} is not known; inputs are ${[...shape.columns.keys()].join(', ')}${shape.idColumn === null ? '' : `, and ${shape.idColumn} (optional)`}`,
      );
    }
    if (name in rows || (column === undefined && ids !== undefined))
      throw new BadRequest(`input ${name} is there twice`);
    const own = checkedShape(tensor, name);
    if (count === undefined) {
      count = own;
      firstName = name;
    } else if (own !== count) throw new BadRequest(`input ${name} has ${own} rows, input ${firstName} has ${count}`);
    if (column !== undefined) rows[name] = columnOf(tensor, column, own);
    if (name === shape.idColumn) ids = idsOf(tensor, name, own);
  }
  const missing = shape.required.filter(({ name }) => rows[name] === undefined);
  if (missing.length > 0 || count === undefined) {
    throw new BadRequest(
      `inputs lack ${missing.map(({ name, type }) => `${name} (${DATATYPES[type][0] ?? ''})`).join(', ')}`,
    );
  }
  return { id, rows, count, ids: ids ?? [] };
}
