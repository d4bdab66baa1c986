import type { IsolationLevel } from '@mikro-orm/core';

import {
  checkTransactionSettings,
  type TransactionSettings,
} from '../postgresql/transaction-settings.js';

/** What MikroORM's own options can say of a transaction. */
export interface MikroOrmSettings {
  readonly isolationLevel?: IsolationLevel | `${IsolationLevel}` | undefined;
  readonly readOnly?: boolean | undefined;
}

/**
 * Picks the settings out of options that hold more, such as those of `em.begin()`.
 *
 * @throws {@link InvalidOptionsError}
 */
export function settingsOf({ isolationLevel, readOnly }: MikroOrmSettings): TransactionSettings {
  const settings = {
    // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- looked at below
    ...(isolationLevel !== undefined && { isolationLevel }),
    ...(readOnly !== undefined && { readOnly }),
  } as TransactionSettings;
  checkTransactionSettings(settings, 'A transaction');
  return settings;
}
