/** Records of other languages' clients, in each compression and both modes, are taken as they were sent. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type Part, startGateway } from '../../src/gateway/gateway.ts';
import { ROOT } from '../support/e2e-refit.ts';
import {
  caughtUp,
  drifted,
  get,
  logger,
  makeWorld,
  TIMEOUT_MS,
  useGatewayWorlds,
  type World,
} from '../support/gateway-world.ts';

useGatewayWorlds();

const { CompressionCodecs, CompressionTypes } = kafkajs;
const COMPRESSIONS = {
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
} as const;
const NAMES = ['none', ...(Object.keys(COMPRESSIONS) as (keyof typeof COMPRESSIONS)[])] as const;
const CLIENTS = join(ROOT, 'tests', 'support', 'clients');
/** In each compression and client: half of them in binary mode. */
const COUNT = 60;

let world: World;
let gateway: Part;
/** How often each compression was unpacked: proof that clients did compress. */
const unpacked = new Map<number, number>();
beforeAll(async () => {
  world = await makeWorld();
  gateway = await startGateway(world.settings, logger);
  for (const type of Object.values(COMPRESSIONS)) {
    const make = CompressionCodecs[type] as () => {
      compress: unknown;
      decompress: (packed: Buffer) => Promise<Buffer>;
    };
    CompressionCodecs[type] = () => {
      unpacked.set(type, (unpacked.get(type) ?? 0) + 1);
      return make();
    };
  }
}, TIMEOUT_MS);
afterAll(() => gateway?.stop(), TIMEOUT_MS);

interface Sent {
  readonly key: string;
  readonly value: string;
  readonly partition: number;
  readonly headers: readonly (readonly [string, string | null])[];
}

/** Some are large, some not, so that compressions have runs, copies and literals to keep apart. */
function records(client: string, compression: string): readonly Sent[] {
  return Array.from({ length: COUNT }, (_, index) => {
    const { data, ...attributes } = drifted(world.model, `${client}-${compression}-${index}`, {
      reportUri: `https://example.org/${'säule-'.repeat(index * 40)}${index ** 7}`,
    });
    const isBinary = index % 2 === 0;
    const body = JSON.stringify(isBinary ? data : { ...attributes, data });
    const ce = Object.entries(attributes).map(([name, text]) => [`ce_${name}`, String(text)] as const);
    return {
      key: world.model,
      value: Buffer.from(body).toString('base64'),
      partition: 0,
      headers: isBinary
        ? [...ce, ['content-type', 'application/json'], ['x-nothing', null]]
        : [['Content-Type', 'application/cloudevents+json; charset=UTF-8']],
    };
  });
}

function run(command: string, args: readonly string[], input: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`${command} ended with ${code}: ${said}`))));
    child.stdin.end(JSON.stringify(input));
  });
}

async function allTaken(client: string): Promise<void> {
  await caughtUp(world, 'drift');
  expect(await get(world, '/api/v1/dead-letters')).toEqual([]);
  for (const compression of NAMES)
    for (const [index, sent] of records(client, compression).entries()) {
      const event = await world.registry.event(`test/publisher ${client}-${compression}-${index}`);
      expect(event?.deliveries, `${client} ${compression} ${index}`).toMatchObject([{ fate: null }]);
      const body = JSON.parse(Buffer.from(sent.value, 'base64').toString()) as {
        reportUri?: string;
        data?: { reportUri: string };
      };
      expect((JSON.parse(event?.body ?? '') as { data: { reportUri: string } }).data.reportUri).toBe(
        body.data?.reportUri ?? body.reportUri,
      );
    }
}

describe('what other clients send', () => {
  it(
    'librdkafka, in each compression',
    async () => {
      unpacked.clear();
      for (const name of NAMES)
        await run(
          inject('kafkaPythonPath'),
          [join(CLIENTS, 'produce.py'), inject('kafkaBrokers'), `${world.prefix}drift`, name],
          records('python', name),
        );
      await allTaken('python');
      for (const [name, type] of Object.entries(COMPRESSIONS)) expect(unpacked.get(type), name).toBeGreaterThan(0);
    },
    2 * TIMEOUT_MS,
  );

  it(
    'the Java client, in each compression',
    async () => {
      unpacked.clear();
      const args = ['-cp', join(inject('kafkaLibFolder'), '*'), join(CLIENTS, 'Produce.java')];
      const input = Object.fromEntries(NAMES.map((name) => [name, records('java', name)]));
      await run('java', [...args, inject('kafkaBrokers'), `${world.prefix}drift`], input);
      await allTaken('java');
      for (const [name, type] of Object.entries(COMPRESSIONS)) expect(unpacked.get(type), name).toBeGreaterThan(0);
    },
    2 * TIMEOUT_MS,
  );
});
