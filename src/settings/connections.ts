/** The connections to Temporal and Kafka, under the names that their own SDKs and tools use. */
import { resolve } from 'node:path';
import { SettingsError } from './errors.ts';
import { readBoolean, readHostPort, readText } from './read.ts';
import { Secret } from './secret.ts';
import type { KafkaSaslMechanism, KafkaSettings, TemporalSettings, TemporalTlsSettings } from './types.ts';

const SASL_MECHANISMS: readonly KafkaSaslMechanism[] = ['plain', 'scram-sha-256', 'scram-sha-512'];

/** Known to Temporal's SDKs but not read here: silently ignoring one would connect in another way than was asked. */
const UNSUPPORTED_TLS: Readonly<Record<string, string>> = {
  TEMPORAL_TLS_CLIENT_CERT_DATA: 'TEMPORAL_TLS_CLIENT_CERT_PATH',
  TEMPORAL_TLS_CLIENT_KEY_DATA: 'TEMPORAL_TLS_CLIENT_KEY_PATH',
  TEMPORAL_TLS_SERVER_CA_CERT_DATA: 'TEMPORAL_TLS_SERVER_CA_CERT_PATH',
  TEMPORAL_TLS_DISABLE_HOST_VERIFICATION: 'TEMPORAL_TLS_SERVER_CA_CERT_PATH',
};

export function readTemporal(env: NodeJS.ProcessEnv, cwd: string, localPort: number): TemporalSettings {
  const given = readText(env, 'TEMPORAL_ADDRESS');
  const local = `127.0.0.1:${localPort}`;
  const apiKey = readText(env, 'TEMPORAL_API_KEY');
  const tls = readTemporalTls(env, cwd);
  return {
    address: given === undefined ? local : readHostPort('TEMPORAL_ADDRESS', given, local),
    addressGiven: given !== undefined,
    namespace: readText(env, 'TEMPORAL_NAMESPACE') ?? 'default',
    ...(apiKey === undefined ? {} : { apiKey: new Secret(apiKey) }),
    // An API key must not travel in the clear, so it turns TLS on unless TEMPORAL_TLS says otherwise.
    ...withValue('tls', tls ?? (apiKey !== undefined && readBoolean(env, 'TEMPORAL_TLS') !== false ? {} : undefined)),
  };
}

function readTemporalTls(env: NodeJS.ProcessEnv, cwd: string): TemporalTlsSettings | undefined {
  for (const [variable, instead] of Object.entries(UNSUPPORTED_TLS)) {
    if (readText(env, variable) !== undefined) {
      throw new SettingsError(`${variable} is not supported; use ${instead}, the path of a file`);
    }
  }
  const tls: TemporalTlsSettings = {
    ...withValue('serverName', readText(env, 'TEMPORAL_TLS_SERVER_NAME')),
    ...withValue('caPath', readPath(env, cwd, 'TEMPORAL_TLS_SERVER_CA_CERT_PATH')),
    ...withValue('certPath', readPath(env, cwd, 'TEMPORAL_TLS_CLIENT_CERT_PATH')),
    ...withValue('keyPath', readPath(env, cwd, 'TEMPORAL_TLS_CLIENT_KEY_PATH')),
  };
  requireBoth(tls.certPath, 'TEMPORAL_TLS_CLIENT_CERT_PATH', tls.keyPath, 'TEMPORAL_TLS_CLIENT_KEY_PATH');
  const enabled = readBoolean(env, 'TEMPORAL_TLS') ?? Object.keys(tls).length > 0;
  return enabled ? tls : undefined;
}

export function readKafka(env: NodeJS.ProcessEnv, cwd: string, localPort: number): KafkaSettings {
  const given = readText(env, 'KAFKA_BROKERS');
  const local = `127.0.0.1:${localPort}`;
  const brokers = (given ?? local).split(',').map((broker) => readHostPort('KAFKA_BROKERS', broker.trim(), local));
  const topicPrefix = env.REFIT_TOPIC_PREFIX ?? 'refit.';
  if (!/^[A-Za-z0-9._-]{1,128}$/.test(topicPrefix)) {
    throw new SettingsError(`REFIT_TOPIC_PREFIX is '${topicPrefix}'; it must be letters, digits, '.', '_', '-'`);
  }
  return {
    brokers,
    brokersGiven: given !== undefined,
    clientId: readText(env, 'KAFKA_CLIENT_ID') ?? 'refit',
    ...withValue('sasl', readSasl(env)),
    ...withValue('ssl', readKafkaSsl(env, cwd)),
    topicPrefix,
  };
}

function readSasl(env: NodeJS.ProcessEnv): KafkaSettings['sasl'] {
  const username = readText(env, 'KAFKA_SASL_USERNAME');
  const password = readText(env, 'KAFKA_SASL_PASSWORD');
  const text = readText(env, 'KAFKA_SASL_MECHANISM')?.toLowerCase();
  requireBoth(username, 'KAFKA_SASL_USERNAME', password, 'KAFKA_SASL_PASSWORD');
  if (username === undefined || password === undefined) {
    if (text === undefined) return undefined;
    throw new SettingsError('KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD as well');
  }
  const mechanism = SASL_MECHANISMS.find((known) => known === (text ?? 'plain'));
  if (mechanism === undefined) {
    throw new SettingsError(`KAFKA_SASL_MECHANISM is '${text}'; it must be one of ${SASL_MECHANISMS.join(', ')}`);
  }
  return { mechanism, username, password: new Secret(password) };
}

function readKafkaSsl(env: NodeJS.ProcessEnv, cwd: string): KafkaSettings['ssl'] {
  const ssl = {
    ...withValue('caPath', readPath(env, cwd, 'KAFKA_SSL_CA_PATH')),
    ...withValue('certPath', readPath(env, cwd, 'KAFKA_SSL_CERT_PATH')),
    ...withValue('keyPath', readPath(env, cwd, 'KAFKA_SSL_KEY_PATH')),
  };
  requireBoth(ssl.certPath, 'KAFKA_SSL_CERT_PATH', ssl.keyPath, 'KAFKA_SSL_KEY_PATH');
  const enabled = readBoolean(env, 'KAFKA_SSL') ?? Object.keys(ssl).length > 0;
  return enabled ? ssl : undefined;
}

function readPath(env: NodeJS.ProcessEnv, cwd: string, variable: string): string | undefined {
  const path = readText(env, variable);
  return path === undefined ? undefined : resolve(cwd, path);
}

function requireBoth(one: string | undefined, oneName: string, other: string | undefined, otherName: string): void {
  if ((one === undefined) !== (other === undefined)) {
    throw new SettingsError(`${oneName} and ${otherName} belong together; set both or neither`);
  }
}

/** Leaves the key out when there is no value, as `exactOptionalPropertyTypes` wants. */
function withValue<Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } {
  return value === undefined ? {} : ({ [key]: value } as { [K in Key]?: Value });
}
