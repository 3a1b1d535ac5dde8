/** A server that speaks S3, for tests: moto's, in memory. Each test file has a bucket of its own. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { createS3Client, type S3Client } from '../../src/adapters/s3/client.ts';
import { Secret } from '../../src/settings/secret.ts';
import type { S3Settings } from '../../src/settings/types.ts';

const START_MS = 60_000;

export async function startS3(python: string, port: number): Promise<{ url: string; stop: () => Promise<void> }> {
  const url = `http://127.0.0.1:${port}`;
  const server = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH, LANG: 'C.UTF-8' },
  });
  let said = '';
  server.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4_000);
  });
  for (const deadline = Date.now() + START_MS; ; await sleep(50)) {
    try {
      await (await fetch(`${url}/moto-api/`)).arrayBuffer();
      break;
    } catch (error) {
      if (server.exitCode !== null || Date.now() > deadline)
        throw new Error(`the test's S3 server did not start: ${said}`, { cause: error });
    }
  }
  return {
    url,
    async stop() {
      if (server.exitCode !== null || server.signalCode !== null) return;
      const closed = once(server, 'close');
      server.kill('SIGKILL');
      await closed;
    },
  };
}

export const s3Settings = (endpoint: string): S3Settings => ({
  region: 'us-east-1',
  endpoint,
  credentials: { accessKeyId: 'tests', secretAccessKey: new Secret('of-the-tests') },
});

export interface TestBucket {
  readonly bucket: string;
  readonly settings: S3Settings;
  readonly client: S3Client;
}

export async function newBucket(endpoint: string): Promise<TestBucket> {
  const bucket = `tests-${randomUUID()}`;
  const made = await fetch(`${endpoint}/${bucket}`, { method: 'PUT' });
  if (!made.ok) throw new Error(`no bucket was made: ${made.status} ${await made.text()}`);
  const settings = s3Settings(endpoint);
  return { bucket, settings, client: createS3Client(settings) };
}
