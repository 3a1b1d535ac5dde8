/** The gateway's HTTP API, as the CLI sees it. */

import { rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { fileSink } from '../adapters/file-sink.ts';
import { CliError, EXIT } from './exit.ts';

export class ApiClient {
  constructor(readonly url: string) {}

  get<T>(path: string, query: Readonly<Record<string, string | number | undefined>> = {}): Promise<T> {
    const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
      value === undefined ? [] : [[name, String(value)]],
    );
    const search = given.length > 0 ? `?${new URLSearchParams(given)}` : '';
    return this.#send<T>('GET', path + search);
  }

  post<T>(path: string, body: unknown, contentType = 'application/json'): Promise<T> {
    return this.#send<T>('POST', path, body, contentType);
  }

  /** Into a file, which is there only once it is whole. */
  async download(path: string, target: string): Promise<void> {
    const response = await this.#fetch('GET', path);
    if (!response.ok || response.body === null) throw refusal(response, await response.text());
    const partial = `${target}.partial`;
    try {
      await pipeline(response.body, await fileSink(partial));
      await rename(partial, target);
    } catch (error) {
      await rm(partial, { force: true });
      throw new CliError(
        EXIT.no,
        `${target} could not be written: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  async #send<T>(method: string, path: string, body?: unknown, contentType?: string): Promise<T> {
    const response = await this.#fetch(method, path, body, contentType);
    const text = await response.text();
    if (!response.ok) throw refusal(response, text);
    return (text === '' ? null : parse(text)) as T;
  }

  async #fetch(method: string, path: string, body?: unknown, contentType?: string): Promise<Response> {
    try {
      return await fetch(this.url + path, {
        method,
        ...(body === undefined
          ? {}
          : { body: JSON.stringify(body), headers: { 'content-type': contentType ?? 'application/json' } }),
      });
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
      throw new CliError(
        EXIT.unreachable,
        `the gateway at ${this.url} cannot be reached (${cause}); start it with refit up, or set REFIT_URL to where it is`,
      );
    }
  }
}

function refusal(response: Response, text: string): CliError {
  const answer: unknown = text === '' ? null : parse(text);
  const told =
    answer !== null && typeof answer === 'object' && 'error' in answer ? String(answer.error) : text.slice(0, 500);
  const details = answer !== null && typeof answer === 'object' && 'details' in answer ? answer.details : undefined;
  return new CliError(
    response.status === 503
      ? EXIT.unreachable
      : response.status >= 500 || response.status === 409
        ? EXIT.no
        : EXIT.usage,
    told,
    details,
  );
}

export const modelPath = (model: string): string => `/api/v1/models/${encodeURIComponent(model)}`;
export const datasetPath = (dataset: string): string => `/api/v1/datasets/${encodeURIComponent(dataset)}`;
export const runPath = (run: string): string => `/api/v1/runs/${encodeURIComponent(run)}`;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return { error: `the answer is no JSON: ${text.slice(0, 200)}` };
  }
}
