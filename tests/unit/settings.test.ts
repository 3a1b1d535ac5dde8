/** Settings: defaults, every variable, errors that name the variable, and secrets that cannot be printed. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeSettings, filePathOf, parseSettings } from '../../src/settings.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'refit-settings-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('defaults', () => {
  it('puts the home beside the nearest project marker upward', () => {
    const deep = join(folder, 'a', 'b');
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(folder, 'refit.yaml'), '');
    expect(parseSettings({}, deep).home).toBe(join(folder, '.refit'));
  });

  it('has the documented ports, addresses and stores', () => {
    writeFileSync(join(folder, 'package.json'), '{}');
    const settings = parseSettings({}, folder);
    expect(settings).toMatchObject({
      url: 'http://127.0.0.1:8090',
      actor: undefined,
      temporal: { address: '127.0.0.1:7233', addressGiven: false, namespace: 'default' },
      kafka: { brokers: ['127.0.0.1:9092'], brokersGiven: false, clientId: 'refit', topicPrefix: 'refit.' },
      artifactsUrl: `file:${join(folder, '.refit', 'artifacts')}`,
      dataRoots: [],
      ports: { temporal: 7233, temporalUi: 8233, kafka: 9092, gateway: 8090, serve: 8080 },
      logLevel: 'info',
    });
    expect(filePathOf(settings.databaseUrl.reveal())).toBe(join(folder, '.refit', 'refit.db'));
  });

  it('follows the port settings in the addresses derived from them', () => {
    const settings = parseSettings(
      { REFIT_TEMPORAL_PORT: '17233', REFIT_KAFKA_PORT: '19092', REFIT_GATEWAY_PORT: '18090' },
      folder,
    );
    expect(settings.temporal.address).toBe('127.0.0.1:17233');
    expect(settings.kafka.brokers).toEqual(['127.0.0.1:19092']);
    expect(settings.url).toBe('http://127.0.0.1:18090');
  });

  it('treats an empty variable as not set', () => {
    expect(parseSettings({ TEMPORAL_ADDRESS: ' ', REFIT_GATEWAY_PORT: '' }, folder).temporal.addressGiven).toBe(false);
  });
});

describe('given values', () => {
  it('reads addresses, stores and roots relative to the working directory', () => {
    const settings = parseSettings(
      {
        REFIT_HOME: 'state',
        REFIT_URL: 'https://refit.example/api/',
        TEMPORAL_ADDRESS: 'temporal.example:7233',
        KAFKA_BROKERS: 'one:9092, two:9093',
        REFIT_DATABASE_URL: 'file:reg.db',
        REFIT_ARTIFACTS_URL: `file://${join(folder, 'store')}`,
        REFIT_DATA_ROOTS: ['data', '/srv/data'].join(delimiter),
        REFIT_PYTHON: './venv/bin/python',
      },
      folder,
    );
    expect(settings.home).toBe(join(folder, 'state'));
    expect(settings.url).toBe('https://refit.example/api');
    expect(settings.temporal).toMatchObject({ address: 'temporal.example:7233', addressGiven: true });
    expect(settings.kafka).toMatchObject({ brokers: ['one:9092', 'two:9093'], brokersGiven: true });
    expect(settings.databaseUrl.reveal()).toBe(`file:${join(folder, 'reg.db')}`);
    expect(settings.artifactsUrl).toBe(`file:${join(folder, 'store')}`);
    expect(settings.dataRoots).toEqual([join(folder, 'data'), '/srv/data']);
    expect(settings.python).toBe(join(folder, 'venv/bin/python'));
  });

  it('takes folders and addresses as roots of data, and an artifact store on S3', () => {
    const given = ['s3://lake/sales', 'data', 'https://host:8443/a', 'http://localhost:90', '/srv'].join(delimiter);
    const settings = parseSettings(
      { REFIT_DATA_ROOTS: given, REFIT_ARTIFACTS_URL: 's3://store/refit/', AWS_REGION: 'eu-central-1' },
      folder,
    );
    expect(settings.dataRoots).toEqual([
      ...['s3://lake/sales', join(folder, 'data'), 'https://host:8443/a', 'http://localhost:90', '/srv'],
    ]);
    expect(parseSettings({ REFIT_DATA_ROOTS: settings.dataRoots.join(delimiter) }, folder).dataRoots).toEqual(
      settings.dataRoots,
    );
    expect(settings.artifactsUrl).toBe('s3://store/refit');
    expect(settings.s3).toEqual({ region: 'eu-central-1' });
  });

  it('turns TLS on for an API key, and off only when told', () => {
    expect(parseSettings({ TEMPORAL_API_KEY: 'k' }, folder).temporal.tls).toEqual({});
    expect(parseSettings({ TEMPORAL_API_KEY: 'k', TEMPORAL_TLS: 'false' }, folder).temporal.tls).toBeUndefined();
    expect(parseSettings({ TEMPORAL_TLS_SERVER_NAME: 'x' }, folder).temporal.tls).toEqual({ serverName: 'x' });
  });
});

describe('errors name the variable and what would be right', () => {
  it.each([
    [{ REFIT_GATEWAY_PORT: 'abc' }, /REFIT_GATEWAY_PORT is 'abc'.*1 and 65535/],
    [{ REFIT_KAFKA_PORT: '70000' }, /REFIT_KAFKA_PORT/],
    [{ REFIT_SERVE_PORT: '8090' }, /REFIT_GATEWAY_PORT and REFIT_SERVE_PORT are both 8090/],
    [{ TEMPORAL_ADDRESS: 'http://x' }, /TEMPORAL_ADDRESS.*HOST:PORT/],
    [{ KAFKA_BROKERS: 'one:9092,two' }, /KAFKA_BROKERS has 'two'/],
    [{ REFIT_URL: 'ftp://x' }, /REFIT_URL.*http:/],
    [{ REFIT_URL: 'http://me:pw@x' }, /REFIT_URL must not carry/],
    [{ REFIT_DATABASE_URL: 'postgres://me:pw@x' }, /REFIT_DATABASE_URL must be like postgres:.*percent-encoded/],
    [
      { REFIT_DATABASE_URL: 'postgres://x/db?password=pw' },
      /REFIT_DATABASE_URL must have its password before the host/,
    ],
    [{ REFIT_ARTIFACTS_URL: 's3://key:secret@bucket' }, /REFIT_ARTIFACTS_URL must be s3:\/\/BUCKET\/PREFIX/],
    [{ REFIT_DATABASE_URL: 'mysql://x' }, /REFIT_DATABASE_URL must be file:PATH/],
    [{ REFIT_LOG_LEVEL: 'loud' }, /REFIT_LOG_LEVEL is 'loud'.*debug/],
    [{ REFIT_TOPIC_PREFIX: 'a b' }, /REFIT_TOPIC_PREFIX/],
    [{ KAFKA_SASL_USERNAME: 'u' }, /KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD belong together/],
    [{ KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'p', KAFKA_SASL_MECHANISM: 'x' }, /KAFKA_SASL_MECHANISM is 'x'/],
    [{ KAFKA_SSL: 'maybe' }, /KAFKA_SSL is 'maybe'/],
    [{ TEMPORAL_TLS_CLIENT_KEY_DATA: 'x' }, /use TEMPORAL_TLS_CLIENT_KEY_PATH/],
  ])('%j', (env, message) => {
    expect(() => parseSettings(env, folder)).toThrow(message);
  });

  it('never repeats a password in an error', () => {
    for (const url of [
      'postgres://me:hunter2@x',
      'postgres://me:hunter2@/db',
      'postgres://me:hunter2#@x:1/db',
      'mysql://me:hunter2@x/db',
    ])
      expect(() => parseSettings({ REFIT_DATABASE_URL: url }, folder)).toThrow(/^(?!.*hunter2)/s);
  });
});

describe('secrets', () => {
  const env = {
    TEMPORAL_API_KEY: 'hunter2',
    KAFKA_SASL_USERNAME: 'u',
    KAFKA_SASL_PASSWORD: 'hunter3',
    REFIT_DATABASE_URL: 'postgres://me:hunter4@db:5433/refit?schema=s',
  };

  it('cannot be printed by any of the usual ways', () => {
    const settings = parseSettings(env, folder);
    const shown = [
      JSON.stringify(settings),
      inspect(settings, { depth: null, showHidden: true }),
      JSON.stringify(describeSettings(settings)),
      `${settings.temporal.apiKey}`,
    ].join('\n');
    expect(shown).not.toMatch(/hunter/);
    expect(describeSettings(settings)).toMatchObject({
      temporal: { apiKey: '[secret]' },
      databaseUrl: 'postgres://me:***@db:5433/refit?schema=s',
    });
  });

  it('are there for who asks', () => {
    const settings = parseSettings(env, folder);
    expect(settings.temporal.apiKey?.reveal()).toBe('hunter2');
    expect(settings.kafka.sasl?.password.reveal()).toBe('hunter3');
    expect(settings.databaseUrl.reveal()).toBe(env.REFIT_DATABASE_URL);
  });
});
