/** The registry's guarantees hold on both databases, to the letter: their tests run on each. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { freshRegistry, type OpenedRegistry } from './registry-fixtures.ts';

export const BACKENDS = ['sqlite', 'postgres'] as const;
export type Backend = (typeof BACKENDS)[number];

export interface BackendRegistry extends OpenedRegistry {
  /** Past the registry, as somebody with a shell does it. */
  sql(statement: string): Promise<void>;
}

/** Statements on a connection of their own. */
export async function postgresSql(url: string, statement: string): Promise<void> {
  const { connectionString, schema } = split(url);
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    await client.query(`SET search_path = ${schema}`);
    await client.query(statement);
  } finally {
    await client.end();
  }
}

export function split(url: string): { readonly connectionString: string; readonly schema: string } {
  const parsed = new URL(url);
  const schema = parsed.searchParams.get('schema') ?? 'public';
  parsed.search = '';
  return { connectionString: parsed.href, schema };
}

/** The address of a registry that is not there yet. */
export const newPostgresUrl = (server = inject('postgresUrl')): string =>
  `${server}?schema=r${randomUUID().replaceAll('-', '')}`;

/** A registry of its own; `close` also deletes it. */
export async function freshOn(backend: Backend): Promise<BackendRegistry> {
  if (backend === 'sqlite') {
    const opened = await freshRegistry();
    const { DatabaseSync } = await import('@photostructure/sqlite');
    return {
      ...opened,
      async sql(statement) {
        const raw = new DatabaseSync(opened.file);
        raw.exec(statement);
        raw.close();
      },
    };
  }
  const url = newPostgresUrl();
  const registry = await openRegistry(url);
  return {
    registry,
    url,
    file: '',
    sql: (statement) => postgresSql(url, statement),
    async close() {
      await registry.close();
      await postgresSql(url, `DROP SCHEMA ${split(url).schema} CASCADE`);
    },
  };
}
