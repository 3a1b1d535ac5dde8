/** What goes wrong with the registry itself. Refusals that a caller can act on are results, not errors. */

/** The message says which file, and what to do. */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
}

/** The registry stayed locked by another process for longer than any transaction takes; nothing was changed. */
export class RegistryLocked extends Error {
  override readonly name = 'RegistryLocked';
  constructor(file: string, seconds: number, cause: unknown) {
    super(
      `the registry ${file} has been locked by another process for ${seconds} s; nothing was changed. Find what holds it (a backup, a shell, a stopped process) and end that`,
      { cause },
    );
  }
}
