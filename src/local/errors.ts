/** What keeps the local stack from starting or stopping. The message says what happened, where, and what to do next. */
export class StackError extends Error {
  override readonly name = 'StackError';
}
