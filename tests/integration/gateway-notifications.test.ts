/** Notifications at a running gateway: over Kafka and HTTP they become arrivals once, and each delivery is accounted for. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { datasetSchema } from '../../src/contracts/documents.ts';
import { type Part, startGateway } from '../../src/gateway/gateway.ts';
import { until } from '../support/e2e-refit.ts';
import type { ShownEvent } from '../support/e2e-stack.ts';
import {
  admin,
  caughtUp,
  get,
  logger,
  makeWorld,
  produce,
  readTopic,
  signalled,
  TIMEOUT_MS,
  useGatewayWorlds,
  value,
  type World,
} from '../support/gateway-world.ts';
import { project } from '../support/registry-fixtures.ts';

useGatewayWorlds();
let world: World;
let gateway: Part;
beforeAll(async () => {
  world = await makeWorld();
  const applied = project([world.model]);
  await world.registry.apply({
    ...applied,
    models: [],
    datasets: applied.datasets.map((one) =>
      datasetSchema.parse({ ...one, name: world.dataset, arrivals: [{ from: 's3', bucket: 'lake', prefix: 'in/' }] }),
    ),
  });
  gateway = await startGateway(world.settings, logger);
}, TIMEOUT_MS);
afterAll(() => gateway?.stop(), TIMEOUT_MS);

const created = (key: string, eventName = 's3:ObjectCreated:Put') => ({
  Records: [{ eventName, s3: { bucket: { name: 'lake' }, object: { key, eTag: 'e', sequencer: '1' } } }],
});
const notify = (body: unknown, type = 'application/json') =>
  fetch(`${world.url}/notifications`, {
    method: 'POST',
    headers: { 'content-type': type },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const counts = async () => (await get<{ counts: Record<string, number> }>(world, '/api/v1/events/counts')).counts;

it(
  'an object that was created is an arrival, once; the rest is ignored or a dead letter, and the partition moves on',
  async () => {
    expect((await notify(created('in/a.csv'))).status).toBe(202);
    expect((await notify(created('in/a.csv'), 'text/plain; charset=UTF-8')).status).toBe(202);
    await produce(world, 'notifications', [
      { value: '{"hello":1}' },
      { value: value(created('in/a.csv')) },
      { value: value(created('out/b.csv')) },
      { value: value(created('in/a.csv', 's3:ObjectRemoved:Delete')) },
      { value: value(created('in/c.csv')) },
    ]);
    await caughtUp(world, 'notifications');
    const events = await until('two events', async () => {
      const found = await get<ShownEvent[]>(world, '/api/v1/events');
      return found.length >= 2 ? found : null;
    });
    await caughtUp(world, 'data');
    expect(events.map(({ source, fates }) => [source, fates[0]?.fate])).toEqual([
      ['refit/notifications/s3', 'received'],
      ['refit/notifications/s3', 'received'],
    ]);
    const keys = new Set(events.map(({ source, id }) => `${source} ${id}`));
    await until('both are signalled', async () => ((await signalled(world)).length >= 2 ? true : null));
    expect(new Set(await signalled(world))).toEqual(keys);
    // 4 notifications that became an event, 2 that did not, 1 dead letter; of the 4 events that came of them, 2 are known.
    expect(await counts()).toMatchObject({ acted_on: 4, ignored: 2, dead_lettered: 1, received: 2, duplicate: 2 });
    const [letter] = await get<{ origin: { topic: string }; detail: string }[]>(world, '/api/v1/dead-letters');
    expect(letter).toMatchObject({
      origin: { topic: 'notifications' },
      detail: expect.stringMatching(/neither a notification/),
    });
  },
  TIMEOUT_MS,
);

it('what is none is refused at once', async () => {
  for (const body of ['{', '[]', '{"hello":1}']) expect((await notify(body)).status).toBe(400);
});

it(
  'what Kafka does not take for its size holds nothing up: as a dead letter it goes without its bytes, over HTTP it is refused',
  async () => {
    const limit = (topic: string) => ({
      ...{ type: 2, name: `${world.prefix}${topic}` },
      configEntries: [{ name: 'max.message.bytes', value: '2000' }],
    });
    await admin.alterConfigs({ validateOnly: false, resources: [limit('dead-letter')] });
    await until(
      'the broker knows its limit',
      () =>
        produce(world, 'dead-letter', [{ value: 'y'.repeat(4_000) }]).then(
          () => null,
          () => true,
        ),
      30_000,
    );
    const large = { hello: 'x'.repeat(4_000) };
    await produce(world, 'notifications', [{ value: value(large) }, { value: value(created('in/behind.csv')) }]);
    await caughtUp(world, 'notifications');
    const letter = await until('it is on the topic', async () => {
      const all = await readTopic(world, 'dead-letter', 1);
      return all.find((one) => one.headers['refit-value'] === 'at-origin') ?? null;
    });
    expect([letter.value, letter.headers['refit-topic']]).toEqual(['', 'notifications']);

    await admin.alterConfigs({ validateOnly: false, resources: [limit('notifications')] });
    const long = created(`in/${'y'.repeat(3_000)}.csv`);
    const refused = await until(
      'the broker knows its limit',
      async () => {
        const answer = await notify(long);
        return answer.status === 202 ? null : answer;
      },
      30_000,
    );
    expect([refused.status, await refused.json()]).toEqual([
      400,
      { error: expect.stringMatching(/larger than the broker takes on topic notifications/) },
    ]);
  },
  TIMEOUT_MS,
);
