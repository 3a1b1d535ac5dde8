/** What the settings hold. Every path is absolute, every duration and unit is in its name. */
import type { Secret } from './secret.ts';

export interface TemporalTlsSettings {
  readonly serverName?: string;
  readonly caPath?: string;
  readonly certPath?: string;
  readonly keyPath?: string;
}

export interface TemporalSettings {
  readonly address: string;
  /** True when the user named a server, so the local stack starts none. */
  readonly addressGiven: boolean;
  readonly namespace: string;
  readonly apiKey?: Secret;
  readonly tls?: TemporalTlsSettings;
}

export type KafkaSaslMechanism = 'plain' | 'scram-sha-256' | 'scram-sha-512';

export interface KafkaSettings {
  readonly brokers: readonly string[];
  /** True when the user named brokers, so the local stack starts none. */
  readonly brokersGiven: boolean;
  readonly clientId: string;
  readonly sasl?: { readonly mechanism: KafkaSaslMechanism; readonly username: string; readonly password: Secret };
  readonly ssl?: { readonly caPath?: string; readonly certPath?: string; readonly keyPath?: string };
  readonly topicPrefix: string;
}

export interface PortSettings {
  readonly temporal: number;
  readonly temporalUi: number;
  readonly kafka: number;
  readonly gateway: number;
  readonly serve: number;
}

export interface S3Settings {
  readonly region: string;
  /** undefined: AWS's own. */
  readonly endpoint?: string;
  /** undefined: requests are not signed, which only public buckets take. */
  readonly credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: Secret;
    readonly sessionToken?: Secret;
  };
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface TracingSettings {
  /** A collector is named. */
  readonly enabled: boolean;
  /** TRACEPARENT: the trace in which the command was called. */
  readonly traceparent: string | undefined;
}

/** How long is kept what nobody needs any more, in milliseconds; null: for ever. */
export interface RetentionSettings {
  /** Events, after they were settled. */
  readonly eventsMs: number | null;
  /** The log of predictions. */
  readonly predictionsMs: number | null;
  /** What runs made whose version never served. */
  readonly runsMs: number | null;
  /** Files that a correction took out of a dataset. */
  readonly dataMs: number | null;
}

export interface Settings {
  /** Absolute folder of the local state: logs, pids, databases. */
  readonly home: string;
  /** Base address of the gateway, without a trailing slash. */
  readonly url: string;
  readonly actor: string | undefined;
  readonly temporal: TemporalSettings;
  readonly kafka: KafkaSettings;
  /** `file:/absolute/path` of the registry's SQLite file, or `postgres://…`; shown without its password. */
  readonly databaseUrl: Secret;
  /** `file:/absolute/path` of the artifact store's folder, or `s3://bucket/prefix`. */
  readonly artifactsUrl: string;
  /** Most bytes that are kept on this disk of an artifact store on S3. */
  readonly artifactsCacheBytes: number;
  readonly s3: S3Settings;
  /**
   * Where data may be read from: absolute folders, `s3://bucket/prefix`, `https://host/path`. Empty means the project folder that
   * `apply` names.
   */
  readonly dataRoots: readonly string[];
  /** Most bytes of one file of data, uncompressed. */
  readonly dataMaxBytes: number;
  readonly ports: PortSettings;
  /** The Python that trainers run with, when the user named one. */
  readonly python: string | undefined;
  readonly logLevel: LogLevel;
  readonly tracing: TracingSettings;
  /** How long an event may wait in the gateway for others, so that they share a transaction and a signal. */
  readonly eventLingerMs: number;
  readonly retention: RetentionSettings;
  /** Where a worker serves Temporal's own metrics on the loopback address; undefined: nowhere. */
  readonly workerMetricsPort: number | undefined;
}
