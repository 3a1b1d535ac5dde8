/** The tests' real Temporal server, in a namespace of the test file's own: workers of one file never see workflows of another. */
import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { afterAll, beforeAll, inject } from 'vitest';
import { newNamespace } from './namespace.ts';
import { Loop } from './workflow-loop.ts';
import { quietRuntime } from './workflow-runtime.ts';

/** A new namespace on it; what is opened is noted in `closing`, to be closed in reverse. */
export async function connectDev(closing: (() => Promise<unknown>)[]) {
  quietRuntime();
  const address = inject('temporalAddress');
  const namespace = await newNamespace(address);
  const connection = await Connection.connect({ address });
  closing.push(() => connection.close());
  const native = await NativeConnection.connect({ address });
  closing.push(() => native.close());
  return { client: new Client({ connection, namespace }), native, namespace };
}

export function onDevServer(): () => Loop {
  const closing: (() => Promise<unknown>)[] = [];
  let loop: Loop | undefined;
  beforeAll(async () => {
    const { client, native, namespace } = await connectDev(closing);
    loop = await Loop.start({ client, connection: native, namespace, nowMs: async () => Date.now() });
    closing.push(() => loop?.stop() ?? Promise.resolve());
  });
  afterAll(async () => {
    for (const close of closing.reverse()) await close();
  });
  return () => {
    if (!loop) throw new Error('the loop has not started');
    return loop;
  };
}
