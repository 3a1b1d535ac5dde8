/** Traces, under the names of OpenTelemetry's own SDK, which reads the rest of OTEL_* by itself. */
import { SettingsError } from './errors.ts';
import { readText } from './read.ts';
import type { TracingSettings } from './types.ts';

const ENDPOINTS = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'] as const;
const PROTOCOLS = ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL'] as const;
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

export function readTracing(env: NodeJS.ProcessEnv): TracingSettings {
  for (const name of PROTOCOLS) {
    const protocol = readText(env, name);
    if (protocol !== undefined && protocol !== 'http/json')
      throw new SettingsError(`${name} is '${protocol}'; Refit sends traces as http/json`);
  }
  for (const name of ENDPOINTS) {
    const endpoint = readText(env, name);
    if (endpoint !== undefined && !/^https?:$/.test(URL.canParse(endpoint) ? new URL(endpoint).protocol : ''))
      throw new SettingsError(`${name} must be the address of an OTLP collector, such as http://127.0.0.1:4318`);
  }
  const isOff = readText(env, 'OTEL_SDK_DISABLED') === 'true' || readText(env, 'OTEL_TRACES_EXPORTER') === 'none';
  const traceparent = readText(env, 'TRACEPARENT');
  return {
    enabled: !isOff && ENDPOINTS.some((name) => readText(env, name) !== undefined),
    // What a CI system sets there is not for this command to complain about.
    traceparent: traceparent !== undefined && TRACEPARENT.test(traceparent) ? traceparent : undefined,
  };
}
