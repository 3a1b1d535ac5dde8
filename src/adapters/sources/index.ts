/** Where data comes from: files of this host, S3, HTTP(S), and queries that a Dataset document declares. */
import { createHash } from 'node:crypto';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { DataProblem } from '../../ports/data.ts';
import type { DataPlace, FetchedFile } from '../../ports/surroundings.ts';
import type { S3Settings } from '../../settings/types.ts';
import { fileSink } from '../file-sink.ts';
import { createS3Client } from '../s3/client.ts';
import { schemeOf } from './address.ts';
import { expandFiles, openFile } from './files.ts';
import { openHttp } from './http.ts';
import { runQuery } from './query.ts';
import { expandS3, openS3 } from './s3.ts';

export interface SourceOptions {
  /** From REFIT_DATA_ROOTS; empty: those that the place names. */
  readonly dataRoots: readonly string[];
  /** Most bytes of a file, as it comes. @default no bound */
  readonly maxBytes?: number;
  /** @default AWS, without keys */
  readonly s3?: S3Settings;
  /** Where the variables of queries stand. @default none */
  readonly environment?: NodeJS.ProcessEnv;
}

export interface Sources {
  expand(uri: string, place: DataPlace): Promise<readonly string[]>;
  fetch(uri: string, place: DataPlace, target: string): Promise<FetchedFile>;
}

export function createSources({
  dataRoots,
  maxBytes = Number.POSITIVE_INFINITY,
  s3 = { region: 'us-east-1' },
  environment = {},
}: SourceOptions): Sources {
  const client = createS3Client(s3);
  const rootsOf = (place: DataPlace): readonly string[] => (dataRoots.length > 0 ? dataRoots : place.roots);

  function opened(uri: string, roots: readonly string[]): Promise<NodeJS.ReadableStream> {
    const scheme = schemeOf(uri);
    if (scheme === 's3') return openS3(client, uri, roots);
    return scheme === 'file' ? openFile(uri, roots) : openHttp(uri, roots);
  }

  return {
    async expand(uri, place) {
      const scheme = schemeOf(uri);
      if (scheme === 'file') return expandFiles(uri, rootsOf(place));
      return scheme === 's3' ? expandS3(client, uri, rootsOf(place)) : [uri];
    },

    async fetch(uri, place, target) {
      const hash = createHash('sha256');
      let bytes = 0;
      const count = (chunk: Buffer): void => {
        hash.update(chunk);
        bytes += chunk.length;
        if (bytes > maxBytes)
          throw new DataProblem(
            'size',
            `${uri} has more than ${maxBytes} bytes; split it, or raise REFIT_DATA_MAX_BYTES`,
          );
      };
      if (uri.startsWith('query:')) {
        const name = uri.slice('query:'.length);
        const query = place.queries.find((one) => one.name === name);
        if (!query)
          throw new DataProblem(
            'uri',
            `${uri}: the dataset declares no such query (${place.queries.map((one) => one.name).join(', ') || 'none'})`,
          );
        const { columns } = await runQuery(query, place.partition, environment, target, count);
        return { sha256: hash.digest('hex'), bytes, format: 'jsonl', columns };
      }
      const source = await opened(uri, rootsOf(place));
      const measure = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          try {
            count(chunk);
            done(null, chunk);
          } catch (error) {
            done(error as Error);
          }
        },
      });
      await pipeline(source, measure, await fileSink(target));
      return { sha256: hash.digest('hex'), bytes };
    },
  };
}
