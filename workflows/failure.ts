/** What a failed activity says. */

/** The deepest message says what happened; the wrappers only say that an activity failed. */
export function rootMessage(error: unknown): string {
  let found = error;
  while (found instanceof Error && found.cause instanceof Error) found = found.cause;
  return found instanceof Error ? found.message : String(found);
}
