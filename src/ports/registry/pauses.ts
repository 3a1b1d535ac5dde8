/** Whether a model is paused. */

export interface PauseRegistry {
  setPaused(
    model: string,
    paused: { readonly by: string; readonly reason: string | null } | null,
    at: string,
  ): Promise<void>;
  paused(model: string): Promise<{ readonly by: string; readonly reason: string | null; readonly at: string } | null>;
}
