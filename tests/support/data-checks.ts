/** Small data for tests of checks: Parquet files from a query, and a request that expects nothing. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { createDataEngine } from '../../src/adapters/duckdb/engine.ts';
import { withSession } from '../../src/adapters/duckdb/session.ts';
import type { CheckRequest } from '../../src/ports/data.ts';

/** A folder for the tests of a file, and how Parquet files come into it. */
export function parquetFiles(): {
  readonly parquet: (query: string) => Promise<string>;
  readonly folder: () => string;
} {
  let folder = '';
  let made = 0;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'refit-checks-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return {
    folder: () => folder,
    async parquet(query) {
      made += 1;
      const path = join(folder, `${made}.parquet`);
      await withSession({ folders: [folder] }, (session) =>
        session.run(`COPY (${query}) TO '${path}' (FORMAT parquet)`),
      );
      return path;
    },
  };
}

export async function checkRequest(file: string, more: Partial<CheckRequest> = {}): Promise<CheckRequest> {
  return {
    ...{ files: [file], columns: await createDataEngine().columns(file), expectations: [] },
    ...{ idColumn: null, timeColumn: null, kept: [], before: null, others: new Map(), arrivedAt: null },
    ...more,
  };
}
