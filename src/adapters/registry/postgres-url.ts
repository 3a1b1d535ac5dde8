/** The address of a Postgres registry, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME&sslmode=verify-full`. The password never shows. */
import { readFileSync } from 'node:fs';
import type { ClientConfig } from 'pg';
import { RegistryError } from './errors.ts';

export interface PostgresAddress {
  /** For messages. */
  readonly name: string;
  /** Null: the first of the search path that the server or `options` sets, usually `public`. */
  readonly schema: string | null;
  readonly connection: ClientConfig;
}

const SCHEMA = /^[a-z_][a-z0-9_]{0,62}$/;
const DEFAULT_PORT = 5432;
const KNOWN = ['schema', 'options', 'sslmode', 'sslrootcert'];

/** As libpq's: `require` encrypts and trusts whoever answers, `verify-ca` checks the certificate, `verify-full` its name too. */
function sslOf(mode: string, rootCertificate: string | null): ClientConfig['ssl'] {
  const ca = rootCertificate === null ? {} : { ca: readFileSync(rootCertificate, 'utf8') };
  switch (mode) {
    case 'disable':
      return false;
    case 'require':
      return rootCertificate === null ? { rejectUnauthorized: false } : { ...ca, checkServerIdentity: () => undefined };
    case 'verify-ca':
      return { ...ca, checkServerIdentity: () => undefined };
    case 'verify-full':
      return { ...ca };
    default:
      throw new RegistryError(
        `the address of the registry has sslmode=${mode}; it must be disable, require, verify-ca or verify-full`,
      );
  }
}

/** @throws RegistryError that repeats nothing of a user or password */
export function postgresAddress(url: string): PostgresAddress {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const database = decodeURIComponent(parsed?.pathname.slice(1) ?? '');
  if (!parsed || parsed.hostname === '' || database === '')
    throw new RegistryError(
      'the address of the registry is none that can be read; write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters of the password percent-encoded',
    );
  const unknown = [...parsed.searchParams.keys()].find((key) => !KNOWN.includes(key));
  if (unknown !== undefined)
    throw new RegistryError(
      `the address of the registry has an unknown parameter ${unknown}; it may have ${KNOWN.join(', ')}`,
    );
  const schema = parsed.searchParams.get('schema');
  if (schema !== null && !SCHEMA.test(schema))
    throw new RegistryError(
      `the address of the registry has schema=${schema}; it must be lower-case letters, digits and _, at most 63`,
    );
  const options = [parsed.searchParams.get('options'), schema === null ? null : `-c search_path=${schema}`].filter(
    (one) => one !== null,
  );
  const port = parsed.port === '' ? DEFAULT_PORT : Number(parsed.port);
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1');
  return {
    name: `postgres://${parsed.hostname}:${port}/${database}${schema === null ? '' : `?schema=${schema}`}`,
    schema,
    connection: {
      host,
      port,
      database,
      ...(parsed.username === '' ? {} : { user: decodeURIComponent(parsed.username) }),
      ...(parsed.password === '' ? {} : { password: decodeURIComponent(parsed.password) }),
      ssl: sslOf(parsed.searchParams.get('sslmode') ?? 'disable', parsed.searchParams.get('sslrootcert')),
      ...(options.length === 0 ? {} : { options: options.join(' ') }),
    },
  };
}
