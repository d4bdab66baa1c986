import { askWrittenLsn } from '../connection/ask-lsn.js';
import { UNREACHABLE_LSN } from '../postgresql/lsn.js';
import type { PgClient } from '../postgresql/pg-client.js';

/**
 * Asks how far a replica must be to show what has just been committed. Never throws: the work is
 * saved, and a position that is not known sends the reads that follow to the primary.
 */
export async function askCommitLsn(
  client: PgClient,
  source: {
    readonly name: string;
    readonly limits: { readonly endTimeoutMs: number };
    report?(message: string, error: unknown): void;
  },
): Promise<bigint> {
  try {
    return await askWrittenLsn(client, source.limits.endTimeoutMs);
  } catch (error) {
    source.report?.(
      `the position of a write on connection "${source.name}" is not known, so its client reads from the primary for a while`,
      error,
    );
    return UNREACHABLE_LSN;
  }
}
