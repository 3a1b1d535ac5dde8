/** Clock, scratch space and file access of an activity. */
export interface Surroundings {
  now(): Date;
  /** A folder that lasts one attempt: it is removed when the function ends, however it ends. */
  scratch<T>(work: (folder: string) => Promise<T>): Promise<T>;
  /**
   * Copies a file that a data-arrived event names into scratch space.
   * @throws DataProblem when the URI lies outside the allowed roots, has another scheme, or does not exist
   */
  fetch(
    uri: string,
    roots: readonly string[],
    target: string,
  ): Promise<{ readonly sha256: string; readonly bytes: number }>;
}

/** Sends a notification; a failure to send is thrown, so that it is retried. */
export interface Notifier {
  notify(input: { readonly model: string; readonly event: string; readonly text: string }): Promise<void>;
}
