import type { ClsService } from 'nestjs-cls';

import type { SessionVariables, TransactionSettings } from '../postgresql/transaction-settings.js';
import type { ResolvedLimits } from './connection-limits.js';
import type { FailoverSettings } from './failover.js';
import type { ReadSettings } from './replica-set.js';
import type { ResetMode } from './session-reset.js';

/** How the transactions of a connection begin: settings, and functions that compute some of them. */
export interface TransactionDefaults {
  readonly transaction?: TransactionSettings;
  readonly sessionVariables?: (cls: ClsService) => SessionVariables | Promise<SessionVariables>;
  readonly role?: string | ((cls: ClsService) => string | undefined);
}

/** What the global entity manager of a connection (`orm.em`) is inside of a context. */
export type GlobalEntityManagerMode = 'session' | 'own';

/**
 * The options of a connection, checked and with every default filled in.
 *
 * @typeParam Connection what `beforeSession` is given
 */
export interface ConnectionSettings<Connection> {
  readonly limits: ResolvedLimits;
  readonly transactionOptions: TransactionDefaults;
  readonly beforeSession: ((connection: Connection) => void | Promise<void>) | undefined;
  readonly failover: FailoverSettings | undefined;
  readonly reading: ReadSettings;
  readonly resetOnRelease: ResetMode;
  readonly globalEntityManager: GlobalEntityManagerMode;
  /** How long {@link DbConnection.check} takes at most where it is given no `timeoutMs`. */
  readonly checkTimeoutMs: number;
}
