import type { Lease } from '../connection/lease.js';
import type { HiddenCode } from '../postgresql/hidden-code.js';
import type { TransactionSource } from './begin-plan.js';

/**
 * Asks the server which names may hide code. Never throws: where they are not known, a read begins the
 * transaction as any other statement does.
 */
export async function askHiddenCode(
  lease: Lease,
  source: TransactionSource,
): Promise<HiddenCode | undefined> {
  const { server } = source;
  try {
    return server.hiddenCodeOf(await lease.query(server.hiddenCode));
  } catch (error) {
    if (!server.isRefusal(error) || server.endsConnection(error)) {
      await lease.destroy();
    }
    source.report(
      `the catalogue of connection "${source.name}" gave no answer, so a read begins its transaction although ` +
        "the option is begin: 'first-write'",
      error,
    );
    return undefined;
  }
}
