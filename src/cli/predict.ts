/** Scores the rows of a file over the inference server, in requests that it takes. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDataEngine } from '../adapters/duckdb/engine.ts';
import { parquetOf, quoteName, withSession } from '../adapters/duckdb/session.ts';
import { isoOf } from '../adapters/duckdb/types.ts';
import type { SourceColumn } from '../contracts/data.ts';
import type { ColumnType } from '../contracts/values.ts';
import { FORMAT_ENDINGS, formatOfName } from '../domain/formats.ts';
import { DataProblem } from '../ports/data.ts';
import { CliError, EXIT } from './exit.ts';

/** Rows in one request: so few that nobody else waits long. */
const ROWS = 1_000;

interface Input {
  readonly name: string;
  readonly datatype: string;
  readonly parameters: {
    /** Left out for an id that only names the row. */
    readonly type?: ColumnType;
    readonly id?: boolean;
    readonly optional?: boolean;
  };
}
interface Metadata {
  readonly inputs: readonly Input[];
  readonly outputs: readonly { readonly parameters?: { readonly classes?: string } }[];
}
interface Answer {
  readonly model_version: string;
  readonly outputs: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly data: readonly number[];
  }[];
}
/** One line of the answer. */
export interface Predicted {
  readonly row: number;
  readonly id?: string;
  readonly version: number;
  readonly prediction?: number;
  /** By class. */
  readonly probabilities?: Readonly<Record<string, number>>;
}

/** Whether a column of a file is what the model takes. A time for a text is not: training had other texts than we would send. */
const fits = (found: ColumnType, taken: ColumnType | undefined): boolean =>
  // An id is whatever names the row.
  taken === undefined || found === taken || (found === 'int64' && taken === 'float64');

async function call<T>(url: string, body?: string): Promise<T> {
  let response: Response;
  try {
    response = await fetch(
      url,
      body === undefined ? {} : { method: 'POST', body, headers: { 'content-type': 'application/json' } },
    );
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new CliError(
      EXIT.unreachable,
      `no inference server answers at ${url} (${cause}); start one by refit serve, or name it by --url`,
    );
  }
  const answer = (await response.json()) as T & { readonly error?: string };
  if (response.ok) return answer;
  throw new CliError(
    response.status >= 500 ? EXIT.no : EXIT.usage,
    answer.error ?? `the inference server answers ${response.status}`,
  );
}

/** The inputs that the file has. @throws CliError with all that do not fit */
function inputsOf(metadata: Metadata, columns: readonly SourceColumn[], file: string): readonly Input[] {
  const problems: string[] = [];
  const inputs = metadata.inputs.filter(({ name, datatype, parameters }) => {
    const type = columns.find((column) => column.name === name)?.type;
    if (type === undefined && parameters.optional === true) return false;
    if (type === undefined) problems.push(`column ${name} (${datatype}) is missing`);
    else if (!fits(type, parameters.type))
      problems.push(`column ${name} is ${type}, the model takes ${parameters.type} (${datatype})`);
    return true;
  });
  if (problems.length > 0) throw new CliError(EXIT.usage, `${file}: ${problems.join('; ')}`);
  return inputs;
}

/** A column as a request says it: whole numbers as texts, since JSON numbers are not exact. */
function item({ name, parameters }: Input, columns: readonly SourceColumn[]): string {
  const column = quoteName(name);
  // As the id of the same row in the data reads, once that arrives.
  if (parameters.type === undefined) return `CAST(${column} AS VARCHAR) AS ${column}`;
  const type = columns.find((one) => one.name === name)?.type;
  if (type === 'timestamp') return `${isoOf(column)} AS ${column}`;
  if (type === 'int64') return `CAST(${column} AS VARCHAR) AS ${column}`;
  return type === 'float64' ? `CASE WHEN isfinite(${column}) THEN ${column} END AS ${column}` : column;
}

export interface PredictRequest {
  readonly model: string;
  readonly file: string;
  /** Address of an inference server, such as http://127.0.0.1:8080. */
  readonly url: string;
  readonly onRows: (rows: readonly Predicted[]) => void;
}

/** @throws CliError */
export async function predictFile({ model, file, url, onRows }: PredictRequest): Promise<void> {
  const format = formatOfName(file);
  if (!format) throw new CliError(EXIT.usage, `${file}: the name must end in ${FORMAT_ENDINGS}`);
  await stat(file).catch(() => {
    throw new CliError(EXIT.usage, `${file} does not exist`);
  });
  const path = `${url.replace(/\/$/, '')}/v2/models/${encodeURIComponent(model)}`;
  const metadata = await call<Metadata>(path);
  const folder = await mkdtemp(join(tmpdir(), 'refit-predict-'));
  try {
    const rows = join(folder, 'rows.parquet');
    const taken = (wanted: ColumnType): readonly string[] =>
      metadata.inputs.flatMap(({ name, parameters: { type = 'string' } }) => (type === wanted ? [name] : []));
    const converted = await createDataEngine().convert({
      ...{ path: file, format, timeColumn: null, output: rows },
      // Digits or dates alone do not tell that a column holds texts, nor floats that it holds whole numbers; the model does.
      ...{ texts: taken('string'), integers: taken('int64') },
    });
    const inputs = inputsOf(metadata, converted.columns, file);
    const classes = metadata.outputs[0]?.parameters?.classes?.split(',');
    const id = inputs.find(({ parameters }) => parameters.id === true)?.name;
    await withSession({ files: [rows] }, async (session) => {
      for (let from = 0; from < converted.rows; from += ROWS) {
        const items = inputs.map((input) => item(input, converted.columns)).join(', ');
        const columns = await session.columns(`SELECT ${items} FROM ${parquetOf([rows])} LIMIT ${ROWS} OFFSET ${from}`);
        const count = Math.min(ROWS, converted.rows - from);
        const tensors = inputs.map(({ name, datatype }) => {
          // A whole number travels as a text where the model takes whole numbers only.
          const isNumber = datatype === 'FP64';
          const data = (columns[name] ?? []).map((cell) => (isNumber && cell !== null ? Number(cell) : cell));
          return { name, datatype, shape: [count], data };
        });
        const answer = await call<Answer>(`${path}/infer`, JSON.stringify({ inputs: tensors }));
        const [output] = answer.outputs;
        const width = output?.shape[1] ?? 1;
        onRows(
          Array.from({ length: count }, (_, row): Predicted => {
            const values = output?.data.slice(row * width, (row + 1) * width) ?? [];
            const named = id === undefined ? null : columns[id]?.[row];
            return {
              row: from + row,
              ...(named == null ? {} : { id: String(named) }),
              version: Number(answer.model_version),
              ...(classes === undefined
                ? { prediction: values[0] ?? Number.NaN }
                : { probabilities: Object.fromEntries(classes.map((name, index) => [name, values[index] ?? 0])) }),
            };
          }),
        );
      }
    });
  } catch (error) {
    if (error instanceof DataProblem) throw new CliError(EXIT.usage, error.message);
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
