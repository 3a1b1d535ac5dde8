/** From Refit's settings to those of kafkajs. */
import { readFile } from 'node:fs/promises';
import { type KafkaConfig, logLevel } from 'kafkajs';
import type { Logger } from 'pino';
import type { KafkaSettings } from '../../settings.ts';

export async function configOf(settings: KafkaSettings, logger: Logger): Promise<KafkaConfig> {
  const { ssl, sasl } = settings;
  return {
    clientId: settings.clientId,
    brokers: [...settings.brokers],
    retry: { initialRetryTime: 100, maxRetryTime: 5_000, retries: 5 },
    logLevel: logLevel.ERROR,
    logCreator:
      () =>
      ({ log }) => {
        logger.debug({ kafka: log }, log.message);
      },
    ...(ssl === undefined
      ? {}
      : {
          ssl: {
            ...(ssl.caPath === undefined ? {} : { ca: [await readFile(ssl.caPath, 'utf8')] }),
            ...(ssl.certPath === undefined ? {} : { cert: await readFile(ssl.certPath, 'utf8') }),
            ...(ssl.keyPath === undefined ? {} : { key: await readFile(ssl.keyPath, 'utf8') }),
          },
        }),
    ...(sasl === undefined ? {} : { sasl: saslOf(sasl) }),
  };
}

/** One object a mechanism: kafkajs tells them apart by type. */
function saslOf({
  mechanism,
  username,
  password,
}: NonNullable<KafkaSettings['sasl']>): NonNullable<KafkaConfig['sasl']> {
  const given = { username, password: password.reveal() };
  switch (mechanism) {
    case 'plain':
      return { mechanism: 'plain', ...given };
    case 'scram-sha-256':
      return { mechanism: 'scram-sha-256', ...given };
    case 'scram-sha-512':
      return { mechanism: 'scram-sha-512', ...given };
  }
}
