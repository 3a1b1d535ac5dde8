/** Clock, scratch space and file access of an activity. */
import type { SourceColumn } from '../contracts/data.ts';
import type { DatasetQuery } from '../contracts/documents.ts';
import type { DataFormat } from '../contracts/values.ts';

/** What a dataset lets its arrivals read. */
export interface DataPlace {
  /** Used where the settings name no roots. */
  readonly roots: readonly string[];
  readonly queries: readonly DatasetQuery[];
  /** Of the event; a parameter of queries. */
  readonly partition: string | null;
}

export interface FetchedFile {
  readonly sha256: string;
  readonly bytes: number;
  /** Where the source says so itself; a file's name tells it otherwise. */
  readonly format?: DataFormat;
  /** Where the source knows them. */
  readonly columns?: readonly SourceColumn[];
}

export interface Surroundings {
  now(): Date;
  /** A folder that lasts one attempt: it is removed when the function ends, however it ends. */
  scratch<T>(work: (folder: string) => Promise<T>): Promise<T>;
  /**
   * The addresses that one address stands for: all that match, sorted, where it is a pattern; else itself.
   * @throws DataProblem when nothing matches, or too much, or the pattern lies outside the allowed roots
   */
  expand(uri: string, place: DataPlace): Promise<readonly string[]>;
  /**
   * Copies what a data-arrived event names into scratch space.
   * @throws DataProblem when the URI lies outside the allowed roots, has another scheme, or does not exist
   */
  fetch(uri: string, place: DataPlace, target: string): Promise<FetchedFile>;
}

/** Sends a notification; a failure to send is thrown, so that it is retried. */
export interface Notifier {
  notify(input: { readonly model: string; readonly event: string; readonly text: string }): Promise<void>;
}
