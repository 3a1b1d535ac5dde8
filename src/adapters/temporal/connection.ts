/** Connections to Temporal, for clients and for workers, from the same settings. */
import { readFile } from 'node:fs/promises';
import { Client, Connection, type TLSConfig } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import type { TemporalSettings } from '../../settings.ts';

async function tlsOf(settings: TemporalSettings): Promise<TLSConfig | undefined> {
  const { tls } = settings;
  if (!tls) return undefined;
  return {
    ...(tls.serverName === undefined ? {} : { serverNameOverride: tls.serverName }),
    ...(tls.caPath === undefined ? {} : { serverRootCACertificate: await readFile(tls.caPath) }),
    ...(tls.certPath === undefined || tls.keyPath === undefined
      ? {}
      : { clientCertPair: { crt: await readFile(tls.certPath), key: await readFile(tls.keyPath) } }),
  };
}

async function optionsOf(settings: TemporalSettings) {
  const tls = await tlsOf(settings);
  return {
    address: settings.address,
    ...(tls === undefined ? {} : { tls }),
    ...(settings.apiKey === undefined ? {} : { apiKey: settings.apiKey.reveal() }),
  };
}

/** Lazy: a server that is away now is an outage for each call, not for the start. */
export async function connectClient(settings: TemporalSettings): Promise<Client> {
  return new Client({ connection: Connection.lazy(await optionsOf(settings)), namespace: settings.namespace });
}

export async function connectWorker(settings: TemporalSettings): Promise<NativeConnection> {
  return NativeConnection.connect(await optionsOf(settings));
}
