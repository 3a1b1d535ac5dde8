/** docker-compose.yml: no engine runs in CI, so what must hold is asserted on the document. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { SEARCH_ATTRIBUTES } from '../../src/local/search-attributes.ts';
import { PORT_VARIABLES } from '../../src/settings.ts';

interface Service {
  readonly image: string;
  readonly restart: string;
  readonly ports?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  readonly volumes?: readonly string[];
  readonly configs?: readonly { readonly source: string; readonly target: string }[];
}

const document = parse(readFileSync(new URL('../../docker-compose.yml', import.meta.url), 'utf8')) as {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly configs: Readonly<Record<string, { readonly content: string }>>;
};
const services = Object.entries(document.services);

describe('docker-compose.yml', () => {
  it('has Temporal on Postgres, its UI, the registration of search attributes, and Kafka', () => {
    expect(Object.keys(document.services).sort()).toEqual(
      ['kafka', 'postgres', 'search-attributes', 'temporal', 'temporal-ui'].sort(),
    );
    expect(document.services.temporal?.environment).toMatchObject({ DB: 'postgres12', POSTGRES_SEEDS: 'postgres' });
  });

  it('offers a database of its own for the registry', () => {
    expect(document.configs['refit-database']?.content).toMatch(/CREATE DATABASE refit OWNER refit/);
    expect(document.services.postgres?.configs?.[0]?.target).toMatch(/^\/docker-entrypoint-initdb\.d\//);
  });

  it.each(services)('%s: the image is pinned to a full version', (_name, service) => {
    expect(service.image).toMatch(/:\d+\.\d+(\.\d+)?[\w.-]*$/);
  });

  it.each(services)(
    '%s: ports are published on the loopback address, under the settings of the local stack',
    (_, one) => {
      for (const port of one.ports ?? []) {
        expect(port).toMatch(/^127\.0\.0\.1:\$\{REFIT_[A-Z_]+_PORT:-\d+\}:\d+$/);
        // Postgres is none of the local stack's.
        expect([...Object.values(PORT_VARIABLES), 'REFIT_POSTGRES_PORT']).toContain(/\$\{(\w+):-/.exec(port)?.[1]);
      }
    },
  );

  it.each(services.filter(([, service]) => service.restart !== 'no' || service.ports !== undefined))(
    '%s: has a health check without a shell',
    (_name, service) => {
      expect(service.healthcheck?.test[0]).toBe('CMD');
    },
  );

  it.each(services)('%s: waits for what it needs to be healthy', (_name, service) => {
    for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
      expect(condition).toBe('service_healthy');
      expect(document.services[other]?.healthcheck).toBeDefined();
    }
  });

  it('registers exactly the search attributes that the workflows set', () => {
    const command = document.services['search-attributes']?.command ?? [];
    const values = (option: string) =>
      command.filter((word) => word.startsWith(option)).map((word) => word.slice(option.length));
    const names = values('--name=');
    const types = values('--type=');
    expect(Object.fromEntries(names.map((name, index) => [name, types[index]]))).toEqual(
      Object.fromEntries(Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) => [name, type.name])),
    );
  });

  it('keeps data in volumes that are declared, and Kafka makes no topics by itself', () => {
    for (const volume of services.flatMap(([, service]) => service.volumes ?? [])) {
      expect(Object.keys(document.volumes)).toContain(volume.split(':')[0]);
    }
    expect(document.services.kafka?.environment).toMatchObject({ KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false' });
  });
});
