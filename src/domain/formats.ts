/** Which format a file has by its name: the one table of all that read files of data. */
import type { DataFormat } from '../contracts/values.ts';

const BY_ENDING: Readonly<Record<string, DataFormat>> = {
  parquet: 'parquet',
  csv: 'csv',
  tsv: 'csv',
  jsonl: 'jsonl',
  ndjson: 'jsonl',
};

/** Endings that are known, for messages. */
export const FORMAT_ENDINGS = `${Object.keys(BY_ENDING)
  .map((ending) => `.${ending}`)
  .join(', ')}, each also with .gz`;

/** The last part of a path or an address, without its query. */
export function fileNameOf(uri: string): string {
  const path = /^[a-z][a-z0-9+.-]*:/i.test(uri) ? uri.replace(/[?#].*$/s, '') : uri;
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The format that a name tells; undefined when it tells none. */
export function formatOfName(uri: string): DataFormat | undefined {
  const name = fileNameOf(uri)
    .toLowerCase()
    .replace(/\.(gz|gzip)$/, '');
  const ending = name.slice(name.lastIndexOf('.') + 1);
  return Object.hasOwn(BY_ENDING, ending) && ending !== name ? BY_ENDING[ending] : undefined;
}
