/** Exit codes, and the error that carries one. */
export const EXIT = { done: 0, no: 1, usage: 2, unreachable: 3 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export class CliError extends Error {
  override readonly name = 'CliError';
  constructor(
    readonly code: ExitCode,
    message: string,
    readonly details?: unknown,
  ) {
    super(message);
  }
}
