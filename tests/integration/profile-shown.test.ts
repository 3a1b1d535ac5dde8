/** Profiles as people get them: over the gateway's API from what ingestion and a run stored, in the terminal and as a page. */
import Fastify from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { profilePage } from '../../src/cli/data/profile-page.ts';
import { bars, figure, profileTable } from '../../src/cli/data/profile-text.ts';
import type { ColumnProfile, DataProfile } from '../../src/contracts/data.ts';
import { profileRoutes, type ShownProfile } from '../../src/gateway/routes/profiles.ts';
import type { Services } from '../../src/gateway/services.ts';
import { type BadDataWorld, badDataWorld, departures } from '../support/bad-data.ts';

const app = Fastify();
let world: BadDataWorld;
beforeAll(async () => {
  world = await badDataWorld();
  await world.register('flights', { expect: [] });
  await world.arrive('flights', await world.parquet(departures(0)), { partition: 'p1' });
  await world.arrive('flights', await world.parquet(departures(400)), { partition: 'p2' });
  expect(await world.run('flights')).toMatchObject({ status: 'ready' });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error: Error & { readonly statusCode?: number }, _request, reply) =>
    reply.code(error.statusCode ?? 500).send({ error: error.message }),
  );
  await app.register(profileRoutes({ registry: world.registry, store: world.store } as Services));
});
afterAll(async () => {
  await app.close();
  await world.close();
});

const get = async (url: string) => {
  const answer = await app.inject({ method: 'GET', url });
  return { status: answer.statusCode, body: answer.json<ShownProfile & { readonly error?: string }>() };
};

describe('a stored profile', () => {
  it('is of all rows of a dataset version', async () => {
    const { body } = await get('/api/v1/datasets/flights/profile');
    expect(body).toMatchObject({ dataset: 'flights', version: 2, run: null, profile: { rows: 800 } });
    const id = body.profile.columns.find(({ name }) => name === 'id');
    expect(id).toMatchObject({ distinct: { values: 800 }, top: [], min: null });
    expect((await get('/api/v1/datasets/flights/profile?version=1')).body.profile.rows).toBe(400);
  });

  it('is of the train part of the newest snapshot, with the relation to the label', async () => {
    const { body } = await get('/api/v1/models/flights/profile');
    expect(body).toMatchObject({ dataset: 'flights', version: 2, run: 'flights-000002' });
    expect(body.profile.columns.map(({ name }) => name)).toEqual(['distance', 'wind', 'seats', 'origin']);
    for (const { relation } of body.profile.columns) expect(relation?.mutualInformation).toBeGreaterThanOrEqual(0);
    expect(profileTable(body.profile)).toMatch(/AUC 0\.\d{3}/);
  });

  it('that is not there is a 404 that says what is', async () => {
    expect(await get('/api/v1/datasets/nobody/profile')).toMatchObject({ status: 404 });
    expect((await get('/api/v1/datasets/flights/profile?version=7')).body.error).toMatch(/there are 1 to 2/);
    expect((await get('/api/v1/models/nobody/profile')).body.error).toMatch(/known are flights/);
  });
});

describe('a shown profile', () => {
  const column = (change: Partial<ColumnProfile>): ColumnProfile => ({
    ...{ name: 'x', type: 'float64', nulls: 0, notFinite: 0, distinct: { values: 3, estimated: false } },
    ...{ min: null, max: null, mean: null, std: null, quantiles: [], histogram: null, bins: null, top: [], ...change },
  });

  it('has bars by the highest count, and short figures', () => {
    expect(bars([0, 1, 50, 100])).toBe(' ▁▅█');
    expect([1234567, 12345678, 0.000012, 1 / 3, '2024-01-01T00:00:00Z', null].map(figure)).toEqual([
      ...['1234570', '1.23e+7', '1.20e-5', '0.333333', '2024-01-01', ''],
    ]);
  });

  it('escapes what the data says, and loads nothing', () => {
    const evil = `"><script>alert('x')</script>&`;
    const profile: DataProfile = {
      rows: 4,
      columns: [
        column({ name: evil, type: 'string', top: [{ value: evil, count: 4 }] }),
        column({
          min: 1,
          max: 1,
          quantiles: Array.from({ length: 15 }, () => 1),
          histogram: { bounds: [1], counts: [4] },
        }),
        column({
          name: 'none',
          nulls: 4,
          relation: { auc: null, correlation: null, cramersV: null, mutualInformation: 0 },
        }),
      ],
    };
    const page = profilePage(evil, profile);
    expect(page).not.toContain('<script');
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
    expect(page).not.toMatch(/(src|href)=|url\(|@import/);
    expect(page.match(/<article/g)).toHaveLength(4);
    expect(profileTable(profile)).toMatch(/none/);
  });
});
