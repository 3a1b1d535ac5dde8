/** One trace from the command that publishes to the plan that serves, as a collector sees it; and none where no collector is named. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { until } from '../support/e2e-refit.ts';
import { copyProject, E2eStack, writeGarden } from '../support/e2e-stack.ts';

interface Span {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly service: string;
  readonly links: readonly { readonly traceId: string }[];
}
interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly { key: string; value: { stringValue?: string } }[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly (Omit<Span, 'service' | 'links'> & { links?: Span['links'] })[];
    }[];
  }[];
}

// How long it takes is not what is proven here, and the machine may be busy.
const MINUTES_MS = 60_000;
const spans: Span[] = [];
let collector: Server;
let stack: E2eStack;
let project: string;

/** OTLP over HTTP with JSON, as the protocol has it. */
function collect(body: string): void {
  for (const { resource, scopeSpans } of (JSON.parse(body) as Export).resourceSpans) {
    const service = resource.attributes.find(({ key }) => key === 'service.name')?.value.stringValue ?? '';
    for (const span of scopeSpans.flatMap((scope) => scope.spans))
      spans.push({ ...span, service, links: span.links ?? [] });
  }
}

beforeAll(async () => {
  collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.url === '/v1/traces') collect(Buffer.concat(chunks).toString('utf8'));
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  const { port } = collector.address() as AddressInfo;
  stack = await E2eStack.create(inject('pythonPath'), {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_BSP_SCHEDULE_DELAY: '200',
  });
  project = await copyProject('gardens', stack.folder);
  await writeGarden(join(project, 'data', 'pots.csv'), 0, 2_000);
  await stack.up();
}, 10 * MINUTES_MS);
afterAll(async () => {
  await stack?.close();
  await new Promise((resolve) => collector.close(resolve));
}, 10 * MINUTES_MS);

const named = (name: string): Span | undefined => spans.find((span) => span.name === name);

it(
  'one trace from the publisher over Kafka, gateway, workflows and activities to the plan',
  async () => {
    await stack.refit('apply', project, '--as', 'dev');
    await stack.refit('publish', 'data', 'pots', join(project, 'data', 'pots.csv'));
    await stack.waits('heights', 1);
    await stack.refit('approve', 'heights-000001', '--as', 'ana');
    await stack.champion('heights', 1);
    const expected = [
      ...['publish', 'receive data', 'signal dataset', 'activity ingest', 'activity deliver', 'signal lifecycle'],
      ...[
        'activity admitEvents',
        'activity openRun',
        'activity buildSnapshot',
        'activity train',
        'activity evaluateRun',
      ],
      ...['activity registerVersion', 'activity openRollout', 'activity promote'],
    ];
    // Each part sends its own spans when it has some: a child may come before its parent.
    const hanging = (): readonly string[] => {
      const ids = new Set(spans.map(({ spanId }) => spanId));
      return spans
        .filter(({ parentSpanId }) => parentSpanId && !ids.has(parentSpanId))
        .map(({ name }) => `parent of ${name}`);
    };
    const missing = (): readonly string[] => [...expected.filter((name) => !named(name)), ...hanging()];
    await until(
      'the collector has all spans',
      async () => (missing().length === 0 ? true : null),
      300_000,
      async () =>
        `missing ${missing().join(', ')}; there are ${[...new Set(spans.map(({ name }) => name))].join(', ')}`,
    );
    const published = named('publish');
    expect(published?.service).toBe('refit-cli');
    const own = spans.filter(({ traceId }) => traceId === published?.traceId);
    expect(expected.filter((name) => !own.some((span) => span.name === name))).toEqual([]);
    expect(named('receive data')).toMatchObject({ service: 'refit-gateway', parentSpanId: published?.spanId });
    expect(named('activity train')?.service).toBe('refit-worker');
    // No event is behind what a person applied.
    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set([published?.traceId]));
  },
  10 * MINUTES_MS,
);

it(
  'an event carries the trace of its publisher on to what follows',
  async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const before = spans.length;
    const drift = ['publish', 'drift', 'heights', '--feature', 'x', '--score', '1', '--verdict', 'suspected'];
    await stack.withEnvironment({ TRACEPARENT: traceparent, OTEL_SDK_DISABLED: 'true' }).refit(...drift);
    await until(
      'its spans',
      async () =>
        spans.some(({ name, traceId }) => name === 'receive drift' && traceId === traceparent.slice(3, 35)) || null,
    );
    expect(spans.slice(before).filter(({ service }) => service === 'refit-cli')).toEqual([]);
  },
  10 * MINUTES_MS,
);
