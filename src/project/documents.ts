/** Reads the YAML documents of a project: every problem at once, with file, line and column, and what would be right. */
import { LineCounter, parseAllDocuments, type Document as YamlDocument } from 'yaml';
import type { z } from 'zod';
import { API_VERSION, type Document, datasetSchema, modelSchema, policySchema } from '../contracts/documents.ts';

export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
  /** A warning does not keep a project from being applied. */
  readonly severity: 'error' | 'warning';
}

export interface LocatedDocument {
  readonly document: Document;
  readonly file: string;
  /** Where a path of the document stands. */
  readonly locate: (path: readonly PropertyKey[]) => { readonly line: number; readonly column: number };
}

const SCHEMAS = { Dataset: datasetSchema, Model: modelSchema, Policy: policySchema } as const;

/** Enough for any real project; a bomb of aliases stops here. */
const MAX_ALIASES = 50;
const MAX_YAML_BYTES = 1_000_000;

function locator(yaml: YamlDocument.Parsed, counter: LineCounter): LocatedDocument['locate'] {
  return (path) => {
    for (let length = path.length; length >= 0; length -= 1) {
      const at = path.slice(0, length).map((part) => (typeof part === 'symbol' ? String(part) : part));
      const node = length === 0 ? yaml.contents : yaml.getIn(at, true);
      const range =
        node !== null && typeof node === 'object' && 'range' in node
          ? (node.range as readonly number[] | null | undefined)
          : undefined;
      if (range?.[0] !== undefined) {
        const { line, col } = counter.linePos(range[0]);
        return { line, column: col };
      }
    }
    return { line: 1, column: 1 };
  };
}

/** The part of a union's issues that says most: those of the branch that came furthest. */
function messageOf(issue: z.core.$ZodIssue): string {
  const where = issue.path.map(String).join('.');
  const name = where === '' ? '' : `${where}: `;
  switch (issue.code) {
    case 'unrecognized_keys':
      return `${name}unknown ${issue.keys.length === 1 ? 'key' : 'keys'} ${issue.keys.join(', ')}`;
    case 'invalid_value':
      return `${name}must be one of ${issue.values.map(String).join(', ')}`;
    case 'invalid_type':
      return `${name}${issue.input === undefined ? 'is required' : `must be of type ${issue.expected}`}`;
    default:
      return `${name}${issue.message}`;
  }
}

export function readDocuments(
  file: string,
  text: string,
): { readonly documents: readonly LocatedDocument[]; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const documents: LocatedDocument[] = [];
  const problem = (at: { readonly line: number; readonly column: number }, message: string): void => {
    problems.push({ file, line: at.line, column: at.column, message, severity: 'error' });
  };
  if (Buffer.byteLength(text) > MAX_YAML_BYTES) {
    problem({ line: 1, column: 1 }, `the file is larger than ${MAX_YAML_BYTES} bytes`);
    return { documents, problems };
  }
  const counter = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: counter, uniqueKeys: true, prettyErrors: false });
  for (const yaml of Array.isArray(parsed) ? parsed : []) {
    for (const error of yaml.errors) {
      const { line, col } = counter.linePos(error.pos[0]);
      problem({ line, column: col }, error.message);
    }
    if (yaml.errors.length > 0 || yaml.contents === null) continue;
    const locate = locator(yaml, counter);
    let value: unknown;
    try {
      value = yaml.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (error) {
      problem(locate([]), error instanceof Error ? error.message : String(error));
      continue;
    }
    const kind = value !== null && typeof value === 'object' && 'kind' in value ? value.kind : undefined;
    const schema =
      typeof kind === 'string' && Object.hasOwn(SCHEMAS, kind) ? SCHEMAS[kind as keyof typeof SCHEMAS] : undefined;
    if (!schema) {
      problem(locate(['kind']), `kind must be one of Dataset, Model, Policy (apiVersion ${API_VERSION})`);
      continue;
    }
    const result = schema.safeParse(value, { reportInput: true });
    if (result.success) documents.push({ document: result.data, file, locate });
    else
      for (const issue of result.error.issues)
        problem(
          locate(issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path),
          messageOf(issue),
        );
  }
  return { documents, problems };
}
