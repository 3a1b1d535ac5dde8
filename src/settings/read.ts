/** Reading single values from the environment; every error names the variable and what would be right. */
import { parseDurationMs } from '../contracts/duration.ts';
import { SettingsError } from './errors.ts';

/** An empty variable counts as not set, as it does in shells and compose files. */
export function readText(env: NodeJS.ProcessEnv, variable: string): string | undefined {
  const value = env[variable]?.trim();
  return value === undefined || value === '' ? undefined : value;
}

export function readPort(env: NodeJS.ProcessEnv, variable: string, fallback: number): number {
  const text = readText(env, variable);
  if (text === undefined) return fallback;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) {
    throw new SettingsError(`${variable} is '${text}'; it must be a port between 1 and 65535, such as ${fallback}`);
  }
  return port;
}

export function readBoolean(env: NodeJS.ProcessEnv, variable: string): boolean | undefined {
  const text = readText(env, variable)?.toLowerCase();
  if (text === undefined) return undefined;
  if (text === 'true' || text === '1') return true;
  if (text === 'false' || text === '0') return false;
  throw new SettingsError(`${variable} is '${text}'; it must be true or false`);
}

export function readHostPort(variable: string, text: string, example: string): string {
  const match = /^(\[[0-9a-f:.]+\]|[^\s:/@]+):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[2] ?? 0);
  if (match === null || port < 1 || port > 65_535) {
    throw new SettingsError(`${variable} has '${text}'; it must be HOST:PORT, such as ${example}`);
  }
  return text;
}

/** @param fallback a duration, as a user would write it */
export function readDurationMs(env: NodeJS.ProcessEnv, variable: string, fallback: string, orElse = ''): number {
  const text = readText(env, variable) ?? fallback;
  const value = parseDurationMs(text);
  if (value === undefined) {
    throw new SettingsError(
      `${variable} is '${text}'; it must be a duration such as ${fallback}${orElse && ` ${orElse}`}`,
    );
  }
  return value;
}

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

/** @param fallback a size, as a user would write it */
export function readBytes(env: NodeJS.ProcessEnv, variable: string, fallback: string): number {
  const text = readText(env, variable) ?? fallback;
  const [, number, unit = ''] = /^(\d{1,12})([KMGT]iB)?$/.exec(text) ?? [];
  const bytes = Number(number) * (SIZE_UNITS[unit] ?? Number.NaN);
  if (!Number.isSafeInteger(bytes) || bytes < 1)
    throw new SettingsError(`${variable} is '${text}'; it must be a size such as ${fallback}`);
  return bytes;
}
