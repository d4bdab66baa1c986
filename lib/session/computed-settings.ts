import { ClsServiceManager } from 'nestjs-cls';

import type { DbConnection } from '../connection/db-connection.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { placeOf, type Holder } from '../connection/claim.js';
import { ContextSettingsError } from '../errors.js';
import {
  checkTransactionSettings,
  mergeSettings,
  type TransactionSettings,
} from '../postgresql/transaction-settings.js';

/** Whether anything is computed at all. */
export function computesSettings({ transactionOptions }: DbConnection): boolean {
  return transactionOptions.role !== undefined || transactionOptions.sessionVariables !== undefined;
}

/**
 * The settings of a connection, those that it computes for the current context, and `own`, of which
 * the later ones win.
 *
 * @throws {@link ContextSettingsError} the functions of the connection threw, or took longer than
 *   `acquireTimeoutMs`
 * @throws {@link InvalidOptionsError} they returned what cannot be set
 */
export async function withComputed(
  connection: DbConnection,
  own: TransactionSettings,
  holder: Holder | undefined,
): Promise<TransactionSettings> {
  const { name, transactionOptions } = connection;
  const computed = await compute(connection).catch((error: unknown) => {
    throw new ContextSettingsError(placeOf(name, holder), error);
  });
  checkTransactionSettings(computed, `What connection "${name}" computed for the context`);
  return mergeSettings(transactionOptions.transaction, computed, own);
}

async function compute({
  limits,
  transactionOptions: { sessionVariables, role },
}: DbConnection): Promise<TransactionSettings> {
  const cls = ClsServiceManager.getClsService();
  const computed: { -readonly [K in keyof TransactionSettings]: TransactionSettings[K] } = {};
  const currentRole: unknown = typeof role === 'function' ? role(cls) : role;
  if (currentRole instanceof Promise) {
    throw new Error('role() returned a promise; it has to return the role at once');
  }
  if (currentRole !== undefined) {
    // Looked at by the caller.
    computed.role = currentRole as string;
  }
  if (sessionVariables !== undefined) {
    const limitMs = limits.acquireTimeoutMs;
    const variables = await withinLimit(Promise.resolve(sessionVariables(cls)), limitMs);
    if (variables === TIMED_OUT) {
      throw new Error(`sessionVariables() did not return within ${limitMs} ms (acquireTimeoutMs)`);
    }
    // A null would be taken for an absent one; a context without variables says so with {}.
    computed.sessionVariables = variables ?? (null as never);
  }
  return computed;
}
