/** Real calls that tell whether a service answers; used by readiness and by `doctor`. */
import { readFile } from 'node:fs/promises';
import { Connection } from '@temporalio/client';
import { Kafka, logLevel } from 'kafkajs';
import type { KafkaSettings, TemporalSettings } from '../settings/types.ts';
import { ensureSearchAttributes, missingSearchAttributes } from './search-attributes.ts';

const CALL_TIMEOUT_MS = 3_000;

async function withTemporal<T>(settings: TemporalSettings, work: (connection: Connection) => Promise<T>): Promise<T> {
  const { tls } = settings;
  const read = async (path: string | undefined) => (path === undefined ? undefined : await readFile(path));
  const [ca, crt, key] = tls === undefined ? [] : await Promise.all([tls.caPath, tls.certPath, tls.keyPath].map(read));
  const connection = await Connection.connect({
    address: settings.address,
    connectTimeout: CALL_TIMEOUT_MS,
    ...(settings.apiKey === undefined ? {} : { apiKey: settings.apiKey.reveal() }),
    ...(tls === undefined
      ? {}
      : {
          tls: {
            ...(tls.serverName === undefined ? {} : { serverNameOverride: tls.serverName }),
            ...(ca === undefined ? {} : { serverRootCACertificate: ca }),
            ...(crt === undefined || key === undefined ? {} : { clientCertPair: { crt, key } }),
          },
        }),
  });
  try {
    return await connection.withDeadline(Date.now() + CALL_TIMEOUT_MS, () => work(connection));
  } finally {
    await connection.close();
  }
}

/** The namespace is there and the search attributes are registered: only then can a workflow start. */
export function prepareTemporal(settings: TemporalSettings): Promise<true> {
  return withTemporal<true>(settings, async (connection) => {
    await connection.workflowService.describeNamespace({ namespace: settings.namespace });
    await ensureSearchAttributes(connection, settings.namespace);
    return true;
  });
}

/** The missing search attributes; throws when the server or the namespace does not answer. */
export function checkTemporal(settings: TemporalSettings): Promise<string[]> {
  return withTemporal(settings, async (connection) => {
    await connection.workflowService.describeNamespace({ namespace: settings.namespace });
    return missingSearchAttributes(connection, settings.namespace);
  });
}

/** The number of brokers; throws when none answers. */
export async function checkKafka(settings: KafkaSettings): Promise<number> {
  const { ssl, sasl } = settings;
  const read = async (path: string | undefined) => (path === undefined ? undefined : await readFile(path, 'utf8'));
  const [ca, cert, key] = ssl === undefined ? [] : await Promise.all([ssl.caPath, ssl.certPath, ssl.keyPath].map(read));
  const credentials = sasl === undefined ? undefined : { username: sasl.username, password: sasl.password.reveal() };
  const kafka = new Kafka({
    clientId: `${settings.clientId}-probe`,
    brokers: [...settings.brokers],
    logLevel: logLevel.NOTHING,
    connectionTimeout: CALL_TIMEOUT_MS,
    requestTimeout: CALL_TIMEOUT_MS,
    retry: { retries: 0 },
    ...(ssl === undefined
      ? {}
      : {
          ssl: {
            ...(ca === undefined ? {} : { ca: [ca] }),
            ...(cert === undefined || key === undefined ? {} : { cert, key }),
          },
        }),
    ...(sasl === undefined || credentials === undefined
      ? {}
      : {
          sasl:
            sasl.mechanism === 'plain'
              ? { mechanism: 'plain' as const, ...credentials }
              : sasl.mechanism === 'scram-sha-256'
                ? { mechanism: 'scram-sha-256' as const, ...credentials }
                : { mechanism: 'scram-sha-512' as const, ...credentials },
        }),
  });
  const admin = kafka.admin();
  try {
    await admin.connect();
    const { brokers } = await admin.describeCluster();
    // A broker that still starts has a cluster of none; a topic could not be created yet.
    if (brokers.length === 0) throw new Error('the cluster has no live broker yet');
    return brokers.length;
  } finally {
    await admin.disconnect();
  }
}

/** Any 2xx answer. */
export async function answersHttp(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
  await response.arrayBuffer();
  return response.ok;
}
