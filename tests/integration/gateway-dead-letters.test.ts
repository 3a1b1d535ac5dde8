/** Dead letters are listed with what they were to be, and sent again once: as they were, or mended, as the next attempt of the same event. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Message } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Part, startGateway } from '../../src/gateway/gateway.ts';
import type { RetryAnswer } from '../../src/gateway/retry.ts';
import type { ShownEvent } from '../../src/gateway/routes/events.ts';
import type { DeadLetterRecord } from '../../src/ports/registry/events.ts';
import { type Ended, runRefit, until } from '../support/e2e-refit.ts';
import {
  admin,
  arrived,
  caughtUp,
  drifted,
  get,
  logger,
  makeWorld,
  produce,
  readTopic,
  TIMEOUT_MS,
  useGatewayWorlds,
  value,
  type World,
} from '../support/gateway-world.ts';

useGatewayWorlds();

let world: World;
let gateway: Part;
beforeAll(async () => {
  world = await makeWorld();
  gateway = await startGateway(world.settings, logger);
}, TIMEOUT_MS);
afterAll(() => gateway?.stop(), TIMEOUT_MS);

const refit = (...args: readonly string[]): Promise<Ended> =>
  runRefit(args, { cwd: world.folder, env: { ...world.environment, REFIT_URL: world.url } });
async function retried(...args: readonly string[]): Promise<{ code: number; answers: readonly RetryAnswer[] }> {
  const ended = await refit('events', 'dead-letters', 'retry', ...args, '--json');
  if (ended.code > 1) throw new Error(ended.stderr);
  return { code: ended.code, answers: JSON.parse(ended.stdout) as RetryAnswer[] };
}
async function letters(): Promise<ReadonlyMap<string, DeadLetterRecord>> {
  const ended = await refit('events', 'dead-letters', '--json');
  const found = JSON.parse(ended.stdout) as DeadLetterRecord[];
  return new Map(found.map((one) => [`${one.origin.topic}/${one.origin.partition}/${one.origin.offset}`, one]));
}
const shown = async (id: string): Promise<ShownEvent> =>
  JSON.parse((await refit('events', 'show', `test/publisher ${id}`, '--json')).stdout) as ShownEvent;
/** Produces a record that is dead at once; gives its origin. */
async function dead(topic: 'data' | 'drift', message: Omit<Message, 'partition'>): Promise<string> {
  const offset = await produce(world, topic, [message]);
  await caughtUp(world, topic);
  return `${topic}/0/${offset}`;
}
async function mendedFile(name: string, event: object): Promise<string> {
  await writeFile(join(world.folder, name), value(event));
  return name;
}

describe('a dead letter', () => {
  it(
    'is mended and becomes attempt 2 of the same event; a second retry is told what became of the first',
    async () => {
      const event = arrived(world.dataset, 'to-mend');
      const origin = await dead('data', { value: value({ ...event, data: { dataset: world.dataset, uris: [] } }) });
      expect((await letters()).get(origin)).toMatchObject({
        reason: 'data',
        attempt: 1,
        identity: { source: 'test/publisher', id: 'to-mend' },
        retries: [],
      });
      const unmended = await retried(origin);
      expect(unmended.code).toBe(1);
      expect(unmended.answers[0]?.reason).toMatch(/^is no event \(data\): uris.*--file/);
      const other = await retried(origin, '--file', await mendedFile('other.json', { ...event, id: 'another' }));
      expect(other).toMatchObject({
        code: 1,
        answers: [{ reason: expect.stringMatching(/^is to-mend of test\/publisher, but the mended event is another/) }],
      });
      const file = await mendedFile('mended.json', event);
      expect(await retried(origin, '--file', file, '--dry-run')).toMatchObject({
        code: 0,
        answers: [{ status: 'would_send', attempt: 2 }],
      });
      const { code, answers } = await retried(origin, '--file', file);
      expect([code, answers]).toMatchObject([0, [{ origin, status: 'sent', attempt: 2, reason: 'taken in' }]]);
      expect(await shown('to-mend')).toMatchObject({
        attempts: 2,
        fates: [{ fate: 'received' }],
        deliveries: [{ attempt: 2, retryOf: { topic: 'data', partition: 0 }, fate: null }],
      });
      const again = await retried(origin, '--file', file);
      expect(again.code).toBe(1);
      expect(again.answers[0]?.reason).toContain(`was sent again already, as ${answers[0]?.delivery}`);
      expect((await letters()).get(origin)?.retries).toHaveLength(1);
    },
    2 * TIMEOUT_MS,
  );

  it(
    'that two send at once is sent once',
    async () => {
      const origin = await dead('data', { value: value(drifted(world.model, 'raced')) });
      const ask = (): Promise<readonly RetryAnswer[]> =>
        fetch(`${world.url}/api/v1/dead-letters/retry`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ origins: [origin] }),
        }).then(async (response) => (await response.json()) as RetryAnswer[]);
      const answers = (await Promise.all([ask(), ask(), ask()])).flat();
      expect(answers.map((one) => one.status).sort()).toEqual(['refused', 'refused', 'sent']);
      await caughtUp(world, 'drift');
      // It came on the wrong topic: to be sent to that of its type is all the mending it needs.
      expect(await shown('raced')).toMatchObject({
        attempts: 2,
        deliveries: [{ origin: { topic: 'drift' }, retryOf: { topic: 'data' } }],
      });
    },
    TIMEOUT_MS,
  );

  it(
    'that is mended wrongly is a dead letter again, as the next attempt, and that one is retried in its place',
    async () => {
      const event = arrived(world.dataset, 'thrice');
      const first = await dead('data', { value: value({ ...event, type: 'dev.refit.unknown.v1' }) });
      // As a publisher does who does not wait for the gateway to judge it.
      const headers = { 'refit-attempt': '2', 'refit-retry-of': first };
      const second = await dead('data', { value: value({ ...event, subject: '' }), headers });
      expect((await letters()).get(second)).toMatchObject({ attempt: 2 });
      const file = await mendedFile('thrice.json', event);
      const early = await retried(first, '--file', file);
      expect(early.answers[0]?.reason).toContain(`was sent again as ${second}, which is a dead letter too`);
      expect((await retried(second, '--file', file)).answers).toMatchObject([{ status: 'sent', attempt: 3 }]);
      expect(await shown('thrice')).toMatchObject({ attempts: 3 });
      expect((await letters()).get(second)?.retries).toMatchObject([{ fate: null }]);
    },
    2 * TIMEOUT_MS,
  );

  it(
    'in binary mode keeps the headers of its publisher, and is read from the dead-letter topic once its origin has dropped it',
    async () => {
      const { data, ...attributes } = drifted(world.model, 'binary-dead');
      const headers = {
        ...Object.fromEntries(Object.entries(attributes).map(([name, text]) => [`ce_${name}`, text])),
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      };
      const origin = await dead('data', { headers, value: JSON.stringify(data) });
      await admin.deleteTopicRecords({
        topic: `${world.prefix}data`,
        partitions: [{ partition: 0, offset: String(BigInt(origin.split('/').at(-1) ?? 0) + 1n) }],
      });
      expect((await retried(origin)).answers).toMatchObject([{ status: 'sent', attempt: 2 }]);
      expect(await shown('binary-dead')).toMatchObject({ type: 'dev.refit.drift.detected.v1', attempts: 2 });
      const told = (await readTopic(world, 'dead-letter', 1)).find((one) => one.headers.ce_id === 'binary-dead');
      expect(told?.headers).toMatchObject({ traceparent: headers.traceparent, 'refit-reason': 'topic' });
    },
    TIMEOUT_MS,
  );

  it(
    'that is larger than the dead-letter topic takes leaves its bytes at its origin, and holds nobody up',
    async () => {
      await admin.alterConfigs({
        validateOnly: false,
        resources: [
          { type: 2, name: `${world.prefix}data`, configEntries: [{ name: 'max.message.bytes', value: '8000000' }] },
        ],
      });
      const origin = await dead('data', { value: 'x'.repeat(3_000_000) });
      await dead('data', { value: value(arrived(world.dataset, 'behind-the-large-one')) });
      expect((await letters()).get(origin)).toMatchObject({ reason: 'oversized' });
      const found = await until('it is on the topic', async () => {
        const all = await readTopic(world, 'dead-letter', 1);
        return all.find((one) => one.headers['refit-value'] === 'at-origin') ?? null;
      });
      expect(found.value).toBe('');
      expect(await shown('behind-the-large-one')).toMatchObject({ fates: [{ fate: 'received' }] });
    },
    TIMEOUT_MS,
  );

  it(
    'is retried together with all others of its reason, and what cannot be sent is told',
    async () => {
      const ids = ['all-1', 'all-2', 'all-3'];
      for (const id of ids) await dead('data', { value: value(drifted(world.model, id)) });
      const { code, answers } = await retried('--all', '--reason', 'topic');
      expect([code, answers.map((one) => one.status)]).toEqual([0, ['sent', 'sent', 'sent']]);
      for (const id of ids) expect(await shown(id)).toMatchObject({ attempts: 2 });
      expect((await retried('--all', '--reason', 'topic')).answers).toEqual([]);
      expect((await refit('events', 'retry', 'data/0/99999')).stdout).toContain('no dead letter came from there');
      for (const [args, message] of [
        [[], /name dead letters by their origins, or give --all/],
        [['data/0/1', '--all'], /name dead letters by their origins, or give --all/],
        [['data/0/1', 'data/0/2', '--file', 'x.json'], /--file stands in for exactly one/],
      ] as const) {
        const ended = await refit('events', 'retry', ...args);
        expect([ended.code, ended.stderr]).toEqual([2, expect.stringMatching(message)]);
      }
    },
    2 * TIMEOUT_MS,
  );
});

describe('the list of events', () => {
  it(
    'is narrowed by type and time, comes in pages, and says how long a fate took and how long it is kept',
    async () => {
      await produce(world, 'drift', [
        { value: value(drifted('never-applied', 'listed-1')) },
        { value: value(drifted('never-applied', 'listed-2')) },
      ]);
      await caughtUp(world, 'drift');
      const list = async (...args: readonly string[]): Promise<readonly ShownEvent[]> =>
        JSON.parse((await refit('events', 'list', ...args, '--json')).stdout) as ShownEvent[];
      const [newest, next] = await list('--type', 'drift', '--limit', '2', '--since', '1h');
      expect([newest?.id, next?.id]).toEqual(['listed-2', 'listed-1']);
      expect(newest?.fates).toMatchObject([{ fate: 'ignored', latencyMs: expect.any(Number) }]);
      const kept = Date.parse(newest?.expiresAt ?? '') - Date.parse(newest?.receivedAt ?? '');
      expect(kept).toBe(400 * 86_400_000);
      const page = await list('--type', 'drift', '--before', 'test/publisher listed-2', '--limit', '1');
      expect(page.map((one) => one.id)).toEqual(['listed-1']);
      expect(await list('--since', '2999-01-01T00:00:00Z')).toEqual([]);
      const wrong = await refit('events', 'list', '--since', 'lately');
      expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringMatching(/--since is 'lately'; it must be a time/)]);
      expect((await get<ShownEvent>(world, '/api/v1/events/show?ref=test/publisher%20listed-1')).settled).toBe(true);
    },
    TIMEOUT_MS,
  );
});
