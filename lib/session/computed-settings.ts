import { ClsServiceManager } from 'nestjs-cls';

import type { DbConnection } from '../connection/db-connection.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { InvalidTransactionStateError } from '../errors.js';
import {
  checkTransactionSettings,
  mergeSettings,
  type TransactionSettings,
} from '../transaction-settings.js';

/**
 * The settings of a connection, those that it computes for the current context, and `own`, of which
 * the later ones win.
 *
 * @throws what the functions of the connection throw
 * @throws {@link InvalidOptionsError} they returned what cannot be set
 * @throws {@link InvalidTransactionStateError} they took longer than `acquireTimeoutMs`
 */
export async function withComputed(
  { name, limits, transactionOptions }: DbConnection,
  own: TransactionSettings,
): Promise<TransactionSettings> {
  const { transaction, sessionVariables, role } = transactionOptions;
  const cls = ClsServiceManager.getClsService();
  const computed: { -readonly [K in keyof TransactionSettings]: TransactionSettings[K] } = {};
  const currentRole = typeof role === 'function' ? role(cls) : role;
  if (currentRole !== undefined) {
    computed.role = currentRole;
  }
  if (sessionVariables !== undefined) {
    const variables = await withinLimit(
      Promise.resolve(sessionVariables(cls)),
      limits.acquireTimeoutMs,
    );
    if (variables === TIMED_OUT) {
      throw new InvalidTransactionStateError(
        name,
        `sessionVariables() did not return within ${limits.acquireTimeoutMs} ms (acquireTimeoutMs).`,
      );
    }
    // A null would be taken for an absent one; a context without variables says so with {}.
    computed.sessionVariables = variables ?? (null as never);
  }
  checkTransactionSettings(computed, `What connection "${name}" computed for the context`);
  return mergeSettings(transaction, computed, own);
}
