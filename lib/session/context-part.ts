/**
 * Work that a context has beside the transactions of its sessions: a transaction of its own
 * (`requires_new`) or statements in none (`not_supported`). The end of the context ends it (W3).
 */
export interface ContextPart {
  readonly connectionName: string;
  /** Lets no statement through any more, synchronously. */
  shut(): unknown;
  /** Ends it, without saving what is unfinished. Never throws. */
  rollback(): Promise<void>;
}
