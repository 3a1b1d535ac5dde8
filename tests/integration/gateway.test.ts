/**
 * The gateway with a real Kafka and a real Temporal, and without a worker: what is taken, what is refused and why, in which
 * order it acts, and what a kill between two of its acts leaves behind.
 */
import type { Message } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createKafkaBus } from '../../src/adapters/kafka/bus.ts';
import { type Part, startGateway } from '../../src/gateway/gateway.ts';
import { createHttp } from '../../src/gateway/http.ts';
import { startRelay } from '../../src/gateway/relay.ts';
import { startProxy } from '../support/e2e-proxy.ts';
import { type PartProcess, quietPorts, startPart, until } from '../support/e2e-refit.ts';
import type { ShownEvent } from '../support/e2e-stack.ts';
import {
  admin,
  arrived,
  BATCH,
  caughtUp,
  drifted,
  get,
  logger,
  makeWorld,
  offsets,
  post,
  produce,
  readTopic,
  shown,
  signalled,
  signals,
  TIMEOUT_MS,
  useGatewayWorlds,
  value,
  type World,
} from '../support/gateway-world.ts';
import { waitingCandidate } from '../support/registry-fixtures.ts';

const MAX_BYTES = 262_144;
useGatewayWorlds();

describe('a running gateway', () => {
  let world: World;
  let gateway: Part;
  beforeAll(async () => {
    world = await makeWorld();
    gateway = await startGateway(world.settings, logger);
  }, TIMEOUT_MS);
  afterAll(() => gateway?.stop(), TIMEOUT_MS);

  it(
    'dead-letters what is no event, with the reason and where it came from, and its partition moves on',
    async () => {
      const good = arrived(world.dataset, 'after-all-that');
      const deep = value(drifted(world.model, 'deep', { reportUri: 'x' })).replace(
        '"x"',
        `${'['.repeat(60)}1${']'.repeat(60)}`,
      );
      const wrong: readonly (readonly [string, Omit<Message, 'partition'>])[] = [
        ['json', { value: '{"specversion": "1.0", "id": "cut' }],
        ['json', { value: '' }],
        ['encoding', { value: Buffer.from([0x7b, 0xff, 0xfe, 0x7d]) }],
        ['oversized', { value: value(arrived(world.dataset, 'big', `file:///${'x'.repeat(MAX_BYTES)}`)) }],
        ['tombstone', { key: 'beds', value: null }],
        ['envelope', { value: value({ ...good, specversion: '0.3' }) }],
        ['envelope', { value: value({ ...good, id: '' }) }],
        ['envelope', { value: value({ ...good, source: 'a b' }) }],
        ['envelope', { value: '[]' }],
        ['envelope', { value: 'null' }],
        ['type', { value: value({ ...good, type: 'dev.refit.something.v9' }) }],
        ['data', { value: value(arrived('Not A Name', 'x')) }],
        ['data', { value: value({ ...good, data: { dataset: world.dataset, uris: [] } }) }],
        ['topic', { value: value(drifted(world.model, 'astray')) }],
        ['json', { value: deep }],
        ['envelope', { value: '{"__proto__": {"specversion": "1.0"}, "constructor": {}}' }],
        ['json', { headers: { ce_specversion: '1.0', ce_id: 'b' }, value: 'no json' }],
      ];
      const before = (await get<unknown[]>(world, '/api/v1/dead-letters?limit=1000')).length;
      const base = await produce(world, 'data', [...wrong.map(([, message]) => message), { value: value(good) }]);
      await caughtUp(world, 'data');
      const letters = await get<
        { origin: { topic: string; partition: number; offset: string }; reason: string; detail: string }[]
      >(world, '/api/v1/dead-letters?limit=1000');
      expect(letters).toHaveLength(before + wrong.length);
      const reasons = new Map(letters.map((one) => [one.origin.offset, one.reason]));
      expect(wrong.map((_, index) => reasons.get(String(base + BigInt(index))))).toEqual(
        wrong.map(([reason]) => reason),
      );
      for (const { detail } of letters) expect(detail).not.toBe('');

      const dead = await readTopic(world, 'dead-letter', wrong.length);
      const byOffset = new Map(dead.map((one) => [one.headers['refit-offset'], one]));
      for (const [index, [reason, message]] of wrong.entries()) {
        const letter = byOffset.get(String(base + BigInt(index)));
        expect(letter?.headers, reason).toMatchObject({
          'refit-reason': reason,
          'refit-topic': 'data',
          'refit-partition': '0',
          'refit-attempt': '1',
        });
        // The original bytes, so that they can be mended and sent again.
        if (typeof message.value === 'string') expect(letter?.value ?? '').toBe(message.value);
      }
      expect((await shown(world, 'after-all-that')).fates).toMatchObject([{ fate: 'received' }]);
      expect((await get<{ status: string }>(world, '/health')).status).toBe('ok');
    },
    TIMEOUT_MS,
  );

  it(
    'ignores events for a dataset or model that nobody applied, and starts no workflow for them',
    async () => {
      await produce(world, 'data', [{ value: value(arrived('never-applied', 'unknown-dataset')) }]);
      await produce(world, 'drift', [{ value: value(drifted('never-applied', 'unknown-model')) }]);
      await Promise.all([caughtUp(world, 'data'), caughtUp(world, 'drift')]);
      expect((await shown(world, 'unknown-dataset')).fates).toMatchObject([
        { fate: 'ignored', reason: expect.stringMatching(/^no dataset never-applied was ever applied;/) },
      ]);
      expect((await shown(world, 'unknown-model')).fates).toMatchObject([
        { fate: 'ignored', reason: expect.stringMatching(/^no model never-applied was ever applied;/) },
      ]);
      expect(await signals('dataset/never-applied', 'dataArrived')).toBeNull();
      expect(await signals('lifecycle/never-applied', 'eventsArrived')).toBeNull();
    },
    TIMEOUT_MS,
  );

  it(
    'accepts no decision on a run whose workflow does not run: it would count for nothing, and could not be made again',
    async () => {
      const { run, bundleDigest } = await waitingCandidate(world.registry, world.model, 'lost');
      const response = await fetch(`${world.url}/api/v1/runs/${run}/decisions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ actor: 'ana', decision: 'approve', bundleDigest }),
      });
      expect(response.status).toBe(409);
      expect(await response.json()).toMatchObject({
        error: expect.stringMatching(/^.* has no outcome, but its workflow does not run, so nothing was decided: /),
      });
      expect(await world.registry.approval(run)).toMatchObject({ decisions: [], outcome: null });
    },
    TIMEOUT_MS,
  );

  it(
    'signals a known one by reference, many of one batch by one signal, and starts the workflow that is not there',
    async () => {
      const ids = Array.from({ length: 120 }, (_, index) => `burst-${index}`);
      await produce(
        world,
        'drift',
        ids.map((id) => ({ value: value(drifted(world.model, id)) })),
      );
      await caughtUp(world, 'drift');
      const told = (await signals(`lifecycle/${world.model}`, 'eventsArrived')) ?? [];
      expect(told.flat()).toEqual(ids.map((id) => `test/publisher ${id}`));
      expect(told.length).toBeLessThan(10);
    },
    TIMEOUT_MS,
  );

  it(
    'takes another delivery of a known id as a duplicate, and other content under it as refused',
    async () => {
      const event = arrived(world.dataset, 'twice');
      await produce(world, 'data', [
        { value: value(event) },
        { value: value({ ...event, time: '2026-01-05T00:00:00Z' }) },
        { value: value({ ...event, data: { uris: event.data.uris, dataset: world.dataset } }) },
        { value: value(arrived(world.dataset, 'twice', 'file:///data/other.parquet')) },
        { value: value({ ...event, source: 'test/another-publisher' }) },
      ]);
      await caughtUp(world, 'data');
      // Neither the time nor the order of the keys is content; the address of the file is.
      expect((await shown(world, 'twice')).deliveries.map((one) => one.fate)).toEqual([
        null,
        'duplicate',
        'duplicate',
        'refused',
      ]);
      const other = await get<ShownEvent>(
        world,
        `/api/v1/events/show?ref=${encodeURIComponent('test/another-publisher twice')}`,
      );
      expect(other.deliveries).toMatchObject([{ fate: null }]);
      const ambiguous = await fetch(`${world.url}/api/v1/events/show?ref=twice`);
      expect(ambiguous.status).toBe(409);
    },
    TIMEOUT_MS,
  );

  it(
    'takes binary mode as it takes structured mode',
    async () => {
      const { data, ...attributes } = arrived(world.dataset, 'binary');
      const headers = Object.fromEntries(Object.entries(attributes).map(([name, text]) => [`ce_${name}`, text]));
      await produce(world, 'data', [
        { headers: { ...headers, 'content-type': 'application/json' }, value: value(data) },
        { value: value({ ...attributes, data }) },
      ]);
      await caughtUp(world, 'data');
      expect((await shown(world, 'binary')).deliveries.map((one) => one.fate)).toEqual([null, 'duplicate']);
      const answer = await post(world, data, {
        ...Object.fromEntries(
          Object.entries({ ...attributes, id: 'binary-http' }).map(([name, text]) => [`ce-${name}`, text]),
        ),
        'content-type': 'application/json',
      });
      expect(answer).toEqual({ status: 202, body: { accepted: [{ source: 'test/publisher', id: 'binary-http' }] } });
      await until('it came in by the topic', () => shown(world, 'binary-http').catch(() => null));
    },
    TIMEOUT_MS,
  );

  it(
    'stores labels with their event: acted on, without a workflow',
    async () => {
      const labels = (id: string, label: unknown) => ({
        ...{ specversion: '1.0', id, source: 'test/publisher', type: 'dev.refit.labels.arrived.v1' },
        data: { model: world.model, labels: [{ id: 'plant-1', label }] },
      });
      await produce(world, 'labels', [
        { value: value(labels('labels', true)) },
        { value: value(labels('no-labels', { a: 1 })) },
      ]);
      await caughtUp(world, 'labels');
      expect((await shown(world, 'labels')).fates).toMatchObject([{ model: world.model, fate: 'acted_on' }]);
      expect(await world.registry.labelCount(world.model)).toBe(1);
      expect(await signalled(world)).not.toContain('test/publisher labels');
    },
    TIMEOUT_MS,
  );

  it(
    'answers 202 over HTTP once Kafka has all events of a batch, each on the topic of its type under its key',
    async () => {
      const answer = await post(
        world,
        [arrived(world.dataset, 'http-1'), drifted(world.model, 'http-2'), arrived(world.dataset, 'http-3')],
        BATCH,
      );
      expect(answer.status).toBe(202);
      expect(answer.body.accepted?.map((one) => one.id)).toEqual(['http-1', 'http-2', 'http-3']);
      for (const id of ['http-1', 'http-2', 'http-3'])
        await until(id, () => shown(world, id).catch(() => null), 120_000);
      const keys = (await readTopic(world, 'data', 2))
        .filter((one) => one.value?.includes('"http-'))
        .map((one) => one.key);
      expect(keys).toEqual([world.dataset, world.dataset]);
      expect((await post(world, arrived(world.dataset, 'http-1'))).status).toBe(202);
      await until(
        'the repetition came in',
        async () => ((await shown(world, 'http-1')).deliveries.length === 2 ? true : null),
        120_000,
      );
      expect((await shown(world, 'http-1')).deliveries.map((one) => one.fate)).toEqual([null, 'duplicate']);
    },
    TIMEOUT_MS,
  );

  it(
    'answers 400 with the reason for what is no event, and takes none of its batch',
    async () => {
      const good = arrived(world.dataset, 'with-a-bad-one');
      const { end } = await offsets(world, 'data');
      for (const [body, message] of [
        ['{"specversion": ', /JSON/],
        [value({ ...good, specversion: '0.3' }), /event 1 of 1 is malformed \(envelope\): specversion/],
        [value({ ...good, type: 'dev.refit.unknown.v1' }), /malformed \(type\): unknown type dev\.refit\.unknown\.v1/],
        [
          value({ ...good, data: { dataset: world.dataset, uris: ['x'.repeat(3_000)] } }),
          /malformed \(data\): uris\.0/,
        ],
        [value({ ...drifted(world.model, 'big'), comment: 'x'.repeat(MAX_BYTES) }), /larger than 262144 bytes/],
      ] as const) {
        const answer = await post(world, body);
        expect(answer.status, String(message)).toBe(400);
        expect(answer.body.error).toMatch(message);
      }
      const batch = await post(world, [good, { ...good, id: '' }], BATCH);
      expect(batch.status).toBe(400);
      expect(batch.body.error).toMatch(/^event 2 of 2 is malformed \(envelope\): id.*none was taken$/);
      expect((await post(world, 'x'.repeat(MAX_BYTES * 8 + 1))).status).toBe(413);
      expect((await post(world, 'hello', { 'content-type': 'application/xml' })).status).toBe(415);
      expect((await offsets(world, 'data')).end).toBe(end);
      const unknown = await fetch(`${world.url}/api/v2/models`);
      expect([unknown.status, await unknown.json()]).toEqual([
        404,
        { error: 'GET /api/v2/models is not known; GET /openapi.json lists what is' },
      ]);
    },
    TIMEOUT_MS,
  );

  it(
    'serves an OpenAPI document of every path that the CLI uses, and metrics',
    async () => {
      const document = await get<{ openapi: string; paths: Record<string, Record<string, { summary?: string }>> }>(
        world,
        '/openapi.json',
      );
      expect(document.openapi).toMatch(/^3\./);
      const paths = [
        '/events',
        '/health',
        '/api/v1/apply',
        '/api/v1/models/{model}',
        '/api/v1/runs/{run}/decisions',
        '/api/v1/approvals',
        '/api/v1/why',
        '/api/v1/models/{model}/audit/verify',
      ];
      for (const path of paths) expect(Object.keys(document.paths), path).toContain(path);
      for (const [path, methods] of Object.entries(document.paths))
        for (const [method, operation] of Object.entries(methods))
          expect(operation.summary, `${method} ${path}`).toBeTruthy();
      const metrics = await (await fetch(`${world.url}/metrics`)).text();
      for (const one of [
        /^refit_deliveries\{fate="dead_lettered"\} [1-9]/m,
        /^refit_dead_letters_total\{reason="tombstone"\} 1$/m,
        /^refit_inbox_deliveries_total\{fate="duplicate"\} [1-9]/m,
        /^refit_signals_total\{kind="model"\} [1-9]/m,
        /^refit_signalled_events_total\{kind="model"\} 1[2-9]\d$/m,
        /^refit_inbox_batch_records_count [1-9]/m,
        /^refit_inbox_batch_seconds_count [1-9]/m,
        /^refit_consumer_oldest_seconds\{group="gateway",topic="drift",partition="3"\} 0$/m,
        /^refit_consumer_paused\{group="sink",topic="predictions",partition="0"\} 0$/m,
        /^refit_consumer_problem\{group="gateway"\} 0$/m,
        /^refit_outbox_oldest_seconds \d/m,
      ])
        expect(metrics).toMatch(one);
      await until(
        'the lag was asked for',
        async () =>
          /^refit_consumer_lag\{group="gateway",topic="data",partition="0"\} 0$/m.test(
            await (await fetch(`${world.url}/metrics`)).text(),
          ) || null,
      );
    },
    TIMEOUT_MS,
  );

  it(
    'relays the outbox in order for each model, under ids that do not change',
    async () => {
      const count = 600;
      // Of nobody else: what happens to the world's own model is relayed as well.
      const models = [`${world.model}-one`, `${world.model}-two`];
      const at = new Date().toISOString();
      for (let index = 0; index < count; index += 1) {
        for (const model of models)
          await world.registry.emit({ model, type: 'alert.raised', id: `alert-${index}`, data: { index }, at });
      }
      await until('all are marked', async () => ((await world.registry.outbox(1)).length === 0 ? true : null), 30_000);
      const ends = await admin.fetchTopicOffsets(`${world.prefix}lifecycle`);
      const relayed = await readTopic(
        world,
        'lifecycle',
        ends.reduce((sum, { high }) => sum + Number(high), 0),
      );
      for (const model of models) {
        const events = relayed
          .filter((one) => one.key === model)
          .map((one) => JSON.parse(one.value ?? '') as { id: string; type: string; data: { index: number } });
        expect(events.map((one) => one.data.index)).toEqual(Array.from({ length: count }, (_, index) => index));
        expect(new Set(events.map((one) => one.id)).size).toBe(count);
        expect(events[0]?.type).toBe('dev.refit.alert.raised.v1');
      }
    },
    TIMEOUT_MS,
  );

  it(
    'counts each delivery once: what Kafka has is what the registry has',
    async () => {
      const topics = ['data', 'labels', 'drift'];
      await Promise.all(topics.map((topic) => caughtUp(world, topic)));
      const ends = await Promise.all(topics.map(async (topic) => (await offsets(world, topic)).end));
      const { published, counts } = await get<{ published: number; counts: Record<string, number> }>(
        world,
        '/api/v1/events/counts',
      );
      expect(published).toBe(ends.reduce((sum, end) => sum + end, 0));
      expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(published);
    },
    TIMEOUT_MS,
  );
});

describe('an outage', () => {
  it(
    'of Kafka: HTTP answers 503, says that repeating is harmless, and keeps nothing',
    async () => {
      const [port] = await quietPorts(1);
      const world = await makeWorld({ KAFKA_BROKERS: `127.0.0.1:${port}` });
      const bus = await createKafkaBus(world.settings.kafka, logger);
      const unused = (): never => {
        throw new Error('not used by this path');
      };
      const services = { ...world, bus, logger, now: () => new Date() } as unknown as Parameters<typeof createHttp>[0];
      const http = await createHttp(services, unused as never, unused, { contentType: '', text: unused });
      const response = await http.inject({ method: 'POST', url: '/events', payload: arrived(world.dataset, 'lost') });
      expect([response.statusCode, response.json()]).toEqual([
        503,
        { error: expect.stringMatching(/Kafka cannot be reached.*repeating is harmless/) },
      ]);
      expect(await world.registry.events({ limit: 10 })).toEqual([]);
      await http.close();
      await bus.close();
    },
    TIMEOUT_MS,
  );

  it(
    'of Temporal: the offset is held, health says so, nothing is dead-lettered, and it goes on by itself',
    async () => {
      const [port] = await quietPorts(1);
      const world = await makeWorld({ TEMPORAL_ADDRESS: `127.0.0.1:${port}` });
      const gateway = await startGateway(world.settings, logger);
      try {
        await produce(world, 'drift', [{ value: value(drifted(world.model, 'in-the-outage')) }]);
        await until('it is in the inbox', () =>
          world.registry.event('test/publisher in-the-outage').then((one) => one ?? null),
        );
        const health = await fetch(`${world.url}/health`);
        const told = (await health.json()) as { readonly checks: Readonly<Record<string, string>> };
        expect([health.status, told.checks.registry, told.checks.kafka]).toEqual([503, 'ok', 'ok']);
        expect(told.checks.temporal).not.toBe('ok');
        await until(
          'its age is told',
          async () =>
            /^refit_consumer_oldest_seconds\{group="gateway",topic="drift",partition="0"\} [\d.]*[1-9]/m.test(
              await (await fetch(`${world.url}/metrics`)).text(),
            ) || null,
        );
        expect((await offsets(world, 'drift')).committed).toBe(0);
        expect(await get<unknown[]>(world, '/api/v1/dead-letters')).toEqual([]);
        const back = await startProxy(inject('temporalAddress'), port);
        try {
          await caughtUp(world, 'drift');
          expect(await signalled(world)).toEqual(['test/publisher in-the-outage']);
        } finally {
          await back.close();
        }
      } finally {
        await gateway.stop();
      }
    },
    2 * TIMEOUT_MS,
  );

  it(
    'in the middle of the relay: what was published but not marked comes again under the same id, and nothing is left out',
    async () => {
      const world = await makeWorld();
      const bus = await createKafkaBus(world.settings.kafka, logger);
      await bus.ensureTopics();
      const at = new Date().toISOString();
      for (let index = 0; index < 5; index += 1)
        await world.registry.emit({
          model: world.model,
          type: 'alert.raised',
          id: `alert-${index}`,
          data: { index },
          at,
        });
      let isAway = true;
      const flaky = {
        ...world.registry,
        outboxPublished: (sequences: readonly number[], time: string) => {
          if (!isAway) return world.registry.outboxPublished(sequences, time);
          isAway = false;
          return Promise.reject(new Error('the registry is away'));
        },
      };
      const relay = startRelay(flaky, bus, logger, () => new Date());
      const relayed = (await readTopic(world, 'lifecycle', 10)).map(
        (one) => JSON.parse(one.value ?? '') as { id: string; data: { index: number } },
      );
      await relay.stop();
      await bus.close();
      expect(relayed.map((one) => one.data.index)).toEqual([0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
      expect(new Set(relayed.map((one) => one.id)).size).toBe(5);
    },
    TIMEOUT_MS,
  );
});

describe('kill -9 of the gateway', () => {
  const worlds: { readonly end: () => Promise<void> }[] = [];
  afterAll(() => Promise.all(worlds.map((one) => one.end())), TIMEOUT_MS);

  /** A gateway that is killed while Temporal does not get, or does not answer, its signal; then another one, undisturbed. */
  async function killedWhile(holding: 'requests' | 'answers') {
    const proxy = await startProxy(inject('temporalAddress'));
    const world = await makeWorld({ TEMPORAL_ADDRESS: proxy.address });
    const parts: PartProcess[] = [];
    worlds.push({
      end: async () => {
        for (const part of parts) await part.end('SIGKILL');
        await proxy.close();
      },
    });
    const first = await startPart('gateway', { cwd: world.folder, env: world.environment });
    parts.push(first);
    // A connection that stands, and a first event that went all the way.
    await produce(world, 'data', [{ value: value(arrived(world.dataset, 'before')) }]);
    await caughtUp(world, 'data');
    proxy.hold(holding);
    const ids = Array.from({ length: 20 }, (_, index) => `during-${index}`);
    await produce(
      world,
      'data',
      ids.map((id) => ({ value: value(arrived(world.dataset, id)) })),
    );
    await until('the inbox has all of them', async () =>
      (await world.registry.events({ limit: 100 })).length === 21 ? true : null,
    );
    await until('the signal is under way', () => (proxy.held() > 0 ? true : null));
    const keys = ids.map((id) => `test/publisher ${id}`);
    if (holding === 'answers')
      await until('Temporal has the signal', async () =>
        (await signalled(world)).includes(keys.at(-1) ?? '') ? true : null,
      );
    const atKill = { offsets: await offsets(world, 'data'), signalled: await signalled(world) };
    await first.end('SIGKILL');
    parts.push(
      await startPart('gateway', {
        cwd: world.folder,
        env: { ...world.environment, TEMPORAL_ADDRESS: inject('temporalAddress') },
      }),
    );
    await caughtUp(world, 'data');
    return { world, keys, atKill, after: await signalled(world) };
  }

  it(
    'between inbox and signal, and between signal and offset: nothing is lost, and each delivery has one fate',
    async () => {
      const [before, between] = await Promise.all([killedWhile('requests'), killedWhile('answers')]);
      // The offset follows the signal; until then the broker still has them for whoever comes next.
      for (const one of [before, between]) expect(one.atKill.offsets).toEqual({ committed: 1, end: 21 });
      expect(before.atKill.signalled).toEqual(['test/publisher before']);
      expect(between.atKill.signalled).toEqual(['test/publisher before', ...between.keys]);
      for (const { world, keys, after } of [before, between]) {
        expect([...new Set(after)]).toEqual(['test/publisher before', ...keys]);
        const events = await world.registry.events({ limit: 100 });
        expect(events).toHaveLength(21);
        for (const event of events) expect(event.deliveries, event.key).toMatchObject([{ fate: null }]);
        expect(await world.registry.deliveryCounts()).toMatchObject({
          published: 21,
          counts: { received: 21, duplicate: 0 },
        });
      }
      // Signalled once more, which its receiver takes by the registry as the same.
      expect(between.after.filter((key) => key === between.keys[0])).toHaveLength(2);
    },
    2 * TIMEOUT_MS,
  );
});
