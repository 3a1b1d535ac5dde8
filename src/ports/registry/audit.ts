/** What proves the past: a hash chain for each model. */

export interface AuditRow {
  readonly model: string;
  readonly sequence: number;
  readonly at: string;
  readonly action: string;
  readonly actor: string | null;
  readonly body: Readonly<Record<string, unknown>>;
  readonly previous: string;
  readonly hash: string;
}

export interface AuditRegistry {
  audit(model: string, limit: number): Promise<readonly AuditRow[]>;
  /** Recomputes the chain; with `head` (kept elsewhere) also detects a chain that was cut off. */
  verifyAudit(
    model: string,
    head?: { readonly sequence: number; readonly hash: string },
  ): Promise<{
    readonly ok: boolean;
    readonly rows: number;
    readonly head: { readonly sequence: number; readonly hash: string } | null;
    readonly problem: string | null;
  }>;
  /** For acts without a method of their own (pause, resume, refused updates). */
  recordAudit(input: {
    readonly model: string;
    readonly action: string;
    readonly actor: string | null;
    readonly body: Readonly<Record<string, unknown>>;
    readonly at: string;
  }): Promise<void>;
}
