/** A part that could not be set up. The message says what was tried and what the user can do instead. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}
